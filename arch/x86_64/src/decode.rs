//! Bytes to instruction records, by iced-x86.
//!
//! Which instructions matter for the stack and for control flow, and as what. The choice follows
//! what the kernel's own validator looks at (`tools/objtool/arch/x86/decode.c`), because a build
//! must get the same findings from both. Not here: any meaning for the stack state.

use arch::insn::{
    ConstantStore, Decode, Dest, Insn, InsnKind, Reg, Registers, Source, StackOp, StackTouch,
    Undecodable, Wanted,
};
use iced_x86::{
    Code, Decoder, DecoderOptions, FlowControl, Instruction, InstructionInfo,
    InstructionInfoFactory, Mnemonic, OpAccess, OpKind, Register,
};

use crate::object::note;
use crate::{common, reg, X86_64};

impl Decode for X86_64 {
    fn decode_until(
        &self,
        code: &[u8],
        until: usize,
        wanted: Wanted,
        sink: &mut impl FnMut(usize, Insn),
    ) -> Result<usize, Undecodable> {
        let mut decoder = Decoder::new(64, code, DecoderOptions::NONE);
        let mut instruction = Instruction::default();
        let mut effects = InstructionInfoFactory::new();
        let mut offset = 0;
        let is_build = wanted == Wanted::Build;
        while offset < until.min(code.len()) {
            let rest = &code[offset..];
            if is_build {
                if let Some(len) = common::plain(rest) {
                    sink(offset, common::other(len));
                    offset += usize::from(len);
                    continue;
                }
                // Handed on where it was made: to bring it together with what the full decoder
                // makes takes a copy, and a fifth of all decoding.
                if let Some(insn) = common::decode(rest) {
                    let at = offset;
                    offset += usize::from(insn.len);
                    sink(at, insn);
                    continue;
                }
            }
            // It is within the code, so the decoder can be put there.
            let placed = decoder.set_position(offset);
            decoder.decode_out(&mut instruction);
            if placed.is_err() || instruction.is_invalid() {
                return Err(Undecodable { offset });
            }
            let mut insn = record(&instruction);
            if !is_build {
                insn.touches_frame = touches_frame(&instruction, &mut effects);
                insn.touches_stack = touches_stack(&instruction);
            }
            let at = offset;
            offset += usize::from(insn.len);
            sink(at, insn);
        }
        Ok(offset)
    }

    fn named_address(&self, code: &[u8], address: u64) -> Option<u64> {
        let i = Decoder::with_ip(64, code, address, DecoderOptions::NONE).decode();
        if i.is_invalid() {
            return None;
        }
        for operand in 0..i.op_count() {
            match i.op_kind(operand) {
                OpKind::Memory if i.is_ip_rel_memory_operand() => {
                    return Some(i.ip_rel_memory_address());
                }
                // A table is indexed by one register, whose address part is fixed.
                OpKind::Memory if i.memory_base() == Register::None => {
                    return Some(i.memory_displacement64());
                }
                OpKind::Memory if i.memory_index() == Register::None => {
                    return Some(i.memory_displacement64());
                }
                OpKind::Immediate32to64 | OpKind::Immediate64 | OpKind::Immediate32 => {
                    return Some(i.immediate(operand));
                }
                _ => {}
            }
        }
        None
    }

    fn constant_store(&self, code: &[u8]) -> Option<ConstantStore> {
        // REX.W mov $imm32, disp32(%rip): three bytes of opcode, then the two fields.
        let &[0x48, 0xc7, 0x05, ..] = code else {
            return None;
        };
        (code.len() == 11).then_some(ConstantStore {
            place: 3,
            constant: 7,
            place_bias: 8,
        })
    }

    fn stack_touch(&self, code: &[u8]) -> StackTouch {
        let i = Decoder::new(64, code, DecoderOptions::NONE).decode();
        if i.is_invalid() || !touches_stack(&i) {
            return StackTouch::default();
        }
        let mut effects = InstructionInfoFactory::new();
        let info = effects.info(&i);
        // A pop to memory moves the stack pointer, too.
        let only_moves = i.mnemonic() == Mnemonic::Pop && i.op0_kind() != OpKind::Register;
        let sets = written_by(info).any(|register| register == Register::RSP);
        let stores = info.used_memory().iter().find(|used| {
            used.base() == Register::RSP && used.index() == Register::None && writes(used.access())
        });
        StackTouch {
            sets: sets && !only_moves,
            writes: stores.map(|used| {
                let size = used.memory_size().size().max(1);
                (used.displacement() as i32, size as u32)
            }),
        }
    }

    fn written(&self, code: &[u8]) -> Registers {
        let i = Decoder::new(64, code, DecoderOptions::NONE).decode();
        // What a hypervisor, or a handler, leaves in registers no table says.
        let leaves = i.flow_control() == FlowControl::Interrupt
            || matches!(
                i.mnemonic(),
                Mnemonic::Vmcall
                    | Mnemonic::Vmmcall
                    | Mnemonic::Vmrun
                    | Mnemonic::Vmlaunch
                    | Mnemonic::Vmresume
                    | Mnemonic::Tdcall
                    | Mnemonic::Seamcall
                    | Mnemonic::Syscall
                    | Mnemonic::Sysenter
            );
        if i.is_invalid() || leaves {
            return (0..reg::NAMES.len() as u8).map(Reg).collect();
        }
        let mut effects = InstructionInfoFactory::new();
        written_by(effects.info(&i)).filter_map(gpr).collect()
    }
}

/// The record of the first instruction of code, by the full decoder.
#[cfg(test)]
pub(crate) fn full(code: &[u8]) -> Option<Insn> {
    let i = Decoder::new(64, code, DecoderOptions::NONE).decode();
    (!i.is_invalid()).then(|| record(&i))
}

/// The record of one instruction.
fn record(i: &Instruction) -> Insn {
    let mut insn = Insn {
        len: i.len() as u8,
        kind: InsnKind::Other,
        displacement: 0,
        interrupt_return: false,
        ops: [None; 2],
        touches_frame: false,
        touches_stack: false,
        note: None,
    };
    match i.mnemonic() {
        Mnemonic::Push => insn.ops[0] = Some(push(source_operand(i))),
        Mnemonic::Pop => {
            insn.ops[0] = Some(StackOp {
                dest: dest_operand(i),
                source: Source::Pop,
            })
        }
        Mnemonic::Pushf | Mnemonic::Pushfq => {
            insn.ops[0] = Some(StackOp {
                dest: Dest::PushFlags,
                source: Source::Const,
            });
        }
        Mnemonic::Popf | Mnemonic::Popfq => {
            insn.ops[0] = Some(StackOp {
                dest: Dest::Elsewhere,
                source: Source::PopFlags,
            });
        }
        Mnemonic::Leave => {
            insn.ops[0] = Some(StackOp {
                dest: Dest::Reg(reg::RSP),
                source: Source::Reg(reg::RBP),
            });
            insn.ops[1] = Some(StackOp {
                dest: Dest::Reg(reg::RBP),
                source: Source::Pop,
            });
        }
        Mnemonic::Mov => insn.ops[0] = mov(i),
        Mnemonic::Lea => insn.ops[0] = lea(i),
        Mnemonic::Add | Mnemonic::Sub | Mnemonic::And => insn.ops[0] = arithmetic(i),
        Mnemonic::Call => {
            if i.is_call_near() {
                insn.kind = InsnKind::Call;
                insn.displacement = displacement(i);
                // On the stack it is a push of the return address.
                insn.ops[0] = Some(push(Source::Const));
            } else {
                insn.kind = InsnKind::CallDynamic;
                insn.note = notrack(i);
            }
        }
        Mnemonic::Jmp => {
            if i.is_jmp_short_or_near() {
                insn.kind = InsnKind::JumpUnconditional;
                insn.displacement = displacement(i);
            } else if i.is_jmp_near_indirect() {
                insn.kind = InsnKind::JumpDynamic;
                insn.note = notrack(i);
            } else {
                insn.kind = InsnKind::ContextSwitch;
            }
        }
        Mnemonic::Ret => insn.kind = InsnKind::Return,
        Mnemonic::Iret | Mnemonic::Iretd | Mnemonic::Iretq => {
            insn.kind = InsnKind::ContextSwitch;
            insn.interrupt_return = true;
        }
        Mnemonic::Retf
        | Mnemonic::Syscall
        | Mnemonic::Sysret
        | Mnemonic::Sysretq
        | Mnemonic::Sysenter
        | Mnemonic::Sysexit
        | Mnemonic::Sysexitq
        | Mnemonic::Eretu
        | Mnemonic::Erets => insn.kind = InsnKind::ContextSwitch,
        Mnemonic::Ud1 | Mnemonic::Ud2 => insn.kind = InsnKind::Bug,
        // The prefetches of 0f 0d fill text like the long nops of 0f 1f do.
        Mnemonic::Nop
        | Mnemonic::Pause
        | Mnemonic::Prefetch
        | Mnemonic::Prefetchw
        | Mnemonic::Prefetchwt1 => insn.kind = InsnKind::Nop,
        Mnemonic::Endbr32 | Mnemonic::Endbr64 => insn.kind = InsnKind::LandingPad,
        Mnemonic::Stac => insn.kind = InsnKind::UserAccessEnable,
        Mnemonic::Clac => insn.kind = InsnKind::UserAccessDisable,
        Mnemonic::Std => insn.kind = InsnKind::DirectionSet,
        Mnemonic::Cld => insn.kind = InsnKind::DirectionClear,
        Mnemonic::Int3 => insn.kind = InsnKind::Trap,
        Mnemonic::Enqcmd => insn.note = Some(note::ENQCMD),
        _ if i.is_jcc_short_or_near() || i.is_loop() || i.is_loopcc() || i.is_jcx_short() => {
            insn.kind = InsnKind::JumpConditional;
            insn.displacement = displacement(i);
        }
        _ => {}
    }
    insn
}

/// Bytes at the frame pointer that make the frame: the caller's frame pointer, the return address.
const FRAME: i64 = 16;

/// Whether an instruction changes the frame pointer, or a word of the frame at it.
fn touches_frame(i: &Instruction, effects: &mut InstructionInfoFactory) -> bool {
    // Most instructions can be told by their operands; only the rest is looked up.
    let is_implicit = matches!(i.mnemonic(), Mnemonic::Leave | Mnemonic::Enter);
    let names_it = (0..i.op_count()).any(|operand| {
        i.op_kind(operand) == OpKind::Register
            && i.op_register(operand).full_register() == Register::RBP
    });
    let at_it = i.memory_base() == Register::RBP && i.memory_index() == Register::None && {
        let start = i.memory_displacement64() as i64;
        start < FRAME && start + i.memory_size().size().max(1) as i64 > 0
    };
    if i.mnemonic() == Mnemonic::Push || !(is_implicit || names_it || at_it) {
        return false;
    }
    let info = effects.info(i);
    let writes_it = written_by(info).any(|register| register == Register::RBP);
    let writes_at_it = info
        .used_memory()
        .iter()
        .any(|used| used.base() == Register::RBP && writes(used.access()));
    writes_it || (at_it && writes_at_it)
}

/// Whether an instruction may set the stack pointer, or write memory at a distance from it: told by
/// its operands alone, so that decoding stays cheap.
fn touches_stack(i: &Instruction) -> bool {
    match i.mnemonic() {
        Mnemonic::Leave | Mnemonic::Enter => true,
        // Of 16 bits, or with arguments taken off: not what a build counts.
        _ if i.stack_pointer_increment() % 8 != 0 => true,
        Mnemonic::Ret => i.op_count() != 0,
        Mnemonic::Push => false,
        Mnemonic::Pop if i.op0_kind() == OpKind::Register => {
            i.op0_register().full_register() == Register::RSP
        }
        Mnemonic::Pop => i.memory_base() == Register::RSP,
        _ => {
            let names_it = (0..i.op_count().min(2)).any(|operand| {
                i.op_kind(operand) == OpKind::Register
                    && i.op_register(operand).full_register() == Register::RSP
            });
            let at_it = i.memory_base() == Register::RSP && i.op0_kind() == OpKind::Memory;
            names_it || at_it
        }
    }
}

/// The registers that an instruction writes, as a whole or a part of them; each as the whole.
fn written_by(info: &InstructionInfo) -> impl Iterator<Item = Register> + '_ {
    let used = info.used_registers().iter();
    used.filter(|used| writes(used.access()))
        .map(|used| used.register().full_register())
}

fn writes(access: OpAccess) -> bool {
    matches!(
        access,
        OpAccess::Write | OpAccess::CondWrite | OpAccess::ReadWrite | OpAccess::ReadCondWrite
    )
}

fn push(source: Source) -> StackOp {
    StackOp {
        dest: Dest::Push,
        source,
    }
}

/// Distance from the end of a direct branch to its target.
fn displacement(i: &Instruction) -> i32 {
    i.near_branch_target().wrapping_sub(i.next_ip()) as i32
}

/// Only the segment override that a `notrack` prefix shares its byte with is meant.
fn notrack(i: &Instruction) -> Option<arch::insn::Note> {
    (i.segment_prefix() == Register::DS).then_some(note::NOTRACK)
}

/// A 64-bit general register's number.
fn gpr(register: Register) -> Option<Reg> {
    register.is_gpr64().then(|| Reg(register.number() as u8))
}

fn source_operand(i: &Instruction) -> Source {
    match (i.op0_kind(), gpr(i.op0_register())) {
        (OpKind::Register, Some(reg)) => Source::Reg(reg),
        (OpKind::Memory, _) => {
            base_and_offset(i).map_or(Source::Const, |(base, offset)| Source::Mem { base, offset })
        }
        _ => Source::Const,
    }
}

fn dest_operand(i: &Instruction) -> Dest {
    match (i.op0_kind(), gpr(i.op0_register())) {
        (OpKind::Register, Some(reg)) => Dest::Reg(reg),
        _ => Dest::Elsewhere,
    }
}

/// A memory operand that is one register plus a constant.
fn base_and_offset(i: &Instruction) -> Option<(Reg, i32)> {
    if i.memory_index() != Register::None {
        return None;
    }
    Some((gpr(i.memory_base())?, i.memory_displacement64() as i32))
}

fn mov(i: &Instruction) -> Option<StackOp> {
    match i.code() {
        Code::Mov_rm64_r64 => {
            let source = gpr(i.op1_register())?;
            if i.op0_kind() == OpKind::Register {
                let dest = Dest::Reg(gpr(i.op0_register())?);
                return Some(StackOp {
                    dest,
                    source: Source::Reg(source),
                });
            }
            let (base, offset) = base_and_offset(i)?;
            // A store of the stack pointer may set up a stack switch wherever it goes.
            (source == reg::RSP || base == reg::RBP || base == reg::RSP).then_some(StackOp {
                dest: Dest::Mem { base, offset },
                source: Source::Reg(source),
            })
        }
        Code::Mov_r64_rm64 if i.op1_kind() == OpKind::Memory => {
            let (base, offset) = base_and_offset(i)?;
            (base == reg::RBP || base == reg::RSP).then_some(StackOp {
                dest: Dest::Reg(gpr(i.op0_register())?),
                source: Source::Mem { base, offset },
            })
        }
        _ => None,
    }
}

fn lea(i: &Instruction) -> Option<StackOp> {
    if i.code() != Code::Lea_r64_m {
        return None;
    }
    let (reg, offset) = base_and_offset(i)?;
    let source = if offset == 0 {
        Source::Reg(reg)
    } else {
        Source::Add { reg, offset }
    };
    Some(StackOp {
        dest: Dest::Reg(gpr(i.op0_register())?),
        source,
    })
}

/// Additions to, subtractions from and masks of the stack pointer.
fn arithmetic(i: &Instruction) -> Option<StackOp> {
    if i.op0_kind() != OpKind::Register || i.op0_register() != Register::RSP {
        return None;
    }
    let source = match i.code() {
        Code::Add_rm64_r64 | Code::Sub_rm64_r64 => Source::Add {
            reg: gpr(i.op1_register())?,
            offset: 0,
        },
        Code::Add_rm64_imm8 | Code::Add_rm64_imm32 => Source::Add {
            reg: reg::RSP,
            offset: i.immediate(1) as i32,
        },
        Code::Sub_rm64_imm8 | Code::Sub_rm64_imm32 => Source::Add {
            reg: reg::RSP,
            offset: (i.immediate(1) as i32).wrapping_neg(),
        },
        Code::And_rm64_imm8 | Code::And_rm64_imm32 => Source::And,
        _ => return None,
    };
    Some(StackOp {
        dest: Dest::Reg(reg::RSP),
        source,
    })
}
