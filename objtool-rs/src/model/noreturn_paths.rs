//! Which functions of linked code never return, worked out along their paths.
//!
//! In an image every function is there, so nothing has to be listed, and nothing is annotated. A
//! function does not return if no path through it comes to a return, or to a sibling call of a
//! function that may return. Every function counts as returning until the opposite is shown, so
//! an error can only be on that side: then code that is never reached is looked at, and found
//! wanting. Where the object is a module, functions outside of it go by the list.

use arch::insn::InsnKind;
use arch::object::Architecture;
use rustc_hash::{FxHashMap, FxHashSet};

use super::noreturn::{Noreturn, Returns};
use super::noreturn_list::is_listed;
use super::{Model, Target, Task};
use crate::decode::{InsnId, Marks};
use crate::read::{FileKind, SectionId, SymbolId};

/// Works it out for all functions. Execution goes on behind the traps in `warnings`.
pub(super) fn infer<A: Architecture>(model: &Model<'_, A>, warnings: &[InsnId]) -> Noreturn {
    let warnings: FxHashSet<InsnId> = warnings.iter().copied().collect();
    let mut noreturn = vec![false; model.file.symbols.len()];
    let mut functions = Vec::new();
    for id in model.file.symbol_ids() {
        let symbol = model.file.symbol(id);
        if symbol.section == SectionId::UNDEFINED {
            noreturn[id.index()] = is_listed(symbol.name);
        } else if symbol.is_function()
            && model.symbols.len(id) != 0
            && model.symbols.parent(id) == id
        {
            functions.push(id);
        }
    }

    // Whoever calls a function is looked at again once it is known not to return.
    let mut callers: FxHashMap<SymbolId, Vec<SymbolId>> = FxHashMap::default();
    let mut paths = Paths {
        model,
        warnings,
        seen: FxHashSet::default(),
        pending: Vec::new(),
    };
    let mut work = functions;
    let mut is_first = true;
    while !work.is_empty() {
        let mut next = Vec::new();
        for id in work {
            if noreturn[id.index()] {
                continue;
            }
            let mut called = Vec::new();
            let returns = paths.may_return(id, &noreturn, &mut called);
            if !returns {
                noreturn[id.index()] = true;
                next.extend(callers.get(&id).into_iter().flatten().copied());
            }
            if is_first {
                for callee in called {
                    callers.entry(callee).or_default().push(id);
                }
            }
        }
        if is_first {
            // The first callers were not known yet when their callees were found.
            let found = model.file.symbol_ids().filter(|id| noreturn[id.index()]);
            next = found
                .filter_map(|id| callers.get(&id))
                .flatten()
                .copied()
                .collect();
            is_first = false;
        }
        next.sort_unstable();
        next.dedup();
        work = next;
    }
    let returns = |&never| {
        if never {
            Returns::Never
        } else {
            Returns::Maybe
        }
    };
    Noreturn(noreturn.iter().map(returns).collect())
}

/// A walk over the paths of one function at a time.
struct Paths<'m, 'f, A> {
    model: &'m Model<'f, A>,
    warnings: FxHashSet<InsnId>,
    seen: FxHashSet<InsnId>,
    pending: Vec<InsnId>,
}

impl<A: Architecture> Paths<'_, '_, A> {
    fn may_return(
        &mut self,
        function: SymbolId,
        noreturn: &[bool],
        called: &mut Vec<SymbolId>,
    ) -> bool {
        let model = self.model;
        let symbol = model.file.symbol(function);
        let Some(first) = model.insns.at(symbol.section, symbol.value) else {
            return true;
        };
        self.seen.clear();
        self.pending.clear();
        self.pending.push(first);
        let mut returns = false;
        while let Some(insn) = self.pending.pop() {
            if !self.seen.insert(insn) {
                continue;
            }
            if !model.effort.spend(Task::Functions, Some(function), 1) {
                return true;
            }
            for alternative in model.alternatives(insn) {
                self.pending.push(alternative.insn);
            }
            let record = model.insn(insn);
            let ends = match record.kind {
                InsnKind::Return | InsnKind::JumpDynamic | InsnKind::JumpDynamicConditional => {
                    returns = true;
                    true
                }
                InsnKind::JumpConditional | InsnKind::JumpUnconditional => {
                    match model.target(insn) {
                        Target::Insn(dest) => self.pending.push(dest),
                        Target::Symbol(callee) => {
                            called.push(callee);
                            returns |= !noreturn[callee.index()];
                        }
                        // Nobody knows where it goes.
                        Target::None => returns = true,
                    }
                    record.kind == InsnKind::JumpUnconditional
                }
                InsnKind::Call => match self.callee(insn) {
                    Some(callee) => {
                        called.push(callee);
                        noreturn[callee.index()]
                    }
                    None => false,
                },
                InsnKind::Bug => {
                    record.marks.has(Marks::DEAD_END) && !self.warnings.contains(&insn)
                }
                _ => false,
            };
            if !ends {
                match model.next_executed(insn) {
                    Some(next) => self.pending.push(next),
                    None => returns = true,
                }
            }
        }
        returns
    }

    /// The function that a call goes to; calls are resolved only when this is known.
    fn callee(&self, insn: InsnId) -> Option<SymbolId> {
        let model = self.model;
        let place = match model.insn_reloc(insn) {
            Some((_, reloc)) if model.file.kind == FileKind::Object => {
                let symbol = model.file.symbol(reloc.symbol);
                if !symbol.is_section() {
                    return Some(reloc.symbol);
                }
                let distance = reloc.addend.wrapping_add(A::BRANCH_FIELD_LEN);
                crate::report::Place {
                    section: symbol.section,
                    offset: distance as u64,
                }
            }
            _ => model.branch_place(insn),
        };
        model.symbols.function_at(place.section, place.offset)
    }
}
