//! Object files of an x86_64 kernel: table layouts, relocation classes, names with a role.
//!
//! Sources: the psABI for relocations; `arch/x86/include/asm/alternative.h`, `jump_label.h` and
//! `extable.h` for the tables; `arch/x86/include/asm/orc_types.h` for hint registers;
//! `arch/x86/include/asm/nops.h` for the nops that the kernel itself patches in.

use arch::insn::{Note, Reg};
use arch::object::{
    AlternativeLayout, AlternativePolicy, Architecture, Base, BugLayout, ExceptionLayout,
    JumpLabelLayout, RelocationTypes, UnwindHintLayout,
};

use crate::{reg, X86_64};

/// Relocation types of the psABI, table 4.9, that the analyzer tells apart.
pub mod relocation {
    /// No relocation.
    pub const NONE: u32 = 0;
    /// 64-bit address.
    pub const ABS64: u32 = 1;
    /// 32-bit distance.
    pub const PC32: u32 = 2;
    /// 32-bit distance to a procedure, through the PLT where there is one.
    pub const PLT32: u32 = 4;
    /// 32-bit distance to an entry of the GOT.
    pub const GOTPCREL: u32 = 9;
    /// 16-bit distance.
    pub const PC16: u32 = 13;
    /// 8-bit distance.
    pub const PC8: u32 = 15;
    /// 64-bit distance.
    pub const PC64: u32 = 24;
    /// 32-bit distance to the GOT.
    pub const GOTPC32: u32 = 26;
}

/// CPU features that decide which stream of an alternative is followed
/// (`arch/x86/include/asm/cpufeatures.h`: word * 32 + bit).
mod feature {
    /// The population count instruction; the path without it is taken by next to no machine.
    pub(super) const POPCNT: u16 = 4 * 32 + 23;
    /// Supervisor mode access prevention.
    pub(super) const SMAP: u16 = 9 * 32 + 20;
}

/// Numbers of the decoder's notes.
pub mod note {
    use arch::insn::Note;

    /// A `notrack` prefix on an indirect branch: it would switch off branch tracking.
    pub const NOTRACK: Note = Note(0);
    /// `enqcmd` needs the PASID of user space and must not run in the kernel.
    pub const ENQCMD: Note = Note(1);
}

impl Architecture for X86_64 {
    const MACHINE: u16 = 62;
    const REGISTERS: usize = reg::NAMES.len();
    const STACK_POINTER: Reg = reg::RSP;
    const FRAME_POINTER: Reg = reg::RBP;
    const RETURN_ADDRESS: Reg = reg::RETURN_ADDRESS;
    const WORD: i32 = 8;
    const ENTRY_CFA_OFFSET: i32 = 8;
    const INTERRUPT_RETURN_POP: i32 = 5 * 8;
    const RELOCATIONS: RelocationTypes = RelocationTypes {
        none: relocation::NONE,
        relative32: relocation::PC32,
        absolute64: relocation::ABS64,
    };
    const BRANCH_FIELD_LEN: i64 = 4;
    const ALTERNATIVE: AlternativeLayout = AlternativeLayout {
        size: 14,
        original: 0,
        replacement: 4,
        feature: 8,
        original_len: 12,
        replacement_len: 13,
    };
    const OLDER_ALTERNATIVES: &'static [AlternativeLayout] = &[
        // Up to Linux 6.2: no flags beside the feature.
        AlternativeLayout {
            size: 12,
            original: 0,
            replacement: 4,
            feature: 8,
            original_len: 10,
            replacement_len: 11,
        },
        // Up to Linux 5.12: the length of the padding behind.
        AlternativeLayout {
            size: 13,
            original: 0,
            replacement: 4,
            feature: 8,
            original_len: 10,
            replacement_len: 11,
        },
    ];
    const JUMP_LABEL: JumpLabelLayout = JumpLabelLayout {
        size: 16,
        original: 0,
        target: 4,
        key: 8,
    };
    const EXCEPTION: ExceptionLayout = ExceptionLayout {
        size: 12,
        original: 0,
        target: 4,
    };
    // Without CONFIG_DEBUG_BUGVERBOSE there is no file and line (asm-generic/bug.h).
    const BUG: &'static [BugLayout] = &[
        BugLayout {
            size: 12,
            insn: 0,
            flags: 10,
        },
        BugLayout {
            size: 8,
            insn: 0,
            flags: 4,
        },
    ];
    const UNWIND_HINT: UnwindHintLayout = UnwindHintLayout {
        size: 12,
        ip: 0,
        sp_offset: 4,
        sp_reg: 6,
        kind: 7,
        signal: 8,
    };

    fn register_name(&self, reg: Reg) -> &'static str {
        reg::NAMES.get(usize::from(reg.0)).copied().unwrap_or("?")
    }

    fn is_callee_saved(&self, r: Reg) -> bool {
        r == reg::RBP || r == reg::RBX || (reg::R12..=reg::R15).contains(&r)
    }

    fn hint_base(&self, sp_reg: u8) -> Option<Base> {
        // orc_types.h, ORC_REG_*.
        Some(match sp_reg {
            0 => Base::Undefined,
            2 => Base::Reg(reg::RDX),
            3 => Base::Reg(reg::RDI),
            4 => Base::Reg(reg::RBP),
            5 => Base::Reg(reg::RSP),
            6 => Base::Reg(reg::R10),
            7 => Base::Reg(reg::R13),
            9 => Base::StackPointerIndirect,
            _ => return None,
        })
    }

    fn is_pc_relative(&self, reloc_type: u32) -> bool {
        use relocation::{GOTPC32, GOTPCREL, PC16, PC32, PC64, PC8, PLT32};
        matches!(
            reloc_type,
            PC8 | PC16 | PC32 | PC64 | PLT32 | GOTPC32 | GOTPCREL
        )
    }

    fn is_relative32(&self, reloc_type: u32) -> bool {
        reloc_type == relocation::PC32
    }

    fn is_branch_relative(&self, reloc_type: u32) -> bool {
        matches!(reloc_type, relocation::PC32 | relocation::PLT32)
    }

    fn nop(&self, len: usize) -> Option<&'static [u8]> {
        // Intel SDM volume 2, NOP, "recommended multi-byte sequence".
        Some(match len {
            1 => &[0x90],
            2 => &[0x66, 0x90],
            3 => &[0x0f, 0x1f, 0x00],
            4 => &[0x0f, 0x1f, 0x40, 0x00],
            5 => &[0x0f, 0x1f, 0x44, 0x00, 0x00],
            _ => return None,
        })
    }

    fn ret(&self, len: usize) -> Option<&'static [u8]> {
        // The trap stops straight-line speculation past the return.
        Some(match len {
            1 => &[0xc3],
            2 => &[0xc3, 0xcc],
            3 => &[0xc3, 0xcc, 0x90],
            4 => &[0xc3, 0xcc, 0x66, 0x90],
            5 => &[0xc3, 0xcc, 0x0f, 0x1f, 0x00],
            _ => return None,
        })
    }

    fn is_retpoline_thunk(&self, name: &[u8]) -> bool {
        name.starts_with(b"__x86_indirect_")
    }

    fn is_return_thunk(&self, name: &[u8]) -> bool {
        name == b"__x86_return_thunk"
    }

    fn is_embedded_insn(&self, name: &[u8]) -> bool {
        matches!(name, b"retbleed_return_thunk" | b"srso_safe_ret")
    }

    fn is_trace_entry(&self, name: &[u8]) -> bool {
        name == b"__fentry__"
    }

    fn is_noinstr_section(&self, name: &[u8]) -> bool {
        name.starts_with(b".text..__x86.")
    }

    fn alternative_policy(&self, feature: u16, user_access: bool) -> AlternativePolicy {
        match feature {
            // Both streams at once would find paths that open access and never close it.
            feature::SMAP if user_access => AlternativePolicy::ReplacementOnly,
            feature::SMAP => AlternativePolicy::OriginalOnly,
            feature::POPCNT => AlternativePolicy::ReplacementOnly,
            _ => AlternativePolicy::Both,
        }
    }

    fn note(&self, note: Note) -> (&'static str, bool) {
        if note == note::NOTRACK {
            ("notrack prefix found", true)
        } else {
            ("ENQCMD instruction", false)
        }
    }
}
