//! The ways to break a function of a linked kernel in one place, and why each breaks it.
//!
//! An operator proposes a change of a few bytes at an instruction; branches and tables keep their
//! places, because what is shorter is filled up with nops. Some such changes are harmless where they
//! stand (a `leave` that makes up for an adjustment, code that no path comes by), so a proposal only
//! becomes a mutant when `oracle` finds the path on which the broken rule shows. The argument that
//! stands with each operator says what that path shows.

use iced_x86::{Code, FlowControl, Instruction, Mnemonic, OpKind, Register};

use super::program::{Function, Place, Program};
use crate::mutants::code::nops;
use crate::mutants::rng::Rng;

/// Bytes in place of others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Edit {
    /// The address of the first one.
    pub address: u64,
    /// The new ones.
    pub bytes: Vec<u8>,
}

/// A way to break a function.
pub struct Operator {
    /// For tables and mutants' names.
    pub name: &'static str,
    /// What it does.
    pub about: &'static str,
    /// Why the discipline is broken by it.
    pub why: &'static str,
    /// Whether it can be applied at an instruction of a function.
    fits: fn(&Site<'_>) -> bool,
    /// The change.
    apply: fn(&Site<'_>, &mut Rng) -> Option<Edit>,
}

/// An instruction and what is around it.
pub struct Site<'a> {
    /// The program.
    pub program: &'a Program,
    /// The function.
    pub function: &'a Function,
    /// Its instructions.
    pub insns: &'a [Instruction],
    /// Which of them.
    pub index: usize,
}

impl Site<'_> {
    fn insn(&self) -> &Instruction {
        &self.insns[self.index]
    }

    /// These bytes and filling in place of the instruction, if they fit.
    fn replace(&self, bytes: &[u8]) -> Option<Edit> {
        let room = self.insn().len().checked_sub(bytes.len())?;
        let mut bytes = bytes.to_vec();
        bytes.extend(nops(room));
        Some(Edit {
            address: self.insn().ip(),
            bytes,
        })
    }

    /// One of several, of those that fit.
    fn replace_by_one(&self, choices: &[&[u8]], rng: &mut Rng) -> Option<Edit> {
        let fitting: Vec<_> = choices
            .iter()
            .filter(|bytes| bytes.len() <= self.insn().len())
            .collect();
        self.replace(rng.choose(&fitting)?)
    }

    /// A branch of this opcode to another address, in the instruction's place.
    fn branch(&self, opcode: &[u8], target: u64) -> Option<Edit> {
        let end = self.insn().ip() + opcode.len() as u64 + 4;
        let distance = i32::try_from(target.wrapping_sub(end) as i64).ok()?;
        self.replace(&[opcode, &distance.to_le_bytes()].concat())
    }

    fn bytes(&self) -> Option<&[u8]> {
        let at = self.program.at(self.insn().ip())?;
        self.program.data.get(at..at + self.insn().len())
    }

    /// The instruction with its last constant, of one byte or four, changed by some bytes.
    fn add_to_constant(&self, by: i32) -> Option<Edit> {
        let mut bytes = self.bytes()?.to_vec();
        let insn = self.insn();
        let wide = match insn.code() {
            Code::Lea_r64_m => insn.memory_displ_size() > 1,
            Code::Add_rm64_imm32 | Code::Sub_rm64_imm32 => true,
            _ => false,
        };
        if wide {
            let field = bytes.last_chunk_mut::<4>()?;
            *field = i32::from_le_bytes(*field).wrapping_add(by).to_le_bytes();
        } else {
            let field = bytes.last_mut()?;
            *field = u8::try_from(by.rem_euclid(256)).ok()?.wrapping_add(*field);
        }
        self.replace(&bytes)
    }
}

/// Frames that are begun otherwise than they must be.
const PROLOGUE: &[Operator] = &[
    Operator {
        name: "drop-push-frame",
        about: "nops in place of push %rbp",
        why: "The caller's %rbp is saved nowhere: the next call finds no frame, and the pop or leave \
              at the end takes the return address for it.",
        fits: |site| is_push(site.insn(), Register::RBP),
        apply: |site, _| site.replace(&[]),
    },
    Operator {
        name: "push-other",
        about: "another register in place of %rbp in push %rbp",
        why: "The frame's first word is not the caller's %rbp, so the chain ends here at every call, \
              and the caller gets a wrong %rbp back.",
        fits: |site| is_push(site.insn(), Register::RBP),
        apply: |site, rng| site.replace_by_one(&[&[0x50], &[0x51], &[0x53], &[0x56]], rng),
    },
    Operator {
        name: "drop-setup",
        about: "nops in place of mov %rsp,%rbp",
        why: "%rbp still points to the caller's frame: at the next call this function's frame is \
              missing, and a leave takes the caller's frame down.",
        fits: |site| is_move(site.insn(), Register::RSP, Register::RBP),
        apply: |site, _| site.replace(&[]),
    },
    Operator {
        name: "reverse-setup",
        about: "mov %rbp,%rsp in place of mov %rsp,%rbp",
        why: "The stack pointer goes up to the caller's frame: what is pushed next overwrites it.",
        fits: |site| is_move(site.insn(), Register::RSP, Register::RBP),
        apply: |site, _| site.replace(&[0x48, 0x89, 0xec]),
    },
    Operator {
        name: "swap-prologue",
        about: "mov %rsp,%rbp before push %rbp",
        why: "%rbp points to the return address and what is pushed is its new value: the chain is \
              off by a word at every call.",
        fits: |site| {
            is_push(site.insn(), Register::RBP)
                && site
                    .insns
                    .get(site.index + 1)
                    .is_some_and(|next| is_move(next, Register::RSP, Register::RBP))
        },
        apply: |site, _| {
            Some(Edit {
                address: site.insn().ip(),
                bytes: vec![0x48, 0x89, 0xe5, 0x55],
            })
        },
    },
    Operator {
        name: "call-before-frame",
        about: "the call to __fentry__ goes to another function",
        why: "At the first instruction there is no frame yet, which only the function tracer may \
              ignore.",
        fits: |site| {
            site.index == 0
                && site.insn().code() == Code::Call_rel32_64
                && site.program.place(site.insn().near_branch_target()) == Place::TraceEntry
        },
        apply: |site, rng| site.branch(&[0xe8], other_function(site, rng)?.address),
    },
];

/// Frames that are ended otherwise than they must be.
const EPILOGUE: &[Operator] = &[
    Operator {
        name: "drop-pop-frame",
        about: "nops in place of pop %rbp",
        why: "The return takes the saved %rbp for the return address.",
        fits: |site| is_pop(site.insn(), Register::RBP),
        apply: |site, _| site.replace(&[]),
    },
    Operator {
        name: "pop-other",
        about: "another register in place of %rbp in pop %rbp",
        why: "The function returns with its own frame in %rbp, where its caller's is expected.",
        fits: |site| is_pop(site.insn(), Register::RBP),
        apply: |site, rng| site.replace_by_one(&[&[0x58], &[0x59], &[0x5b], &[0x5e]], rng),
    },
    Operator {
        name: "drop-leave",
        about: "nops in place of leave",
        why: "The return takes whatever is on top of the stack for the return address.",
        fits: |site| site.insn().mnemonic() == Mnemonic::Leave,
        apply: |site, _| site.replace(&[]),
    },
    Operator {
        name: "leave-to-pop",
        about: "pop %rbp in place of leave",
        why:
            "With anything between the frame and the top of the stack, that is taken for the saved \
              %rbp, and the next word for the return address.",
        fits: |site| site.insn().mnemonic() == Mnemonic::Leave,
        apply: |site, _| site.replace(&[0x5d]),
    },
    Operator {
        name: "drop-return",
        about: "nops in place of a return",
        why: "Execution runs into what follows: code of this function without a frame, or another \
              function.",
        fits: |site| is_return(site, site.insn()),
        apply: |site, _| site.replace(&[]),
    },
    Operator {
        name: "early-return",
        about: "ret in place of plain code",
        why: "Between the prologue and the epilogue the return address is not on top of the stack.",
        fits: |site| is_plain(site.insn()),
        apply: |site, _| site.replace(&[0xc3]),
    },
    Operator {
        name: "early-return-thunk",
        about: "a jump to the return thunk in place of a call",
        why:
            "A call stands between the prologue and the epilogue, where the return address is not \
              on top of the stack.",
        fits: |site| is_direct_call(site),
        apply: |site, _| site.branch(&[0xe9], site.program.return_thunk()?),
    },
    Operator {
        name: "skip-epilogue",
        about: "a branch goes to a return of the function",
        why: "The epilogue before the return is left out, so the frame is still there.",
        fits: |site| is_branch_inside(site),
        apply: |site, rng| {
            let returns: Vec<u64> = site
                .insns
                .iter()
                .filter(|insn| is_return(site, insn))
                .map(Instruction::ip)
                .collect();
            retarget(site, *rng.choose(&returns)?)
        },
    },
];

/// Stacks out of balance.
const STACK: &[Operator] = &[
    Operator {
        name: "drop-push",
        about: "nops in place of a push of another register than %rbp",
        why: "Its pop takes the word above it, and the return address is missed by a word, unless \
              the epilogue sets the stack pointer anew.",
        fits: |site| site.insn().code() == Code::Push_r64 && !is_push(site.insn(), Register::RBP),
        apply: |site, _| site.replace(&[]),
    },
    Operator {
        name: "drop-pop",
        about: "nops in place of a pop of another register than %rbp",
        why: "The word stays on the stack, where the next pop, and at last the return, takes it.",
        fits: |site| site.insn().code() == Code::Pop_r64 && !is_pop(site.insn(), Register::RBP),
        apply: |site, _| site.replace(&[]),
    },
    Operator {
        name: "extra-push",
        about: "push %rax in place of plain code",
        why: "There is a word more on the stack than the epilogue takes off.",
        fits: |site| is_plain(site.insn()),
        apply: |site, _| site.replace(&[0x50]),
    },
    Operator {
        name: "extra-pop",
        about: "pop %rax in place of plain code",
        why: "There is a word less on the stack than the epilogue takes off; right behind the set-up \
              that word is the saved %rbp.",
        fits: |site| is_plain(site.insn()),
        apply: |site, _| site.replace(&[0x58]),
    },
    Operator {
        name: "lose-stack",
        about: "the stack pointer is set to something else in place of plain code",
        why: "The return address is looked for somewhere else, unless the epilogue sets the stack \
              pointer anew.",
        fits: |site| is_plain(site.insn()),
        apply: |site, rng| {
            // mov %rax,%rsp; add %rax,%rsp; xchg %rax,%rsp; mov (%rax),%rsp; xor %esp,%esp;
            // and $-16,%rsp; inc %rsp; pop %rsp
            let changes: &[&[u8]] = &[
                &[0x48, 0x89, 0xc4],
                &[0x48, 0x01, 0xc4],
                &[0x48, 0x94],
                &[0x48, 0x8b, 0x20],
                &[0x31, 0xe4],
                &[0x48, 0x83, 0xe4, 0xf0],
                &[0x48, 0xff, 0xc4],
                &[0x5c],
            ];
            site.replace_by_one(changes, rng)
        },
    },
    Operator {
        name: "other-adjustment",
        about: "add or sub of %rsp, or lea into it, by a word more or less",
        why: "What is made room for and what is given back is not the same, unless the epilogue sets \
              the stack pointer anew.",
        fits: |site| is_adjustment(site.insn()),
        apply: |site, rng| site.add_to_constant(if rng.one_in(2) { 8 } else { -8 }),
    },
    Operator {
        name: "drop-adjustment",
        about: "nops in place of add or sub of %rsp, or lea into it",
        why: "What is made room for is not given back, or the other way round, unless the epilogue \
              sets the stack pointer anew.",
        fits: |site| is_adjustment(site.insn()),
        apply: |site, _| site.replace(&[]),
    },
];

/// Ways out of a function that are none.
const FLOW: &[Operator] = &[
    Operator {
        name: "call-to-jump",
        about: "a jump in place of a call, to the same function",
        why: "It is a tail call, which the callee returns from with the frame still in place.",
        fits: |site| is_direct_call(site),
        apply: |site, _| site.branch(&[0xe9], site.insn().near_branch_target()),
    },
    Operator {
        name: "tail-call",
        about: "a jump to another function in place of plain code",
        why: "The other function returns to where this frame's word is taken for an address.",
        fits: |site| is_plain(site.insn()),
        apply: |site, rng| site.branch(&[0xe9], other_function(site, rng)?.address),
    },
    Operator {
        name: "jump-inside",
        about: "a jump into the midst of another function in place of plain code",
        why: "That function goes on without having begun.",
        fits: |site| is_plain(site.insn()),
        apply: |site, rng| {
            let target = inside_of(site.program, other_function(site, rng)?, rng)?;
            site.branch(&[0xe9], target)
        },
    },
    Operator {
        name: "branch-inside",
        about: "a conditional branch goes into the midst of another function",
        why: "That function goes on without having begun.",
        fits: |site| {
            site.insn().flow_control() == FlowControl::ConditionalBranch && site.insn().len() == 6
        },
        apply: |site, rng| {
            let target = inside_of(site.program, other_function(site, rng)?, rng)?;
            site.branch(site.bytes()?.first_chunk::<2>()?, target)
        },
    },
    Operator {
        name: "jump-to-start",
        about: "a branch goes to the function's first instruction",
        why: "The prologue runs again upon the frame that is there, and pushes its own %rbp.",
        fits: |site| is_branch_inside(site),
        apply: |site, _| retarget(site, site.function.address),
    },
    Operator {
        name: "jump-to-call",
        about: "a call in place of a jump to another function",
        why: "Before a tail call the frame is taken down; a call needs one.",
        fits: |site| {
            site.insn().code() == Code::Jmp_rel32_64
                && matches!(
                    site.program.place(site.insn().near_branch_target()),
                    Place::Function(_)
                )
        },
        apply: |site, _| site.branch(&[0xe8], site.insn().near_branch_target()),
    },
];

/// Frames that are destroyed while they are in use.
const FRAME: &[Operator] = &[
    Operator {
        name: "move-to-frame-pointer",
        about: "another register is copied to %rbp in place of plain code",
        why: "%rbp points to no frame at the next call, and is not the caller's at the return.",
        fits: |site| is_plain(site.insn()),
        apply: |site, rng| {
            // mov %rax,%rbp; mov %rdi,%rbp; mov %ebx,%ebp; movslq %eax,%rbp
            let moves: &[&[u8]] = &[
                &[0x48, 0x89, 0xc5],
                &[0x48, 0x89, 0xfd],
                &[0x89, 0xdd],
                &[0x48, 0x63, 0xe8],
            ];
            site.replace_by_one(moves, rng)
        },
    },
    Operator {
        name: "compute-frame-pointer",
        about: "arithmetic on %rbp in place of plain code",
        why: "%rbp points to no frame at the next call, and is not the caller's at the return.",
        fits: |site| is_plain(site.insn()),
        apply: |site, rng| {
            // xor %ebp,%ebp; inc %rbp; add $8,%rbp; lea 8(%rbp),%rbp; shl %rbp; or %rax,%rbp
            let sums: &[&[u8]] = &[
                &[0x31, 0xed],
                &[0x48, 0xff, 0xc5],
                &[0x48, 0x83, 0xc5, 0x08],
                &[0x48, 0x8d, 0x6d, 0x08],
                &[0x48, 0xd1, 0xe5],
                &[0x48, 0x09, 0xc5],
            ];
            site.replace_by_one(sums, rng)
        },
    },
    Operator {
        name: "load-frame-pointer",
        about: "%rbp is loaded or exchanged in place of plain code",
        why: "%rbp points to no frame at the next call, and is not the caller's at the return.",
        fits: |site| is_plain(site.insn()),
        apply: |site, rng| {
            // mov (%rdi),%rbp; mov (%rax),%ebp; xchg %rax,%rbp; cmovne %rax,%rbp; movzbl %al,%ebp
            let loads: &[&[u8]] = &[
                &[0x48, 0x8b, 0x2f],
                &[0x8b, 0x28],
                &[0x48, 0x95],
                &[0x48, 0x0f, 0x45, 0xe8],
                &[0x0f, 0xb6, 0xe8],
            ];
            site.replace_by_one(loads, rng)
        },
    },
    Operator {
        name: "overwrite-frame",
        about: "a store to the saved %rbp or the return address in place of plain code",
        why: "The frame is found at the next call, but what it holds is not the caller's.",
        fits: |site| is_plain(site.insn()),
        apply: |site, rng| {
            // mov %rax,(%rbp); mov %rax,8(%rbp); mov %eax,4(%rbp); incq (%rbp)
            let stores: &[&[u8]] = &[
                &[0x48, 0x89, 0x45, 0x00],
                &[0x48, 0x89, 0x45, 0x08],
                &[0x89, 0x45, 0x04],
                &[0x48, 0xff, 0x45, 0x00],
            ];
            site.replace_by_one(stores, rng)
        },
    },
];

/// Frames that are destroyed by way of the stack pointer.
const FRAME_BY_STACK: &[Operator] = &[Operator {
    name: "overwrite-by-stack",
    about: "a store above the top of the stack in place of plain code",
    why: "At the right distance it hits the saved %rbp or the return address, which the next call, or \
          the return, relies on.",
    fits: |site| is_plain(site.insn()),
    apply: |site, rng| {
        let distance = 8 * rng.below(8) as u8;
        // mov %rax,x(%rsp); mov %eax,x(%rsp); incb x(%rsp); movb $0,x(%rsp)
        let stores: &[&[u8]] = &[
            &[0x48, 0x89, 0x44, 0x24, distance],
            &[0x89, 0x44, 0x24, distance],
            &[0xfe, 0x44, 0x24, distance],
            &[0xc6, 0x44, 0x24, distance, 0x00],
        ];
        site.replace_by_one(stores, rng)
    },
}];

/// Every operator.
pub fn all() -> Vec<&'static Operator> {
    [PROLOGUE, EPILOGUE, STACK, FLOW, FRAME, FRAME_BY_STACK]
        .into_iter()
        .flatten()
        .collect()
}

impl Operator {
    /// A change at one of the places in a function where this operator can be applied, or none.
    pub fn propose(
        &self,
        program: &Program,
        function: &Function,
        insns: &[Instruction],
        rng: &mut Rng,
    ) -> Option<Edit> {
        let site = |index| Site {
            program,
            function,
            insns,
            index,
        };
        let sites: Vec<usize> = (0..insns.len())
            .filter(|&index| !program.is_patched(insns[index].ip()) && (self.fits)(&site(index)))
            .collect();
        let edit = (self.apply)(&site(*rng.choose(&sites)?), rng)?;
        let at = program.at(edit.address)?;
        let is_change = program.data.get(at..at + edit.bytes.len())? != edit.bytes;
        is_change.then_some(edit)
    }
}

fn is_push(insn: &Instruction, register: Register) -> bool {
    insn.code() == Code::Push_r64 && insn.op0_register() == register
}

fn is_pop(insn: &Instruction, register: Register) -> bool {
    insn.code() == Code::Pop_r64 && insn.op0_register() == register
}

fn is_move(insn: &Instruction, from: Register, to: Register) -> bool {
    matches!(insn.code(), Code::Mov_rm64_r64 | Code::Mov_r64_rm64)
        && insn.op1_kind() == OpKind::Register
        && insn.op1_register() == from
        && insn.op0_register() == to
        && insn.len() == 3
}

fn is_adjustment(insn: &Instruction) -> bool {
    let kind = match insn.code() {
        Code::Add_rm64_imm8 | Code::Add_rm64_imm32 | Code::Sub_rm64_imm8 | Code::Sub_rm64_imm32 => {
            insn.op0_kind() == OpKind::Register
        }
        Code::Lea_r64_m => insn.memory_displ_size() != 0,
        _ => false,
    };
    kind && insn.op0_register() == Register::RSP
}

/// Code that goes on to the next instruction and is no filling, whatever else it does.
fn is_plain(insn: &Instruction) -> bool {
    insn.flow_control() == FlowControl::Next && insn.mnemonic() != Mnemonic::Nop
}

fn is_return(site: &Site<'_>, insn: &Instruction) -> bool {
    match insn.flow_control() {
        FlowControl::Return => true,
        FlowControl::UnconditionalBranch => {
            site.program.place(insn.near_branch_target()) == Place::Return
        }
        _ => false,
    }
}

fn is_direct_call(site: &Site<'_>) -> bool {
    site.insn().code() == Code::Call_rel32_64
        && matches!(
            site.program.place(site.insn().near_branch_target()),
            Place::Function(_)
        )
}

/// Whether an instruction is a direct branch to another place of its function.
fn is_branch_inside(site: &Site<'_>) -> bool {
    matches!(
        site.insn().flow_control(),
        FlowControl::ConditionalBranch | FlowControl::UnconditionalBranch
    ) && site.function.has(site.insn().near_branch_target())
}

/// The same branch to another address, if that is near enough.
fn retarget(site: &Site<'_>, target: u64) -> Option<Edit> {
    let insn = site.insn();
    let distance = target.wrapping_sub(insn.next_ip()) as i64;
    let mut bytes = site.bytes()?.to_vec();
    // The distance is the last byte, or the last four behind an opcode of one byte or two.
    if bytes.len() >= 5 {
        *bytes.last_chunk_mut::<4>()? = i32::try_from(distance).ok()?.to_le_bytes();
    } else {
        *bytes.last_mut()? = i8::try_from(distance).ok()?.to_le_bytes()[0];
    }
    site.replace(&bytes)
}

/// Any other function.
fn other_function<'p>(site: &Site<'p>, rng: &mut Rng) -> Option<&'p Function> {
    let other = rng.choose(&site.program.functions)?;
    (other.address != site.function.address).then_some(other)
}

/// The address of an instruction of a function behind its first one.
fn inside_of(program: &Program, function: &Function, rng: &mut Rng) -> Option<u64> {
    let insns = program.insns(function).ok()?;
    let insns: Vec<&Instruction> = insns.iter().skip(1).filter(|i| !i.is_invalid()).collect();
    Some(rng.choose(&insns)?.ip())
}
