//! Where direct jumps and calls go.
//!
//! A relocation says it, or the displacement does. Jumps to another function are sibling calls;
//! jumps and calls to the thunks that stand in for indirect branches and returns become those.
//! Indirect jumps through tables are in `jump_tables`.

use std::ops::Range;

use arch::insn::InsnKind;
use arch::object::Architecture;

use super::noreturn::{Noreturn, Returns};
use super::{Model, Purpose, Roles, Target};
use crate::decode::{InsnId, Marks, OpsId, Record};
use crate::parallel;
use crate::read::{Cursor, Reloc, RelocId, SectionId, SymbolId, SymbolKind};
use crate::report::{Abort, Findings, Message, Place};

/// Finds the targets of all direct jumps, and with them the ways out of functions.
pub(super) fn resolve_jumps<A: Architecture + Sync>(
    model: &mut Model<'_, A>,
    findings: &mut Findings,
) -> Result<(), Abort> {
    let jumps = std::mem::take(&mut model.insns.jumps);
    let looked_up = look_up(model, &jumps, look_up_jump);
    let LookedUp { found, left } = looked_up;
    let left = left.concat();
    for &(insn, found) in found.iter().flatten() {
        let how = match found {
            Jump::To(_) => continue,
            Jump::Return => {
                model.sites.returns.push(insn);
                How::Return
            }
            Jump::Sibling(callee) => How::Sibling(callee),
        };
        model.exits.push(Exit { insn, how });
    }
    model.insns.update(found, |record, found| match found {
        Jump::To(dest) => record.set_dest(dest),
        Jump::Return => become_return(record),
        Jump::Sibling(callee) => record.set_callee(callee),
    });
    let others = left.iter().map(|&(insn, _)| insn);
    let others = others.chain(model.insns.indirect.iter().copied());
    let how = How::Unknown;
    model.exits.extend(others.map(|insn| Exit { insn, how }));
    // Stretches in order.
    model.exits.sort_by_key(|exit| exit.insn);
    for (insn, reloc) in left {
        let reloc = reloc.map(|id| model.file.reloc(id));
        let resolved = resolve_jump(model, insn, reloc);
        model.report_remarks(findings);
        model.note_unresolved(insn, resolved, findings)?;
    }
    model.sites.returns.sort();
    Ok(())
}

/// An instruction that may leave its function other than by a call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Exit {
    /// The instruction.
    pub insn: InsnId,
    /// How it leaves, if that is known without a look at it.
    pub how: How,
}

/// How a function is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    /// It returns.
    Return,
    /// It goes on to another function.
    Sibling(SymbolId),
    /// The instruction tells, or it does not leave at all.
    Unknown,
}

/// What becomes of a jump.
#[derive(Clone, Copy, Debug)]
enum Jump {
    /// It goes to an instruction of its function.
    To(InsnId),
    /// It is a return.
    Return,
    /// It calls a function that has no role.
    Sibling(SymbolId),
}

/// What can be said of a branch by itself, whatever becomes of the others. Nine branches of ten need
/// no more than that, and it is found out in parallel; the rest is done in order.
enum Found<T> {
    /// It is no such branch, or its target is known.
    Nothing,
    /// This becomes of it.
    All(T),
    /// Its relocation, if it has one.
    Reloc(Option<RelocId>),
}

/// The outcomes for branches in order, in pieces.
struct LookedUp<T> {
    found: Vec<Vec<(InsnId, T)>>,
    left: Vec<Vec<(InsnId, Option<RelocId>)>>,
}

/// Looks up branches in parallel.
fn look_up<A: Sync, T: Send>(
    model: &Model<'_, A>,
    branches: &[InsnId],
    look_up: impl Fn(&Model<'_, A>, InsnId, Option<RelocId>, &mut Near) -> Found<T> + Sync + Send,
) -> LookedUp<T> {
    let parts = parallel::map_ranges(branches.len(), 1 << 13, |range| {
        let mut near = Near::default();
        let mut relocs: Option<(SectionId, Option<Cursor<'_>>)> = None;
        let mut found = Vec::with_capacity(range.len());
        let mut left = Vec::new();
        for &insn in &branches[range] {
            let section = model.insns.section(insn);
            let record = model.insn(insn);
            let offset = u64::from(record.offset);
            let cursor = match &mut relocs {
                Some((of, cursor)) if *of == section => cursor,
                _ => {
                    let table = model.file.section(section).relocs.as_ref();
                    let cursor = table.map(|table| table.cursor(offset));
                    &mut relocs.insert((section, cursor)).1
                }
            };
            let index = cursor
                .as_mut()
                .and_then(|cursor| cursor.first_in(offset, record.len.into()));
            let reloc = index.map(|index| RelocId { section, index });
            match look_up(model, insn, reloc, &mut near) {
                Found::Nothing => {}
                Found::All(what) => found.push((insn, what)),
                Found::Reloc(reloc) => left.push((insn, reloc)),
            }
        }
        (found, left)
    });
    let (found, left) = parts.into_iter().unzip();
    LookedUp { found, left }
}

/// The instructions of the symbol in which the last branch was, in a row. The next one is there more
/// often than not, and so is where it goes.
#[derive(Debug, Default)]
struct Near {
    insns: Range<u32>,
    /// Where the symbol starts.
    start: Option<u64>,
}

fn look_up_jump<A>(
    model: &Model<'_, A>,
    insn: InsnId,
    reloc: Option<RelocId>,
    near: &mut Near,
) -> Found<Jump> {
    let record = model.insn(insn);
    // Jumps to the end of a replacement are resolved with it.
    if !record.kind.is_static_jump() || record.target() != Target::None {
        return Found::Nothing;
    }
    if model.purpose == Purpose::Verify {
        return Found::Reloc(reloc);
    }
    if let Some(id) = reloc {
        let callee = model.file.reloc(id).symbol;
        if model.file.symbol(callee).is_section() {
            return Found::Reloc(reloc);
        }
        if model.has_role(callee, Roles::RETPOLINE_THUNK) {
            return Found::Reloc(reloc);
        }
        if model.has_role(callee, Roles::RETURN_THUNK) {
            return Found::All(Jump::Return);
        }
        if model.function_of(insn).is_some() && has_no_role(model, insn, callee) {
            return Found::All(Jump::Sibling(callee));
        }
        return Found::Reloc(reloc);
    }
    let Place { section, offset } = model.branch_place(insn);
    if !near.insns.contains(&insn.0) {
        let own = model.symbol_of(insn);
        *near = Near {
            insns: model.owner_run(insn),
            start: own.map(|own| model.file.symbol(own).value),
        };
    }
    let dest = model.insns.at(section, offset).filter(|&dest| {
        let is_own = || model.symbol_of(insn) == model.symbol_of(dest);
        // What begins there may be a thunk.
        near.start != Some(offset) && (near.insns.contains(&dest.0) || is_own())
    });
    dest.map_or(Found::Reloc(None), |dest| Found::All(Jump::To(dest)))
}

fn resolve_jump<A: Architecture>(
    model: &mut Model<'_, A>,
    insn: InsnId,
    reloc: Option<Reloc>,
) -> Result<(), Message> {
    let function = model.function_of(insn);
    let own_section = model.insns.section(insn);
    let (section, offset) = match reloc {
        None => {
            let place = model.branch_place(insn);
            (place.section, place.offset)
        }
        Some(reloc) => {
            let symbol = model.file.symbol(reloc.symbol);
            let distance = reloc.addend.wrapping_add(A::BRANCH_FIELD_LEN);
            if symbol.is_section() {
                (symbol.section, distance as u64)
            } else if model.has_role(reloc.symbol, Roles::RETPOLINE_THUNK) {
                make_indirect(model, insn, reloc.symbol);
                return Ok(());
            } else if model.has_role(reloc.symbol, Roles::RETURN_THUNK) {
                make_return(model, insn, true);
                return Ok(());
            } else if let Some(place) = midst(model, reloc.symbol, distance) {
                (place.section, place.offset)
            } else if function.is_some() {
                set_callee(model, insn, Some(reloc.symbol), true, None);
                return Ok(());
            } else if symbol.section != SectionId::UNDEFINED {
                (symbol.section, symbol.value.wrapping_add_signed(distance))
            } else {
                // Code without functions that jumps to another file.
                return Ok(());
            }
        }
    };

    let Some(dest) = model.insns.at(section, offset) else {
        let symbol = model.symbols.at(section, offset);
        if symbol.is_some_and(|symbol| model.has_role(symbol, Roles::EMBEDDED)) {
            // The return that is meant lies inside another instruction.
            make_return(model, insn, false);
            return Ok(());
        }
        // Dead code of coverage builds may jump to the end of its function.
        let at_end = function.is_some_and(|f| {
            section == own_section
                && offset
                    == model
                        .file
                        .symbol(f)
                        .value
                        .wrapping_add(model.symbols.len(f))
        });
        if model.ignore_unreachable && at_end {
            return Ok(());
        }
        return Err(Message::NoJumpTarget(Place { section, offset }));
    };

    let dest_symbol = model
        .symbol_of(dest)
        .filter(|&symbol| model.file.symbol(symbol).value == offset);
    let label = model.label(Place { section, offset });
    for symbol in [label, dest_symbol].into_iter().flatten() {
        // The thunks' own file reaches them without a relocation.
        if model.has_role(symbol, Roles::RETPOLINE_THUNK) {
            make_indirect(model, insn, symbol);
            return Ok(());
        }
        if model.has_role(symbol, Roles::RETURN_THUNK) {
            make_return(model, insn, true);
            return Ok(());
        }
    }

    if let (Some(from), Some(to)) = (function, model.function_of(dest)) {
        let is_cold = |id| model.symbols.is_cold(id);
        // Where a function has several names, its first one counts as the hot part.
        if from != to && !is_cold(from) && is_cold(to) {
            model.symbols.join(from, to);
        }
    }

    if is_sibling(model, insn, dest) {
        let callee = model.function_of(dest);
        set_callee(model, insn, callee, true, None);
    } else {
        model.insns.get_mut(insn).set_dest(dest);
    }
    Ok(())
}

/// The place some bytes behind a symbol, in a module that is judged: what stands there is not what
/// the symbol names. A build goes by the name, as C objtool does.
fn midst<A>(model: &Model<'_, A>, symbol: SymbolId, distance: i64) -> Option<Place> {
    if model.purpose != Purpose::Verify || distance == 0 {
        return None;
    }
    let symbol = model.file.symbol(symbol);
    Some(Place {
        section: symbol.section,
        offset: symbol.value.wrapping_add_signed(distance),
    })
}

/// A jump to the start of another function is a call in disguise.
fn is_sibling<A>(model: &Model<'_, A>, from: InsnId, to: InsnId) -> bool {
    let Some(dest) = model.symbol_of(to) else {
        return false;
    };
    let Some(from) = model.symbol_of(from) else {
        // Linked code without a symbol may belong to a function's paths all the same.
        return model.purpose == Purpose::Verify
            && model.file.symbol(dest).is_function()
            && model.file.symbol(dest).value == u64::from(model.insn(to).offset);
    };
    is_start(model, to, dest)
        && model.file.symbol(dest).kind != SymbolKind::NoType
        && parent(model, from) != parent(model, dest)
}

/// Direct branches may skip the landing pad of a function.
fn is_start<A>(model: &Model<'_, A>, insn: InsnId, symbol: SymbolId) -> bool {
    let start = model.file.symbol(symbol).value;
    let offset = u64::from(model.insn(insn).offset);
    if offset == start {
        return true;
    }
    let prev = model.insns.prev(insn).filter(|&prev| {
        model.options.ibt
            && model.insn(prev).kind == InsnKind::LandingPad
            && model.function_of(prev) == model.function_of(insn)
    });
    prev.is_some_and(|prev| offset == start + u64::from(model.insn(prev).len))
}

/// The function that a symbol is a part of; none for what is no function.
fn parent<A>(model: &Model<'_, A>, symbol: SymbolId) -> Option<SymbolId> {
    model
        .file
        .symbol(symbol)
        .is_function()
        .then(|| model.symbols.parent(symbol))
}

/// Finds the targets of all direct calls.
pub(super) fn resolve_calls<A: Architecture + Sync>(
    model: &mut Model<'_, A>,
    noreturn: &Noreturn,
    findings: &mut Findings,
) -> Result<(), Abort> {
    let calls = std::mem::take(&mut model.insns.calls);
    let looked_up = look_up(model, &calls, |model, insn, reloc, _| {
        if model.insn(insn).kind != InsnKind::Call {
            return Found::Nothing;
        }
        let callee = look_up_callee(model, insn, reloc.map(|id| model.file.reloc(id)));
        let callee = callee.filter(|&callee| has_no_role(model, insn, callee));
        callee.map_or(Found::Reloc(reloc), |callee| {
            let is_dead_end = is_dead_end(model, insn, callee, noreturn);
            Found::All((callee, is_dead_end))
        })
    });
    let LookedUp { found, left } = looked_up;
    // Which section they are in need not be asked for each.
    let (mut same, mut is_init) = (0..0, false);
    for &(insn, _) in found.iter().flatten() {
        if !same.contains(&insn.0) {
            let section = model.insns.section(insn);
            same = model.insns.range_of(section);
            is_init = model.sections[section.index()].init;
        }
        if !is_init {
            model.sites.calls.push(insn);
        }
    }
    model.insns.update(found, |record, (callee, is_dead_end)| {
        record.set_callee(callee);
        if is_dead_end {
            record.marks.set(Marks::DEAD_END, true);
        }
    });
    for (insn, reloc) in left.concat() {
        let reloc = reloc.map(|id| model.file.reloc(id));
        let resolved = resolve_call(model, insn, reloc, noreturn);
        model.report_remarks(findings);
        model.note_unresolved(insn, resolved, findings)?;
    }
    // Two stretches in order.
    model.sites.calls.sort();
    Ok(())
}

/// The function or symbol at a place.
fn named<A>(model: &Model<'_, A>, section: SectionId, offset: u64) -> Option<SymbolId> {
    model
        .symbols
        .function_at(section, offset)
        .or_else(|| model.symbols.at(section, offset))
}

/// What a call goes to, where nothing speaks against it.
fn look_up_callee<A: Architecture>(
    model: &Model<'_, A>,
    insn: InsnId,
    reloc: Option<Reloc>,
) -> Option<SymbolId> {
    if model.purpose == Purpose::Verify {
        return None;
    }
    let Some(reloc) = reloc else {
        let place = model.branch_place(insn);
        let callee = named(model, place.section, place.offset);
        return callee.filter(|&callee| model.file.symbol(callee).is_function());
    };
    let symbol = model.file.symbol(reloc.symbol);
    if !symbol.is_section() {
        return Some(reloc.symbol);
    }
    let offset = reloc.addend.wrapping_add(A::BRANCH_FIELD_LEN) as u64;
    named(model, symbol.section, offset)
}

/// Whether a call stands where the output may list it, and its callee is none of those that are
/// treated otherwise.
fn has_no_role<A>(model: &Model<'_, A>, insn: InsnId, callee: SymbolId) -> bool {
    let section = model.sections[model.insns.section(insn).index()];
    let is = |role| model.has_role(callee, role);
    !(section.replacement
        || is(Roles::STATIC_CALL_TRAMPOLINE)
        || is(Roles::RETPOLINE_THUNK)
        || (is(Roles::PROFILING) && model.options.hack_noinstr && section.noinstr)
        || (is(Roles::TRACE_ENTRY) && model.options.mcount))
}

fn resolve_call<A: Architecture>(
    model: &mut Model<'_, A>,
    insn: InsnId,
    reloc: Option<Reloc>,
    noreturn: &Noreturn,
) -> Result<(), Message> {
    let Some(reloc) = reloc else {
        let place = model.branch_place(insn);
        let callee = named(model, place.section, place.offset).or_else(|| model.label(place));
        if model.purpose == Purpose::Verify {
            return resolve_linked_call(model, insn, place, callee, noreturn);
        }
        set_callee(model, insn, callee, false, Some(noreturn));
        if model.insn(insn).marks.has(Marks::IGNORE) {
            return Ok(());
        }
        return match callee {
            None => Err(Message::IntraFunctionCall),
            Some(callee)
                if model.function_of(insn).is_some()
                    && !model.file.symbol(callee).is_function() =>
            {
                Err(Message::CallToNonFunction)
            }
            Some(_) => Ok(()),
        };
    };

    let symbol = model.file.symbol(reloc.symbol);
    if symbol.is_section() {
        let section = symbol.section;
        let offset = reloc.addend.wrapping_add(A::BRANCH_FIELD_LEN) as u64;
        let Some(callee) = named(model, section, offset) else {
            return Err(Message::NoCallTarget(Place { section, offset }));
        };
        set_callee(model, insn, Some(callee), false, Some(noreturn));
    } else if model.has_role(reloc.symbol, Roles::RETPOLINE_THUNK) {
        make_indirect(model, insn, reloc.symbol);
    } else if let Some(place) = midst(
        model,
        reloc.symbol,
        reloc.addend.wrapping_add(A::BRANCH_FIELD_LEN),
    ) {
        let callee = named(model, place.section, place.offset).or_else(|| model.label(place));
        return resolve_linked_call(model, insn, place, callee, noreturn);
    } else {
        set_callee(model, insn, Some(reloc.symbol), false, Some(noreturn));
    }
    Ok(())
}

/// A call in linked code, where no annotation says what it is.
fn resolve_linked_call<A: Architecture>(
    model: &mut Model<'_, A>,
    insn: InsnId,
    place: Place,
    callee: Option<SymbolId>,
    noreturn: &Noreturn,
) -> Result<(), Message> {
    if let Some(thunk) = callee.filter(|&callee| model.has_role(callee, Roles::RETPOLINE_THUNK)) {
        make_indirect(model, insn, thunk);
        return Ok(());
    }
    let dest = model.insns.at(place.section, place.offset);
    let is_embedded = callee.is_some_and(|callee| model.has_role(callee, Roles::EMBEDDED));
    if callee.is_none() || (dest.is_none() && !is_embedded) {
        // A call that stays inside its function is a jump that pushes.
        let own = model.function_of(insn);
        let stays = own.is_some() && dest.is_some_and(|dest| model.function_of(dest) == own);
        let Some(dest) = dest.filter(|_| stays) else {
            return Err(Message::NoCallTarget(place));
        };
        model.insns.get_mut(insn).kind = InsnKind::JumpUnconditional;
        model.insns.get_mut(insn).set_dest(dest);
        return Ok(());
    }
    set_callee(model, insn, callee, false, Some(noreturn));
    Ok(())
}

/// A jump or call to a retpoline thunk is an indirect one.
fn make_indirect<A: Architecture>(model: &mut Model<'_, A>, insn: InsnId, thunk: SymbolId) {
    let record = model.insns.get_mut(insn);
    record.kind = match record.kind {
        InsnKind::Call => InsnKind::CallDynamic,
        InsnKind::JumpUnconditional => InsnKind::JumpDynamic,
        InsnKind::JumpConditional => InsnKind::JumpDynamicConditional,
        _ => return,
    };
    record.marks.set(Marks::RETPOLINE_SAFE, true);
    // What a call pushes its return takes off again.
    record.set_ops(OpsId::NONE);
    list_site(model, insn, thunk, false, None);
}

/// A jump to the return thunk is a return.
fn make_return<A>(model: &mut Model<'_, A>, insn: InsnId, list: bool) {
    become_return(model.insns.get_mut(insn));
    if list {
        model.sites.returns.push(insn);
    }
}

fn become_return(record: &mut Record) {
    record.kind = InsnKind::Return;
    record.marks.set(Marks::RETPOLINE_SAFE, true);
}

/// Records what is called. `noreturn` is known once all jumps are resolved; sibling calls do not
/// need it.
fn set_callee<A: Architecture>(
    model: &mut Model<'_, A>,
    insn: InsnId,
    callee: Option<SymbolId>,
    is_sibling: bool,
    noreturn: Option<&Noreturn>,
) {
    let Some(callee) = callee else { return };
    model.insns.get_mut(insn).set_callee(callee);
    list_site(model, insn, callee, is_sibling, noreturn);
}

/// Lists a call for the output, or rewrites it.
fn list_site<A: Architecture>(
    model: &mut Model<'_, A>,
    insn: InsnId,
    callee: SymbolId,
    is_sibling: bool,
    noreturn: Option<&Noreturn>,
) {
    let role = model.sections[model.insns.section(insn).index()];
    // A template, copied elsewhere before it runs.
    if role.replacement {
        return;
    }
    if model.has_role(callee, Roles::STATIC_CALL_TRAMPOLINE) {
        model.sites.static_calls.push(insn);
        return;
    }
    if model.has_role(callee, Roles::RETPOLINE_THUNK) {
        model.sites.retpolines.push(insn);
        return;
    }
    let len = model.insn(insn).len;
    if model.options.hack_noinstr && role.noinstr && model.has_role(callee, Roles::PROFILING) {
        let (kind, what, bytes) = if is_sibling {
            (InsnKind::Return, "RET", model.arch.ret(len.into()))
        } else {
            (InsnKind::Nop, "NOP", model.arch.nop(len.into()))
        };
        match bytes {
            Some(bytes) => model.replace_insn(insn, kind, bytes),
            None => model.remarks.push((insn, Message::NoFilling { what, len })),
        }
        if is_sibling {
            // The filling after the return is part of the same record.
            model
                .insns
                .get_mut(insn)
                .marks
                .set(Marks::RETPOLINE_SAFE, true);
        }
        return;
    }
    if model.options.mcount && model.has_role(callee, Roles::TRACE_ENTRY) {
        if is_sibling {
            model.remarks.push((insn, Message::TailCallToTracer));
        }
        if model.options.mnop {
            match model.arch.nop(len.into()) {
                Some(nop) => model.replace_insn(insn, InsnKind::Nop, nop),
                None => model
                    .remarks
                    .push((insn, Message::NoFilling { what: "NOP", len })),
            }
        }
        model.sites.traces.push(insn);
        return;
    }
    if model.insn(insn).kind == InsnKind::Call && !role.init {
        model.sites.calls.push(insn);
    }
    let is_dead_end = noreturn.is_some_and(|noreturn| is_dead_end(model, insn, callee, noreturn));
    if !is_sibling && is_dead_end {
        model.insns.get_mut(insn).marks.set(Marks::DEAD_END, true);
    }
}

/// Whether execution does not go on behind a call.
fn is_dead_end<A>(
    model: &Model<'_, A>,
    insn: InsnId,
    callee: SymbolId,
    noreturn: &Noreturn,
) -> bool {
    match noreturn.get(callee) {
        Returns::Never => true,
        Returns::NotByOthers => !goes_on(model, insn),
        Returns::Maybe => false,
    }
}

/// Whether there is code of the same function behind an instruction.
fn goes_on<A>(model: &Model<'_, A>, insn: InsnId) -> bool {
    model.insns.next(insn).is_some_and(|next| {
        model.symbol_of(next) == model.symbol_of(insn)
            && !matches!(model.insn(next).kind, InsnKind::Trap | InsnKind::Bug)
    })
}

impl<A> Model<'_, A> {
    /// Reports what was noticed about an instruction while its target was resolved.
    pub(super) fn report_remarks(&mut self, findings: &mut Findings) {
        for (insn, message) in std::mem::take(&mut self.remarks) {
            match message {
                Message::NoFilling { .. } => findings.add(message),
                _ => self.warn(findings, insn, message),
            }
        }
    }

    /// Reports a branch that can't be made out and gives up, or, when an image is judged, keeps it
    /// for those who come by it.
    pub(super) fn note_unresolved(
        &mut self,
        insn: InsnId,
        resolved: Result<(), Message>,
        findings: &mut Findings,
    ) -> Result<(), Abort> {
        let Err(message) = resolved else {
            return Ok(());
        };
        if self.purpose == Purpose::Verify {
            self.unresolved.insert(insn, message);
            return Ok(());
        }
        self.warn(findings, insn, message);
        Err(Abort)
    }
}
