//! - `stack state mismatch: cfa1={} cfa2={}`
//! - `stack state mismatch: reg1[{}]={} reg2[{}]={}`
//! - `stack state mismatch: type1={} type2={}`
//! - `stack state mismatch: drap1={} drap2={}`
//!
//! Paths that join here leave the stack in different states.

use super::{Explanation, Group};
use crate::report::Names;
use arch::object::Rule;

pub(super) const EXPLANATION: Explanation = Explanation {
    code: "stack-mismatch",
    group: Group::Frame,
    title: "paths that join here leave the stack in different states",
    words: &[
        "stack state mismatch: cfa1={} cfa2={}",
        "stack state mismatch: reg1[{}]={} reg2[{}]={}",
        "stack state mismatch: type1={} type2={}",
        "stack state mismatch: drap1={} drap2={}",
    ],
    what: "Two paths lead to one instruction, and they disagree: about where the call frame \
           address (CFA, the stack pointer of the caller right before its call) is found, about \
           where a register is saved, about the kind of frame, or about the register of a \
           realigned frame (DRAP). The first value is the one that was met first.\n\n\
           In `cfa1=4+16` the number in front of the sign is a register (4 is rsp, 5 is rbp, 16 \
           the return address) or a negative one: -1 nothing known, -2 the CFA itself, -3 what \
           rsp points at, -4 what rbp points at. --explain prints names.",
    why: "There is one way to unwind from an instruction. With two states, it is wrong for one \
          of the paths, and mostly the code is wrong too: a push or pop is missing on one of \
          them.",
    example: "\
func:
        test    %rdi, %rdi
        je      1f
        push    %rbx
1:      nop                     # CFA is rsp+16 one way, rsp+8 the other
        ret
",
    fix: "Make the stack the same where paths join. Look for a push or pop that one of the paths \
          skips, and for a call that is not known not to return, behind which the compiler left \
          no cleanup.\n\n\
          Code that does this on purpose needs an unwind hint at the instruction: \
          UNWIND_HINT_FUNC, _REGS or _SAVE and _RESTORE.",
};

/// What is known of the register that holds the CFA of a realigned frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DrapState {
    /// Whether the frame is realigned.
    pub active: bool,
    /// Number of the register; -1 if there is none.
    pub reg: i32,
    /// Where it is saved, relative to the frame pointer; -1 if it isn't.
    pub offset: i32,
}

fn rule(rule: Rule) -> String {
    format!("{}{:+}", rule.base.number(), rule.offset)
}

pub(super) fn cfa(_: &Names<'_>, known: &Rule, found: &Rule) -> String {
    format!(
        "stack state mismatch: cfa1={} cfa2={}",
        rule(*known),
        rule(*found)
    )
}

pub(super) fn register(_: &Names<'_>, reg: &usize, known: &Rule, found: &Rule) -> String {
    let (known, found) = (rule(*known), rule(*found));
    format!("stack state mismatch: reg1[{reg}]={known} reg2[{reg}]={found}")
}

pub(super) fn kind(_: &Names<'_>, known: &u8, found: &u8) -> String {
    format!("stack state mismatch: type1={known} type2={found}")
}

pub(super) fn drap(_: &Names<'_>, known: &DrapState, found: &DrapState) -> String {
    let state = |s: &DrapState| format!("{}({},{})", u8::from(s.active), s.reg, s.offset);
    format!(
        "stack state mismatch: drap1={} drap2={}",
        state(known),
        state(found)
    )
}
