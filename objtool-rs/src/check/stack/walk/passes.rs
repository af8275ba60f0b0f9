//! Which instructions a path goes over without a look at them one by one.

use arch::insn::InsnKind;

use crate::decode::{Marks, Record};

/// What a path goes straight over, in the state that it is in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Passes {
    /// Copies between registers: they change nothing in this state.
    pub copies: bool,
    /// Calls: nothing is asked of them now.
    pub calls: bool,
}

impl Passes {
    /// Whether all that an instruction does is to let the path go on to the next one, under rules
    /// that hold for any. `copies` says of effects whether they are copies.
    pub fn over(self, record: &Record, copies: &[bool]) -> bool {
        if record.marks.has_any(Marks::PARTICULAR) {
            return false;
        }
        match record.kind {
            InsnKind::Other => {
                record.is_without_effect() || (self.copies && copies[record.ops().index()])
            }
            InsnKind::Nop | InsnKind::Trap | InsnKind::LandingPad => record.is_without_effect(),
            InsnKind::Call => self.calls && record.has_callee(),
            InsnKind::CallDynamic => self.calls && record.is_without_effect(),
            _ => false,
        }
    }
}
