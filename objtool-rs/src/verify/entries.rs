//! Functions that other code enters otherwise than at their start by a call.
//!
//! A function's walk begins at its first instruction, in the state that a call leaves there. Code
//! outside of it may jump or call into its midst, or run over its own end into it, and then the
//! function's own calls are made with whatever frame that code had. Such a function is trusted only
//! if every path of the other code is known to arrive in the state that its own paths have there.
//!
//! Every instruction is looked at, whether a path reaches it or not, and every address in data that
//! lies in the midst of a function: but for the entries of its jump tables, nobody knows who goes
//! there. Two ways in are taken to be right: calls and jumps to a function's first instruction from
//! code that is no function, because that is how entry code calls; and addresses of the midst of a
//! function in code, because nearly all of them are only looked at (`_THIS_IP_`).

use arch::insn::InsnKind;
use arch::object::Architecture;
use rustc_hash::{FxHashMap, FxHashSet};

use crate::check::stack::walked::Walked;
use crate::decode::{InsnId, Marks};
use crate::model::{Model, Target};
use crate::read::SymbolId;
use crate::report::{Names, Place};

/// A way into a function that is not known to be right.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// The instruction from which it is entered, or the data that holds the address.
    pub from: Place,
    /// Where it is entered.
    pub to: Place,
    /// Whether it is only an address in data.
    is_pointer: bool,
}

impl Entry {
    /// What is wrong, in words.
    pub fn text(&self, names: &Names<'_>) -> String {
        let from = names.place(self.from);
        if self.is_pointer {
            format!("{from} holds this address, and nobody knows who goes there")
        } else {
            format!("entered from {from}, where the stack is not known to be as it is here")
        }
    }
}

/// The first such way into each function.
pub fn entered<A: Architecture>(
    model: &Model<'_, A>,
    walked: &Walked,
) -> FxHashMap<SymbolId, Entry> {
    let linked = &walked.linked;
    let mut ways = Ways {
        model,
        walked,
        given_up: linked
            .given_up
            .iter()
            .map(|&function| judged(model, function))
            .collect(),
        crossings: crossings(model, walked),
        passable: passable(model, walked),
        entered: FxHashMap::default(),
        strays: Vec::new(),
        strayed: FxHashSet::default(),
    };
    for insn in model.insns.ids() {
        ways.instruction(insn);
    }
    ways.follow_strays();
    ways.pointers();
    ways.entered
}

/// The function under which a symbol's code is walked.
pub(super) fn judged<A>(model: &Model<'_, A>, id: SymbolId) -> SymbolId {
    let id = model.symbols.alias(id);
    let id = model.symbols.parent(id);
    model.symbols.alias(id)
}

/// For each function and each place outside of it to which its paths lead: whether all of them
/// agree with the function that owns the place.
fn crossings<A: Architecture>(
    model: &Model<'_, A>,
    walked: &Walked,
) -> FxHashMap<(SymbolId, InsnId), bool> {
    let mut agree = FxHashMap::default();
    for crossing in &walked.linked.crossings {
        let from = judged(model, crossing.from);
        *agree.entry((from, crossing.to)).or_insert(true) &= walked.agrees::<A>(crossing);
    }
    agree
}

struct Ways<'m, 'f, A> {
    model: &'m Model<'f, A>,
    walked: &'m Walked,
    /// Functions whose paths are not all known.
    given_up: FxHashSet<SymbolId>,
    crossings: FxHashMap<(SymbolId, InsnId), bool>,
    passable: Vec<bool>,
    entered: FxHashMap<SymbolId, Entry>,
    /// Instructions of no function to which unknown paths lead, with the function that these come
    /// from. They share such code with functions whose paths through it are known.
    strays: Vec<(Option<SymbolId>, InsnId)>,
    strayed: FxHashSet<(Option<SymbolId>, InsnId)>,
}

impl<'m, 'f, A: Architecture> Ways<'m, 'f, A> {
    fn function(&self, insn: InsnId) -> Option<SymbolId> {
        let function = self.model.function_of(insn);
        function.map(|function| judged(self.model, function))
    }

    fn instruction(&mut self, insn: InsnId) {
        match self.model.target(insn) {
            Target::Symbol(callee) => self.call(insn, callee),
            Target::None => self.lost(insn),
            Target::Insn(_) => {}
        }
        let Some(function) = self.function(insn) else {
            let owners = self.walked.linked.owners.get(&insn);
            // Functions that lead to it have their paths compared; nobody may, and still it runs.
            match owners {
                None => self.unknown(insn, None),
                Some(owners) => {
                    for &owner in owners {
                        self.path(insn, judged(self.model, owner));
                    }
                }
            }
            return;
        };
        self.path(insn, function);
    }

    /// An instruction on the paths of a function.
    fn path(&mut self, insn: InsnId, function: SymbolId) {
        if self.given_up.contains(&function) || !self.walked.is_visited(insn) {
            self.unknown(insn, Some(function));
            return;
        }
        for dest in self.destinations(insn) {
            let other = self.function(dest).filter(|&other| other != function);
            let Some(other) = other else { continue };
            if self.crossings.get(&(function, dest)) != Some(&true) {
                self.enter(other, insn, dest);
            }
        }
    }

    /// An instruction whose state is not known, because no path of this function, or none at all,
    /// is known to reach it.
    fn unknown(&mut self, insn: InsnId, function: Option<SymbolId>) {
        for dest in self.destinations(insn) {
            match self.function(dest) {
                Some(to) if Some(to) == function => {}
                Some(to) if function.is_none() && self.starts(to, dest) => {}
                Some(to) => self.enter(to, insn, dest),
                None => {
                    if self.strayed.insert((function, dest)) {
                        self.strays.push((function, dest));
                    }
                }
            }
        }
    }

    fn follow_strays(&mut self) {
        while let Some((function, insn)) = self.strays.pop() {
            self.unknown(insn, function);
        }
    }

    /// Where execution goes on after an instruction, other than by a call or a sibling call.
    fn destinations(&self, insn: InsnId) -> impl Iterator<Item = InsnId> + use<'m, 'f, A> {
        let model = self.model;
        let next = model.next_executed(insn).filter(|&next| {
            // Most instructions stay in their function, which says nothing about others.
            let own = model.symbol_of(insn);
            let stays = own.is_some() && model.symbol_of(next) == own;
            !stays && self.passable.get(insn.index()) != Some(&false)
        });
        let alternatives = model.alternatives(insn).iter().map(|a| a.insn);
        alternatives.chain(model.jump_target(insn)).chain(next)
    }

    /// A call is right if it comes to a place that has the state of a function's start.
    fn call(&mut self, insn: InsnId, callee: SymbolId) {
        let symbol = self.model.file.symbol(callee);
        let Some(dest) = self.model.insns.at(symbol.section, symbol.value) else {
            return;
        };
        let Some(to) = self.function(dest) else {
            return;
        };
        if !self.starts(to, dest) && !self.walked.is_fresh::<A>(dest) {
            self.enter(to, insn, dest);
        }
    }

    /// A branch that could not be made out, because it goes into the midst of an instruction, or
    /// calls what has no name.
    fn lost(&mut self, insn: InsnId) {
        let model = self.model;
        let kind = model.insn(insn).kind;
        if !kind.is_static_jump() && kind != InsnKind::Call {
            return;
        }
        let to = model.destination(insn);
        if let Some(function) = model.symbols.function_containing(to.section, to.offset) {
            let entry = Entry {
                from: model.place(insn),
                to,
                is_pointer: false,
            };
            self.note(judged(model, function), entry);
        }
    }

    /// Addresses in data.
    fn pointers(&mut self) {
        let model = self.model;
        let mut known: FxHashSet<InsnId> = FxHashSet::default();
        for insn in model.insns.ids() {
            let is_switch = model.insn(insn).kind == InsnKind::JumpDynamic;
            if is_switch && model.jumps_through_table(insn) {
                known.extend(model.alternatives(insn).iter().map(|a| a.insn));
            }
        }
        for (from, to) in model.pointers() {
            let Some(function) = model.symbols.function_containing(to.section, to.offset) else {
                continue;
            };
            let function = judged(model, function);
            let insn = model.insns.at(to.section, to.offset);
            let is_start = insn.is_some_and(|insn| {
                self.starts(function, insn)
                    || model.symbols.function_at(to.section, to.offset).is_some()
            });
            if !is_start && !insn.is_some_and(|insn| known.contains(&insn)) {
                let is_pointer = true;
                self.note(
                    function,
                    Entry {
                        from,
                        to,
                        is_pointer,
                    },
                );
            }
        }
    }

    fn starts(&self, function: SymbolId, insn: InsnId) -> bool {
        let symbol = self.model.file.symbol(function);
        let place = self.model.place(insn);
        (symbol.section, symbol.value) == (place.section, place.offset)
    }

    fn enter(&mut self, function: SymbolId, from: InsnId, to: InsnId) {
        let entry = Entry {
            from: self.model.place(from),
            to: self.model.place(to),
            is_pointer: false,
        };
        self.note(function, entry);
    }

    fn note(&mut self, function: SymbolId, entry: Entry) {
        self.entered.entry(function).or_insert(entry);
    }
}

/// Whether execution may go on behind each instruction. Behind filling it does if it comes to the
/// filling.
fn passable<A>(model: &Model<'_, A>, walked: &Walked) -> Vec<bool> {
    let mut passable = Vec::with_capacity(model.insns.len() as usize);
    for insn in model.insns.ids() {
        let record = model.insn(insn);
        let is_reached_filling = || {
            let before = model.insns.prev(insn);
            walked.is_visited(insn) || before.is_some_and(|before| passable[before.index()])
        };
        passable.push(match record.kind {
            InsnKind::Nop => is_reached_filling(),
            InsnKind::Return
            | InsnKind::JumpUnconditional
            | InsnKind::JumpDynamic
            | InsnKind::ContextSwitch
            | InsnKind::Trap
            | InsnKind::Invalid => false,
            _ => !record.marks.has(Marks::DEAD_END),
        });
    }
    passable
}
