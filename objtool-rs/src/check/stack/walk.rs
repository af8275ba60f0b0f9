//! The walk over all paths of all functions.
//!
//! Depth first, with an explicit list of where to go on: code decides how deep paths nest, so the
//! machine's own stack must not. A path ends where it meets an instruction that was reached in
//! the same mode before; then only the states are compared.

use std::cell::OnceCell;
use std::ops::Range;
use std::sync::Arc;

use arch::insn::{Decode, InsnKind};
use arch::object::{Architecture, Base};
use rustc_hash::FxHashMap;

use super::linked::{self, Linked};
use super::noinstr::Noinstr;
use super::path::{Known, Sources, Turn, Walked as Steps};
use super::rules::{self, Flags};
use super::state::{StackState, StateId, States};
use super::trail::Trail;
use super::transition::{self, Context};
use super::walked::{Failure, Walked};
use crate::decode::{InsnId, Marks, OpsId};
use crate::model::{Effort, GroupId, HintState, Model, Purpose, Roles, Task};
use crate::parallel;
use crate::read::{SectionId, SymbolId};
use crate::report::detail::Detail;
use crate::report::{Findings, Message, Place, Trace};

mod judge;
mod meeting;
mod passes;
mod recent;
mod shards;
mod starts;

use passes::Passes;
use recent::{Recent, Transition};
use starts::Start;

/// A path: where it is and what it carries.
#[derive(Clone, Copy, Debug)]
struct Path {
    insn: InsnId,
    /// It was reached straight from the instruction before.
    is_straight: bool,
    /// Where it began: at a function or hint, behind a jump, or in an alternative.
    origin: InsnId,
    state: StateId,
    flags: Flags,
}

impl Path {
    /// It goes on elsewhere.
    fn turn(&mut self, to: InsnId) {
        self.insn = to;
        self.is_straight = false;
        self.origin = to;
    }
}

/// What is to be done once a side path has ended well.
#[derive(Clone, Copy, Debug)]
enum Pending {
    /// Follow the alternatives below this one, then the instruction itself.
    Alternatives {
        path: Path,
        left: usize,
        skip_original: bool,
    },
    /// Go on behind a jump.
    Branch { path: Path, next: Option<InsnId> },
}

/// Instructions of one symbol in a row, and what it is. Paths seldom leave one for another, so
/// that this need not be looked up at each step.
#[derive(Clone, Debug, Default)]
struct Own {
    insns: Range<u32>,
    function: Option<SymbolId>,
    /// The function that it is a part of.
    whole: Option<SymbolId>,
}

/// How far a path goes. Paths change where they stand: to hand them over with each step took a
/// sixth of the walk.
enum Step {
    /// It ends here.
    End,
    /// It goes on.
    Continue,
}

/// A rule is broken; the finding stands already. Boxed, so that what nearly never happens takes no
/// room in the results of what happens at each instruction.
type Broken = Box<(Option<Place>, Message)>;

struct Walker<'m, 'f, A> {
    model: &'m Model<'f, A>,
    findings: &'m mut Findings,
    states: States,
    trail: Arc<Trail>,
    effort: &'m Effort,
    /// Instructions of one symbol, among which the path was last.
    own: Own,
    /// What this walker has reached, by the order of reaching, if it may have to be taken back.
    reached: Option<Vec<Range<u32>>>,
    /// A path has come to code that functions may share, which this walker must leave to another.
    is_shared: bool,
    visits: usize,
    /// For each original of an alternative, the state at each byte from its start.
    group_states: FxHashMap<GroupId, Vec<Option<StateId>>>,
    transitions: FxHashMap<Transition, StateId>,
    /// Those that were looked up last.
    recent: Recent,
    /// By effect, whether it is a copy ([`transition::is_copy`]).
    copies: Vec<bool>,
    /// By state, as far as it was asked for, whether such copies change nothing in it.
    quiet: Vec<bool>,
    entry: StackState,
    entry_id: StateId,
    unknown: StateId,
    /// For showing findings; made when there is one.
    sources: OnceCell<Sources>,
    pending: Vec<Pending>,
    failures: Vec<Failure>,
    /// Paths that ended at a call which does not return, when an image is judged.
    ended: Vec<Path>,
    noinstr: Noinstr,
    /// The state that the last broken rule found where another was expected.
    clash: Option<StateId>,
    linked: Linked,
}

/// Sections that are walked when only their calls are to be checked.
const NOINSTR_SECTIONS: [&[u8]; 3] = [b".noinstr.text", b".entry.text", b".cpuidle.text"];

/// Walks every function, then every hint that none has reached.
pub fn walk<A: Architecture + Decode + Sync>(
    model: &Model<'_, A>,
    findings: &mut Findings,
) -> Walked {
    walk_beside(model, findings, || ()).0
}

/// The same, and something that may be done at the same time: functions that may share code are not
/// divided among threads.
pub fn walk_beside<A: Architecture + Decode + Sync, R: Send>(
    model: &Model<'_, A>,
    findings: &mut Findings,
    beside: impl FnOnce() -> R + Send,
) -> (Walked, R) {
    let mut walker = Walker::whole(model, findings);
    let code = |&id: &SectionId| model.file.section(id).is_executable();
    let starts = walker.starts(model.file.section_ids().filter(code));
    let shards = walker.shards(&starts);
    let worth = shards.is_some();
    let rest = || {
        walker.rest(&starts, shards);
        if model.has_hints {
            walker.hints(0..model.insns.len(), false);
        }
        walker.rare_calls();
    };
    let ((), beside) = parallel::join(worth, rest, beside);
    (walker.finish(), beside)
}

/// Walks the functions and hints of text that must not be instrumented.
pub fn walk_noinstr<A: Architecture + Decode>(
    model: &Model<'_, A>,
    findings: &mut Findings,
) -> Walked {
    let mut walker = Walker::whole(model, findings);
    for section in NOINSTR_SECTIONS
        .iter()
        .filter_map(|name| model.file.section_by_name(name))
    {
        let starts = walker.starts(std::iter::once(section));
        walker.functions(&starts);
        if model.has_hints {
            let insns = model.insns.range_of(section);
            walker.hints(insns, walker.is_noinstr(section));
        }
    }
    walker.finish()
}

impl<'m, 'f, A: Architecture + Decode> Walker<'m, 'f, A> {
    fn new(
        model: &'m Model<'f, A>,
        trail: Arc<Trail>,
        effort: &'m Effort,
        findings: &'m mut Findings,
    ) -> Self {
        let mut states = States::new();
        let entry = StackState::at_entry::<A>();
        let entry_id = states.intern(&entry);
        let unknown = states.intern(&StackState::UNKNOWN);
        Self {
            model,
            findings,
            trail,
            effort,
            own: Own::default(),
            reached: None,
            is_shared: false,
            visits: 0,
            group_states: FxHashMap::default(),
            transitions: FxHashMap::default(),
            quiet: Vec::new(),
            recent: Recent::new(entry_id),
            copies: model
                .insns
                .all_ops()
                .map(transition::is_copy::<A>)
                .collect(),
            entry,
            entry_id,
            unknown,
            sources: OnceCell::new(),
            pending: Vec::new(),
            failures: Vec::new(),
            ended: Vec::new(),
            clash: None,
            noinstr: Noinstr::default(),
            linked: Linked::default(),
            states,
        }
    }

    /// For the whole of a file.
    fn whole(model: &'m Model<'f, A>, findings: &'m mut Findings) -> Self {
        let trail = Arc::new(Trail::new(model.insns.records()));
        let mut walker = Self::new(model, trail, &model.effort, findings);
        // A hint holds for its instruction even where no path leads to it.
        for (insn, hint) in model.hints() {
            let state = walker.intern_hint(hint);
            walker.trail.set_state(insn, state);
        }
        walker
    }

    fn finish(self) -> Walked {
        Walked {
            failures: self.failures,
            linked: self.linked,
            entry: self.entry,
            visits: self.visits,
            states: self.states,
            trail: self.trail,
            group_states: self.group_states,
        }
    }
}

impl<A: Architecture + Decode> Walker<'_, '_, A> {
    /// An instruction, or some in a row, were reached for the first time.
    fn note_reached(&mut self, insns: Range<u32>) {
        self.visits += insns.len();
        if let Some(reached) = &mut self.reached {
            match reached.last_mut() {
                Some(last) if last.end == insns.start => last.end = insns.end,
                _ => reached.push(insns),
            }
        }
    }

    /// Walks all paths from an instruction.
    fn start(&mut self, path: Path, trace: Trace) {
        let model = self.model;
        let mut function = model.function_of(path.insn);
        if model.purpose == Purpose::Verify {
            // The code behind a call may lie in the other part of the function.
            function = function.map(|function| model.symbols.parent(function));
        }
        let before = self.findings.lines().len();
        let Err((end, broken)) = self.run(function, path) else {
            return;
        };
        let (place, message) = *broken;
        self.linked.given_up.extend(function);
        self.failures.push(Failure {
            function,
            place,
            message,
        });
        if self.model.options.explain && self.findings.lines().len() > before {
            let detail = self.detail(path, end);
            self.findings.explain_last(detail);
        }
        while let Some(pending) = self.pending.pop() {
            let (insn, trace) = match pending {
                Pending::Alternatives { path, .. } => (path.insn, Trace::Alternative),
                Pending::Branch { path, .. } => (path.insn, Trace::Branch),
            };
            self.trace(insn, trace);
        }
        self.trace(path.insn, trace);
    }

    fn trace(&mut self, insn: InsnId, trace: Trace) {
        if self.model.options.backtrace || self.model.options.verbose {
            self.findings.add_trace(self.model.place(insn), trace);
        }
    }

    fn broken<T>(&mut self, insn: InsnId, message: Message) -> Result<T, Broken> {
        self.model.warn(self.findings, insn, message.clone());
        Err(Box::new((Some(self.model.place(insn)), message)))
    }

    /// For messages that say themselves what they are about.
    fn broken_at_large<T>(&mut self, insn: InsnId, message: Message) -> Result<T, Broken> {
        self.findings.add(message.clone());
        Err(Box::new((Some(self.model.place(insn)), message)))
    }

    /// Walks until all paths have ended, or to where one breaks a rule.
    fn run(&mut self, function: Option<SymbolId>, mut path: Path) -> Result<(), (Path, Broken)> {
        let mut before = (path.insn, path.state);
        let mut step = self.enter(function, &mut path);
        loop {
            let ended = match step {
                Ok(step) => matches!(step, Step::End),
                // What the instruction was reached with, not what it has made of that.
                Err(broken) => {
                    (path.insn, path.state) = before;
                    return Err((path, broken));
                }
            };
            if !ended {
                before = (path.insn, path.state);
                step = self.enter(function, &mut path);
                continue;
            }
            let Some(pending) = self.pending.pop() else {
                return Ok(());
            };
            path = match pending {
                Pending::Alternatives { path, .. } | Pending::Branch { path, .. } => path,
            };
            before = (path.insn, path.state);
            step = match pending {
                Pending::Alternatives {
                    left,
                    skip_original,
                    ..
                } => self.alternatives(function, &mut path, left, skip_original),
                Pending::Branch { next, .. } => self.advance(&mut path, next),
            };
        }
    }

    /// The path that is being followed, for a person.
    fn detail(&mut self, start: Path, end: Path) -> Detail {
        let model = self.model;
        let turn = |pending: &Pending| match *pending {
            Pending::Alternatives { path, left, .. } => Some(Turn {
                from: path.insn,
                to: model.alternatives(path.insn)[left].insn,
            }),
            Pending::Branch { path, .. } => model.jump_target(path.insn).map(|to| Turn {
                from: path.insn,
                to,
            }),
        };
        let turns: Vec<Turn> = self.pending.iter().filter_map(turn).collect();
        let clash = self.clash.take();
        // A hint has replaced what the path brought, unless that is what is wrong.
        let hinted = model.insn(end.insn).marks.has(Marks::HINT) && clash.is_none();
        let end_state = self.trail.state(end.insn).filter(|_| hinted);
        let steps = Steps {
            model,
            trail: &self.trail,
            state: &|id| *self.states.get(id),
            sources: &|| self.sources.get_or_init(|| Sources::new(model)),
        };
        steps.tell(&Known {
            start: start.insn,
            flags: start.flags,
            turns: &turns,
            end: end.insn,
            end_state: end_state.unwrap_or(end.state),
            clash,
        })
    }

    /// Keeps [`Self::own`] with the path.
    fn be_at(&mut self, insn: InsnId) {
        if !self.own.insns.contains(&insn.0) {
            let model = self.model;
            let own = model.function_of(insn);
            self.own = Own {
                insns: model.owner_run(insn),
                function: own,
                whole: own.map(|own| model.symbols.parent(own)),
            };
        }
    }

    /// A path reaches an instruction.
    fn enter(&mut self, function: Option<SymbolId>, path: &mut Path) -> Result<Step, Broken> {
        let model = self.model;
        let insn = path.insn;
        let marks = model.insn(insn).marks;

        self.be_at(insn);
        if let (Some(function), Some(own)) = (function, self.own.function) {
            if Some(function) != self.own.whole {
                if model.purpose == Purpose::Verify {
                    return Ok(self.cross(function, own, *path));
                }
                let name = model.file.symbol(function).name;
                // Preambles fall into the function that they belong to.
                if name.starts_with(b"__cfi_")
                    || name.starts_with(b"__pfx_")
                    || model.ignore_unreachable
                {
                    return Ok(Step::End);
                }
                let message = Message::FallsThrough {
                    from: function,
                    to: own,
                };
                return self.broken_at_large(insn, message);
            }
        }
        if function.is_some() && marks.has(Marks::IGNORE) {
            return self.broken(insn, Message::ValidatingIgnored);
        }

        if self.reached.is_some() && self.may_be_shared(function, insn) {
            self.is_shared = true;
            self.pending.clear();
            return Ok(Step::End);
        }

        let is_first = !self.trail.is_reached(insn);
        if is_first
            && model.purpose == Purpose::Build
            && self.passes(path).over(model.insn(insn), &self.copies)
        {
            self.straight(path);
            return Ok(Step::Continue);
        }
        let outside =
            function.filter(|_| model.purpose == Purpose::Verify && self.own.function.is_none());
        if let Some(function) = outside {
            if self.enter_outside(function, path)? {
                return Ok(Step::End);
            }
        } else if !is_first {
            let mut is_new = !self.trail.is_reached_with(insn, path.flags.user_access);
            if !marks.has(Marks::HINT) {
                self.compare(insn, path.state)?;
                if let Some(joined) = self.joined(insn, path.state) {
                    path.state = joined;
                    is_new = true;
                }
            }
            if !is_new {
                return Ok(Step::End);
            }
        }

        if path.flags.noinstr {
            let step = model.instrumentation(insn);
            path.flags.instrumentation = path.flags.instrumentation.wrapping_add(step);
        }

        if marks.has(Marks::HINT) {
            let state = if marks.has(Marks::RESTORE) {
                match self.saved_state(function, *path)? {
                    Some(state) => state,
                    None => return Ok(Step::End),
                }
            } else {
                self.intern_hint(model.hint(insn).unwrap_or(HintState::Undefined))
            };
            path.state = state;
        }
        self.trail.reach(insn, path.state, path.flags.user_access);
        if is_first {
            self.note_reached(insn.0..insn.0 + 1);
        }
        self.share_group_state(insn, path.state)?;

        let left = model.alternatives(insn).len();
        if left != 0 && !marks.has(Marks::IGNORE_ALTERNATIVES) {
            return self.alternatives(function, path, left, false);
        }
        self.execute(function, path)
    }

    /// What a path goes straight over.
    fn passes(&mut self, path: &Path) -> Passes {
        let flags = path.flags;
        let is_watched = flags.user_access || flags.direction || flags.noinstr;
        let state = path.state.number();
        if self.quiet.len() <= state {
            let new = self.quiet.len()..self.states.len();
            let new = new.map(|number| transition::is_quiet::<A>(self.states.by_number(number)));
            self.quiet.extend(new);
        }
        Passes {
            copies: self.quiet[state],
            calls: !is_watched && !self.model.options.stackval,
        }
    }

    /// Goes straight on from an instruction that was not reached before, over all others of the
    /// same symbol that need no look at the state either. Most instructions are walked here, in two
    /// nanoseconds each instead of twenty.
    fn straight(&mut self, path: &mut Path) {
        let model = self.model;
        let first = path.insn.0;
        let end = self.own.insns.end;
        let mut at = path.insn;
        let passes = self.passes(path);
        while at.0 < end && passes.over(model.insn(at), &self.copies) && !self.trail.is_reached(at)
        {
            self.trail.reach(at, path.state, path.flags.user_access);
            at.0 += 1;
        }
        self.note_reached(first..at.0);
        path.insn = at;
        path.is_straight = true;
    }

    /// Follows what is left of an instruction's alternatives, the last found first, and then the
    /// instruction.
    fn alternatives(
        &mut self,
        function: Option<SymbolId>,
        path: &mut Path,
        left: usize,
        skip_original: bool,
    ) -> Result<Step, Broken> {
        let Some(left) = left.checked_sub(1) else {
            return if skip_original && self.model.purpose == Purpose::Build {
                Ok(Step::End)
            } else {
                self.execute(function, path)
            };
        };
        let alternative = self.model.alternatives(path.insn)[left];
        let skip_original = skip_original || alternative.skip_original;
        self.pending.push(Pending::Alternatives {
            path: *path,
            left,
            skip_original,
        });
        if alternative.is_fault && self.model.purpose == Purpose::Verify {
            let state = linked::faulted(self.states.get(path.state));
            path.state = self.states.intern(&state);
        }
        path.turn(alternative.insn);
        Ok(Step::Continue)
    }

    /// An instruction takes effect.
    fn execute(&mut self, function: Option<SymbolId>, path: &mut Path) -> Result<Step, Broken> {
        let model = self.model;
        let insn = path.insn;
        let record = *model.insn(insn);
        let next = self.model.next_executed(insn);
        self.be_at(insn);

        if let Some(message) = model.unresolved(insn) {
            return self.broken(insn, message.clone());
        }
        if record.kind == InsnKind::Invalid {
            return self.broken(insn, Message::NotCode);
        }
        let before = path.state;
        self.stack_effects(function, path, record.ops(), next)?;
        if model.purpose == Purpose::Verify && function.is_some() {
            self.linked_effects(path, before, record)?;
        }
        let result = match record.kind {
            InsnKind::Return => {
                let state = self.states.get(path.state);
                rules::ret(model, function, state, &self.entry, path.flags)
                    .map(|()| Some(Step::End))
            }
            InsnKind::Call | InsnKind::CallDynamic => self.call(function, *path),
            InsnKind::JumpConditional | InsnKind::JumpUnconditional => {
                return self.jump(function, path, record.kind, next);
            }
            InsnKind::JumpDynamic | InsnKind::JumpDynamicConditional => {
                let is_sibling = match model.purpose {
                    Purpose::Build => model.is_sibling_call(insn),
                    Purpose::Verify => !model.jumps_through_table(insn),
                };
                let checked = if is_sibling {
                    self.sibling_call(function, *path)
                } else {
                    Ok(())
                };
                checked.map(|()| (record.kind == InsnKind::JumpDynamic).then_some(Step::End))
            }
            InsnKind::ContextSwitch if function.is_none() => Ok(Some(Step::End)),
            InsnKind::ContextSwitch => {
                if next.is_some_and(|next| model.insn(next).marks.has(Marks::HINT)) {
                    Ok(None)
                } else {
                    Err(Message::UnsupportedInCallable)
                }
            }
            kind => rules::flag_change(model, function, kind, &mut path.flags).map(|()| None),
        };
        match result {
            Err(message) => self.broken(insn, message),
            Ok(Some(step)) => Ok(step),
            Ok(None) if record.marks.has(Marks::DEAD_END) => {
                if model.purpose == Purpose::Verify && record.kind == InsnKind::Call {
                    self.ended.push(*path);
                }
                Ok(Step::End)
            }
            Ok(None) => self.advance(path, next),
        }
    }

    fn call(&mut self, function: Option<SymbolId>, path: Path) -> Result<Option<Step>, Message> {
        let model = self.model;
        self.noinstr
            .check(model, self.effort, self.findings, path.insn, path.flags)?;
        rules::call(model, path.insn, path.flags)?;
        let is_special = model.insn(path.insn).kind == InsnKind::Call
            && model.callee(path.insn).is_some_and(|callee| {
                model.has_role(callee, Roles::TRACE_ENTRY)
                    || model.has_role(callee, Roles::EMBEDDED)
            });
        let Some(function) = function.filter(|_| model.options.stackval && !is_special) else {
            return Ok(None);
        };
        let state = self.states.get(path.state);
        let has_frame = state.has_frame::<A>();
        if model.purpose == Purpose::Verify {
            if !has_frame && model.is_rare(path.insn) {
                self.linked.rare_calls.push((function, path.insn));
                return Ok(None);
            }
            self.linked.callers.insert(function);
            if linked::is_above_stack::<A>(state) {
                return Err(Message::CallWithoutFrame);
            }
        }
        if !has_frame {
            return Err(Message::CallWithoutFrame);
        }
        Ok(None)
    }

    /// A jump out of a function. In linked code it may stand in code that belongs to none.
    fn sibling_call(&mut self, function: Option<SymbolId>, path: Path) -> Result<(), Message> {
        let model = self.model;
        let function = match model.purpose {
            Purpose::Build => model.function_of(path.insn),
            Purpose::Verify => function,
        };
        let state = self.states.get(path.state);
        rules::sibling_call(function, state, &self.entry)?;
        self.noinstr
            .check(model, self.effort, self.findings, path.insn, path.flags)?;
        rules::call(model, path.insn, path.flags)
    }

    fn jump(
        &mut self,
        function: Option<SymbolId>,
        path: &mut Path,
        kind: InsnKind,
        next: Option<InsnId>,
    ) -> Result<Step, Broken> {
        let model = self.model;
        let ends = kind == InsnKind::JumpUnconditional;
        // A dead end behind a conditional jump would be the jump itself, which is never one.
        let next = if ends { None } else { next };
        if model.is_sibling_call(path.insn) {
            if let Err(message) = self.sibling_call(function, *path) {
                return self.broken(path.insn, message);
            }
        } else if let Some(dest) = model.jump_target(path.insn) {
            if !self.is_known(function, path, dest) {
                self.pending.push(Pending::Branch { path: *path, next });
                path.turn(dest);
                return Ok(Step::Continue);
            }
        }
        if ends {
            return Ok(Step::End);
        }
        self.advance(path, next)
    }

    /// Goes on to the next instruction.
    fn advance(&mut self, path: &mut Path, next: Option<InsnId>) -> Result<Step, Broken> {
        let model = self.model;
        if let Some(next) = next {
            path.insn = next;
            path.is_straight = true;
            return Ok(Step::Continue);
        }
        if model.insn(path.insn).kind == InsnKind::JumpUnconditional
            || self.states.get(path.state).cfa.base == Base::Undefined
            || model.ignore_unreachable
        {
            return Ok(Step::End);
        }
        // Named is the section that the path began in, as C objtool has it.
        let section = model.insns.section(path.origin);
        self.broken_at_large(path.insn, Message::EndOfSection(section))
    }

    fn stack_effects(
        &mut self,
        function: Option<SymbolId>,
        path: &mut Path,
        ops: OpsId,
        next: Option<InsnId>,
    ) -> Result<(), Broken> {
        if ops == OpsId::NONE {
            return Ok(());
        }
        let model = self.model;
        let context = Context {
            in_function: match model.purpose {
                Purpose::Build => self.own.function.is_some(),
                Purpose::Verify => function.is_some(),
            },
            stackval: model.options.stackval,
            next_has_hint: next.is_some_and(|next| model.insn(next).marks.has(Marks::HINT)),
            linked: model.purpose == Purpose::Verify,
        };
        let key = (path.state, ops, context);
        if let Some(state) = self.recent.get(key) {
            path.state = state;
            return self.flags_kept(path, ops);
        }
        // Half of all effects are copies that have none.
        if let [Some(op), None] = model.insns.ops(ops) {
            if transition::is_idle::<A>(self.states.get(path.state), *op) {
                self.recent.set(key, path.state);
                return self.flags_kept(path, ops);
            }
        }
        let effects = model.insns.ops(ops).iter().flatten();
        let known = self.transitions.get(&key).copied();
        path.state = match known {
            Some(state) => state,
            None => {
                let function = model.symbol_of(path.insn);
                if !self.effort.spend(Task::StackStates, function, 1) {
                    // Never shown: the run ends with an error.
                    return self.broken(path.insn, Message::MissingState);
                }
                let mut state = *self.states.get(path.state);
                for op in effects {
                    if let Err(message) = transition::apply(&model.arch, &mut state, *op, context) {
                        return self.broken(path.insn, message);
                    }
                }
                // Most effects leave the state as it is.
                let id = if state == *self.states.get(path.state) {
                    path.state
                } else {
                    self.states.intern(&state)
                };
                self.transitions.insert(key, id);
                id
            }
        };
        self.recent.set(key, path.state);
        self.flags_kept(path, ops)
    }

    fn flags_kept(&mut self, path: &mut Path, ops: OpsId) -> Result<(), Broken> {
        match rules::flags_kept(self.model, path.insn, ops, &mut path.flags) {
            Ok(()) => Ok(()),
            Err(message) => self.broken(path.insn, message),
        }
    }
}
