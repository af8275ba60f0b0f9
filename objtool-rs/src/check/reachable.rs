//! Code that no path reaches.
//!
//! It means that control flow was misunderstood, most often because a function that does not
//! return is not known as such: then everything behind the call was never checked. Only looked at
//! when the walk found nothing else, because its own findings leave paths unfinished.

use std::ops::RangeInclusive;

use arch::insn::InsnKind;
use rustc_hash::FxHashSet;

use super::stack::walked::Walked;
use crate::decode::{InsnId, Marks};
use crate::model::{Hole, Model, Roles};
use crate::read::SymbolId;
use crate::report::{Findings, Message};

/// Sanitizers put code behind calls that do not return; it shows within so many instructions.
const SANITIZER_REACH: usize = 5;

/// Checks all instructions; the result is the number of violations, reported or not.
pub fn check<A: Sync>(model: &Model<'_, A>, walked: &Walked, findings: &mut Findings) -> usize {
    if model.ignore_unreachable {
        return 0;
    }
    let mut holes = Holes::default();
    let mut violations = 0;
    let unreached = model.insns.select(|insn, record| {
        // Nearly all are visited, and then their records need not be looked at.
        !walked.is_visited(insn)
            && !matches!(record.kind, InsnKind::Nop | InsnKind::Trap)
            && !record.marks.has(Marks::IGNORE)
    });
    for insn in unreached {
        if is_expected(model, walked, insn, &mut holes) {
            continue;
        }
        violations += 1;
        let prev = model
            .insns
            .prev(insn)
            .filter(|&p| model.insn(p).marks.has(Marks::DEAD_END));
        let message = match prev.and_then(|prev| model.callee(prev)) {
            Some(callee) => Message::MissingNoreturn { callee },
            None => Message::Unreachable,
        };
        model.warn(findings, insn, message);
    }
    violations
}

/// Code that a linker left behind without a symbol.
#[derive(Default)]
struct Holes {
    /// Cold parts that only such code jumps to.
    dead_cold: FxHashSet<SymbolId>,
    /// The stretch that was looked at last, and whether a path leads into it further on: one look
    /// at a hole is enough for all instructions in it.
    known: Option<(RangeInclusive<InsnId>, bool)>,
}

fn is_expected<A>(model: &Model<'_, A>, walked: &Walked, insn: InsnId, holes: &mut Holes) -> bool {
    let function = model.function_of(insn);
    if function.is_some_and(|function| holes.dead_cold.contains(&function)) {
        return true;
    }
    // Replacements of ignored functions are never reached.
    let section = model.insns.section(insn);
    if matches!(
        model.file.section(section).name,
        b".altinstr_replacement" | b".altinstr_aux"
    ) {
        return true;
    }
    if model.options.link && function.is_none() {
        return is_leftover(model, walked, insn, holes);
    }
    let Some(function) = function else {
        return false;
    };
    if model.has_role(function, Roles::STATIC_CALL_TRAMPOLINE) {
        return true;
    }
    is_trap_after_dead_end(model, insn) || leads_to_sanitizer(model, insn, function)
}

/// `BUG()` is followed by a second trap, or by a jump to one.
fn is_trap_after_dead_end<A>(model: &Model<'_, A>, insn: InsnId) -> bool {
    let after_dead_end = model
        .insns
        .prev(insn)
        .is_some_and(|prev| model.insn(prev).marks.has(Marks::DEAD_END));
    let is_bug = |insn| model.insn(insn).kind == InsnKind::Bug;
    after_dead_end
        && (is_bug(insn)
            || (model.insn(insn).kind == InsnKind::JumpUnconditional
                && model.jump_target(insn).is_some_and(is_bug)))
}

fn leads_to_sanitizer<A>(model: &Model<'_, A>, insn: InsnId, function: SymbolId) -> bool {
    let end = model
        .file
        .symbol(function)
        .value
        .saturating_add(model.symbols.len(function));
    let mut insn = insn;
    for _ in 0..SANITIZER_REACH {
        let record = model.insn(insn);
        if record.kind == InsnKind::Call {
            let callee = model
                .callee(insn)
                .map(|callee| model.file.symbol(callee).name);
            if let Some(b"__asan_handle_no_return" | b"__ubsan_handle_builtin_unreachable") = callee
            {
                return true;
            }
        }
        let next = if record.kind == InsnKind::JumpUnconditional {
            model
                .jump_target(insn)
                .filter(|&dest| model.function_of(dest) == Some(function))
        } else if record.end() >= end {
            None
        } else {
            model.insns.next(insn)
        };
        let Some(next) = next else { return false };
        insn = next;
    }
    false
}

/// A linker that drops a weak function keeps its code, without a symbol.
fn is_leftover<A>(model: &Model<'_, A>, walked: &Walked, insn: InsnId, holes: &mut Holes) -> bool {
    let place = model.place(insn);
    let end = match model.symbols.hole(place.section, place.offset) {
        Hole::None => return false,
        Hole::UntilEnd => return true,
        Hole::Until(end) => end,
    };
    if let Some((stretch, leftover)) = &holes.known {
        if stretch.contains(&insn) {
            return *leftover;
        }
    }
    let first = insn;
    let mut last = first;
    let mut is_entered = false;
    while let Some(insn) = model.insns.next(last) {
        is_entered = walked.is_visited(insn);
        if is_entered || u64::from(model.insn(insn).offset) >= end {
            break;
        }
        let dest = model
            .jump_target(insn)
            .and_then(|dest| model.function_of(dest));
        if let Some(cold) = dest.filter(|&dest| model.symbols.is_cold(dest)) {
            holes.dead_cold.insert(cold);
        }
        last = insn;
    }
    holes.known = Some((first..=last, is_entered));
    is_entered
}
