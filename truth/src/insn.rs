//! What the emulation has to know of an instruction: whether it calls or returns, where it may
//! branch to, and whether it can be run at all.
//!
//! Decoded by iced-x86 from the image's bytes; the emulator decodes by itself.

use iced_x86::{
    Code, Decoder, DecoderOptions, FlowControl, Instruction, Mnemonic, OpKind, Register,
};

use crate::image::Image;
use crate::shadow::Flow;

/// How an instruction is dealt with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// The emulator runs it.
    Run(Flow),
    /// The emulator runs it: a call or a jump to where data says.
    Indirect(Flow),
    /// The emulator runs it: a conditional branch to here.
    Branch(u64),
    /// It would read a clock or noise: it is passed over, with made-up values in rax and rdx.
    MakeUp,
    /// It is passed over: it has no effect here, or the kernel's handler of its exception does so.
    Skip,
    /// It changes what the emulation rests on, or waits for an event: the run ends, for this reason.
    End(&'static str),
}

/// An instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Insn {
    /// Bytes.
    pub len: u64,
    /// How it is dealt with.
    pub way: Way,
}

/// The instruction at an address, if there is one.
pub fn decode(image: &Image, address: u64) -> Option<Insn> {
    let code = image.bytes(address, 15)?;
    let insn = Decoder::with_ip(64, code, address, DecoderOptions::NONE).decode();
    if insn.is_invalid() {
        return None;
    }
    let warns = || image.warnings.binary_search(&address).is_ok();
    Some(Insn {
        len: insn.len() as u64,
        way: way(&insn, warns),
    })
}

fn way(insn: &Instruction, warns: impl Fn() -> bool) -> Way {
    match insn.mnemonic() {
        Mnemonic::Ud2 if warns() => return Way::Skip,
        // Nothing is kept from the kernel here.
        Mnemonic::Clac | Mnemonic::Stac => return Way::Skip,
        Mnemonic::Ud0 | Mnemonic::Ud1 | Mnemonic::Ud2 => return Way::End("BUG"),
        Mnemonic::Int3 | Mnemonic::Int1 | Mnemonic::Int => return Way::End("trap"),
        Mnemonic::Hlt | Mnemonic::Mwait | Mnemonic::Umwait | Mnemonic::Tpause => {
            return Way::End("waits")
        }
        Mnemonic::Rdtsc
        | Mnemonic::Rdtscp
        | Mnemonic::Rdpmc
        | Mnemonic::Rdrand
        | Mnemonic::Rdseed => return Way::MakeUp,
        Mnemonic::Wrmsr
        | Mnemonic::Wrfsbase
        | Mnemonic::Wrgsbase
        | Mnemonic::Swapgs
        | Mnemonic::Lgdt
        | Mnemonic::Lidt
        | Mnemonic::Lldt
        | Mnemonic::Ltr
        | Mnemonic::Lmsw
        | Mnemonic::Xsetbv
        | Mnemonic::Invlpg
        | Mnemonic::Invpcid
        | Mnemonic::Wbinvd
        | Mnemonic::Syscall
        | Mnemonic::Sysretq
        | Mnemonic::Sysret
        | Mnemonic::Sysexit
        | Mnemonic::Sysenter
        | Mnemonic::Iret
        | Mnemonic::Iretd
        | Mnemonic::Iretq
        | Mnemonic::Eretu
        | Mnemonic::Erets
        | Mnemonic::In
        | Mnemonic::Out => return Way::End("system instruction"),
        _ => {}
    }
    let system =
        |register: Register| register.is_cr() || register.is_dr() || register.is_segment_register();
    if insn.op0_kind() == OpKind::Register && system(insn.op0_register()) {
        return Way::End("system register");
    }
    if insn.mnemonic() == Mnemonic::Push && insn.op0_register() == Register::RBP {
        return Way::Run(Flow::SavesFp);
    }
    match insn.flow_control() {
        FlowControl::Next | FlowControl::UnconditionalBranch => Way::Run(Flow::Other),
        FlowControl::IndirectBranch => Way::Indirect(Flow::Other),
        FlowControl::ConditionalBranch => Way::Branch(insn.near_branch_target()),
        FlowControl::Call | FlowControl::IndirectCall if is_far(insn.code()) => {
            Way::End("far call")
        }
        FlowControl::Call => Way::Run(Flow::Call),
        FlowControl::IndirectCall => Way::Indirect(Flow::Call),
        FlowControl::Return if is_far(insn.code()) => Way::End("far return"),
        FlowControl::Return => Way::Run(Flow::Return),
        FlowControl::Interrupt | FlowControl::XbeginXabortXend | FlowControl::Exception => {
            Way::End("trap")
        }
    }
}

fn is_far(code: Code) -> bool {
    matches!(
        code,
        Code::Call_m1616
            | Code::Call_m1632
            | Code::Call_m1664
            | Code::Call_ptr1616
            | Code::Call_ptr1632
            | Code::Retfd
            | Code::Retfd_imm16
            | Code::Retfq
            | Code::Retfq_imm16
            | Code::Retfw
            | Code::Retfw_imm16
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn way_of(code: &[u8]) -> Way {
        let insn = Decoder::with_ip(64, code, 0x1000, DecoderOptions::NONE).decode();
        assert_eq!(insn.len(), code.len());
        way(&insn, || false)
    }

    #[test]
    fn each_kind_of_instruction_is_told() {
        for (code, expected) in [
            (&[0xe8, 1, 0, 0, 0][..], Way::Run(Flow::Call)),
            (&[0xff, 0xd0], Way::Indirect(Flow::Call)),
            (&[0xc3], Way::Run(Flow::Return)),
            (&[0xc2, 8, 0], Way::Run(Flow::Return)),
            (&[0xeb, 0x10], Way::Run(Flow::Other)),
            (&[0xff, 0xe0], Way::Indirect(Flow::Other)),
            (&[0x74, 0x10], Way::Branch(0x1012)),
            (&[0x55], Way::Run(Flow::SavesFp)),
            (&[0x53], Way::Run(Flow::Other)),
            (&[0xff, 0x75, 8], Way::Run(Flow::Other)),
            (&[0x0f, 0x31], Way::MakeUp),
            (&[0x0f, 0x01, 0xca], Way::Skip),
            (&[0x0f, 0x0b], Way::End("BUG")),
            (&[0xf4], Way::End("waits")),
            (&[0x0f, 0x22, 0xd8], Way::End("system register")),
            (&[0x8e, 0xd8], Way::End("system register")),
            (&[0x0f, 0x20, 0xd8], Way::Run(Flow::Other)),
            (&[0x48, 0xcf], Way::End("system instruction")),
            (&[0x48, 0xcb], Way::End("far return")),
        ] {
            assert_eq!(way_of(code), expected, "{code:x?}");
        }
        let ud2 = Decoder::with_ip(64, &[0x0f, 0x0b], 0, DecoderOptions::NONE).decode();
        assert_eq!(way(&ud2, || true), Way::Skip);
    }
}
