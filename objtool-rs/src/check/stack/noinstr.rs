//! Text that must not be instrumented calls only such text.
//!
//! Entry code runs before the kernel is ready for tracing and sanitizers; it may call other text
//! only where instrumentation is expressly allowed (`Documentation/core-api/entry.rst`,
//! "Non-instrumentable code"). Where instrumentation is allowed is counted along the path.

use rustc_hash::FxHashSet;

use super::rules::Flags;
use crate::decode::InsnId;
use crate::model::{Effort, Model, Paravirt, Roles, Task};
use crate::report::{Findings, Message};

/// Size of a pointer in bytes.
const POINTER: i64 = 8;

/// Bytes from a paravirtual call's relocated field to its end.
const CALL_BIAS: i64 = 4;

/// What is known of paravirtual operations.
#[derive(Clone, Debug, Default)]
pub struct Noinstr {
    /// Operations all of whose targets must not be instrumented.
    clean: FxHashSet<usize>,
}

impl Noinstr {
    /// Checks a call or sibling call.
    pub fn check<A>(
        &mut self,
        model: &Model<'_, A>,
        effort: &Effort,
        findings: &mut Findings,
        insn: InsnId,
        flags: Flags,
    ) -> Result<(), Message> {
        if flags.noinstr
            && flags.instrumentation <= 0
            && !self.may_call(model, effort, findings, insn)
        {
            return Err(Message::CallLeavesNoinstr {
                callee: model.callee(insn),
            });
        }
        Ok(())
    }

    fn may_call<A>(
        &mut self,
        model: &Model<'_, A>,
        effort: &Effort,
        findings: &mut Findings,
        insn: InsnId,
    ) -> bool {
        let Some(callee) = model.callee(insn) else {
            // Nobody knows where an indirect call goes, but for the one kind.
            return self.may_call_paravirt(model, effort, findings, insn);
        };
        let symbol = model.file.symbol(callee);
        model.sections[symbol.section.index()].noinstr
            // Where it goes is decided at run time.
            || model.has_role(callee, Roles::STATIC_CALL_TRAMPOLINE)
            // Something bad has happened, and the message is worth the risk.
            || symbol.name.starts_with(b"__ubsan_handle_")
    }

    fn may_call_paravirt<A>(
        &mut self,
        model: &Model<'_, A>,
        effort: &Effort,
        findings: &mut Findings,
        insn: InsnId,
    ) -> bool {
        let Some(paravirt) = &model.paravirt else {
            return false;
        };
        let Some((_, reloc)) = model.insn_reloc(insn) else {
            return false;
        };
        if model.file.symbol(reloc.symbol).name != Paravirt::TABLE {
            return false;
        }
        let operation = (reloc.addend.wrapping_add(CALL_BIAS) / POINTER) as usize;
        if self.clean.contains(&operation) {
            return true;
        }
        if !paravirt.has(operation as u64) {
            return false;
        }
        let mut clean = true;
        for target in paravirt.targets(operation as u64) {
            let function = model.function_of(insn);
            if !effort.spend(Task::Findings, function, 1) {
                break;
            }
            let section = model.file.symbol(target).section;
            if !model.sections[section.index()].noinstr {
                findings.add(Message::ParavirtLeavesNoinstr { operation, target });
                clean = false;
            }
        }
        if clean {
            self.clean.insert(operation);
        }
        clean
    }
}
