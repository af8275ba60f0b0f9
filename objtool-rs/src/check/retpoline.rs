//! No indirect branch and no return that speculation can be steered through.
//!
//! With retpolines, indirect jumps and calls go through thunks; with return thunks, returns do.
//! Exempt is what is annotated so, and init text, which runs before there is anyone to fear
//! (`Documentation/admin-guide/hw-vuln/spectre.rst`, "Kernel mitigation").

use arch::insn::InsnKind;

use crate::decode::Marks;
use crate::model::Model;
use crate::report::{Findings, Message};

/// Checks all instructions; the result is the number of violations, reported or not.
pub fn check<A: Sync>(model: &Model<'_, A>, findings: &mut Findings) -> usize {
    let mut violations = 0;
    // Direct branches that stand for these are those that go to thunks.
    for &insn in &model.insns.indirect {
        let record = model.insn(insn);
        if record.marks.has(Marks::RETPOLINE_SAFE) {
            continue;
        }
        let message = match record.kind {
            InsnKind::JumpDynamic => Message::IndirectJump,
            InsnKind::CallDynamic => Message::IndirectCall,
            InsnKind::Return if model.options.rethunk => Message::NakedReturn,
            _ => continue,
        };
        if model.sections[model.insns.section(insn).index()].init {
            continue;
        }
        violations += 1;
        model.warn(findings, insn, message);
    }
    violations
}
