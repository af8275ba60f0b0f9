//! A trap behind every return and every indirect jump.
//!
//! Processors may run ahead past an unconditional branch in a straight line; a trap stops them
//! (`Documentation/admin-guide/hw-vuln/`, straight-line speculation; `-mharden-sls`).

use arch::insn::InsnKind;

use crate::decode::Marks;
use crate::model::Model;
use crate::report::{Findings, Message};

/// Checks all instructions; the result is the number of violations, reported or not.
pub fn check<A: Sync>(model: &Model<'_, A>, findings: &mut Findings) -> usize {
    let mut violations = 0;
    // Direct jumps that stand for these go to thunks, which see to it.
    for &insn in &model.insns.indirect {
        let record = model.insn(insn);
        let message = match record.kind {
            InsnKind::Return => Message::NoTrapAfterReturn,
            InsnKind::JumpDynamic => Message::NoTrapAfterJump,
            _ => continue,
        };
        let next = model.insns.next(insn);
        let is_trap = next.is_some_and(|next| model.insn(next).kind == InsnKind::Trap);
        if record.marks.has(Marks::RETPOLINE_SAFE) || is_trap {
            continue;
        }
        violations += 1;
        model.warn(findings, insn, message);
    }
    violations
}
