//! Register numbers, in the order of the instruction encoding.
//!
//! The order is the one of the processor manuals' register fields (Intel SDM volume 2, 2.2.1.2),
//! which call frame information in the kernel follows; DWARF's order is another.

use arch::insn::Reg;

/// Accumulator.
pub const RAX: Reg = Reg(0);
/// Stack pointer.
pub const RSP: Reg = Reg(4);
/// Frame pointer.
pub const RBP: Reg = Reg(5);
/// Callee-saved.
pub const RBX: Reg = Reg(3);
/// Third argument; base of some hand-written frames.
pub const RDX: Reg = Reg(2);
/// First argument; base of some hand-written frames.
pub const RDI: Reg = Reg(7);
/// DRAP register that GCC prefers.
pub const R10: Reg = Reg(10);
/// Callee-saved; DRAP register when r10 is taken.
pub const R13: Reg = Reg(13);
/// First of the four callee-saved registers r12 to r15.
pub const R12: Reg = Reg(12);
/// Last of them.
pub const R15: Reg = Reg(15);
/// The return address, which call frame information treats as a register.
pub const RETURN_ADDRESS: Reg = Reg(16);

/// Names as the AT&T syntax writes them, without the `%`; by register number.
pub const NAMES: [&str; 17] = [
    "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13",
    "r14", "r15", "ra",
];
