//! The state of the stack in words: each of its parts, and what of it is left unsaid.

use arch::insn::Reg;
use arch::object::{Base, Rule};
use arch_x86_64::{reg, X86_64};
use objtool_rs::check::stack::state::StackState;
use objtool_rs::model::HintKind;
use objtool_rs::report::rich::words::{difference, no_frame, state, unlike_entry};

fn entry() -> StackState {
    StackState::at_entry::<X86_64>()
}

/// A function's entry with some changes.
fn changed(change: impl FnOnce(&mut StackState)) -> StackState {
    let mut state = entry();
    change(&mut state);
    state
}

fn save(state: &mut StackState, reg: Reg, offset: i32) {
    state.set_saved(reg, Rule::new(Base::Cfa, offset));
}

#[test]
fn states_name_their_registers() {
    let cases = [
        (entry(), "CFA = rsp+8"),
        (
            changed(|s| {
                s.cfa = Rule::new(Base::Reg(reg::RBP), 16);
                save(s, reg::RBX, -24);
                save(s, reg::RBP, -16);
            }),
            "CFA = rbp+16, rbx at CFA-24, rbp at CFA-16",
        ),
        (
            changed(|s| s.cfa = Rule::new(Base::Reg(reg::R10), 0)),
            "CFA = r10",
        ),
        (
            changed(|s| s.cfa = Rule::new(Base::StackPointerIndirect, 8)),
            "CFA = *rsp+8",
        ),
        (
            changed(|s| s.cfa = Rule::new(Base::FramePointerIndirect, -8)),
            "CFA = *(rbp-8)",
        ),
        // The return address is said only where it is not where a call puts it.
        (
            changed(|s| save(s, reg::RETURN_ADDRESS, -16)),
            "CFA = rsp+8, ra at CFA-16",
        ),
        (
            changed(|s| s.kind = HintKind::REGS),
            "CFA = rsp+8, all registers at the CFA",
        ),
        (
            changed(|s| s.kind = HintKind::REGS_PARTIAL),
            "CFA = rsp+8, an interrupt's frame at the CFA",
        ),
        (StackState::UNKNOWN, "CFA unknown"),
        (StackState::FORCED, "not checked"),
    ];
    for (of, words) in cases {
        assert_eq!(state(&X86_64, &of), words);
    }
}

#[test]
fn a_difference_is_what_the_finding_is_about() {
    let pushed = |reg| {
        changed(|s| {
            s.cfa.offset = 16;
            s.stack_size = 16;
            save(s, reg, -16);
        })
    };
    let drap = |offset| {
        changed(|s| {
            s.drap = true;
            s.drap_reg = Some(reg::R10);
            s.drap_offset = offset;
        })
    };
    let cases = [
        (entry(), pushed(reg::RBX), "CFA = rsp+8", "CFA = rsp+16"),
        (
            pushed(reg::RBX),
            pushed(reg::R12),
            "rbx at CFA-16",
            "rbx not saved",
        ),
        (
            entry(),
            changed(|s| s.kind = HintKind::REGS),
            "a function's frame",
            "all registers at the CFA",
        ),
        (drap(-1), entry(), "realigned by r10", "not realigned"),
        (
            drap(-8),
            drap(-1),
            "realigned by r10, saved at rbp-8",
            "realigned by r10",
        ),
        (
            entry(),
            changed(|s| s.stack_size = 24),
            "8 bytes on the stack",
            "24 bytes on the stack",
        ),
        (
            entry(),
            changed(|s| s.set_value(Reg(0), Rule::new(Base::Cfa, -8))),
            "nothing known of registers",
            "rax = CFA-8",
        ),
    ];
    for (this, other, words, others) in cases {
        let expected = (words.to_owned(), others.to_owned());
        assert_eq!(difference(&X86_64, &this, &other), expected);
        let swapped = difference(&X86_64, &other, &this);
        assert_eq!((swapped.1, swapped.0), expected);
    }
}

#[test]
fn a_return_says_all_that_is_left() {
    assert!(unlike_entry(&X86_64, &entry()).is_empty());
    let left = changed(|s| {
        s.cfa.offset = 24;
        s.stack_size = 24;
        save(s, reg::R12, -24);
    });
    assert_eq!(
        unlike_entry(&X86_64, &left),
        [
            "the stack is 16 bytes deeper than at entry",
            "r12 is saved at CFA-24 and not restored"
        ]
    );
    let above = changed(|s| {
        s.cfa.offset = 0;
        s.stack_size = 0;
        save(s, reg::RETURN_ADDRESS, -16);
    });
    assert_eq!(
        unlike_entry(&X86_64, &above),
        [
            "the stack is 8 bytes above that at entry",
            "the return address is at CFA-16"
        ]
    );
    let framed = changed(|s| s.cfa = Rule::new(Base::Reg(reg::RBP), 16));
    assert_eq!(
        unlike_entry(&X86_64, &framed),
        ["the frame is still there: CFA = rbp+16"]
    );
    let realigned = changed(|s| s.drap = true);
    assert_eq!(
        unlike_entry(&X86_64, &realigned),
        ["the stack is still realigned"]
    );
}

#[test]
fn a_call_says_what_its_frame_lacks() {
    assert_eq!(no_frame(&X86_64, &entry()), "rbp is not saved");
    let saved = changed(|s| save(s, reg::RBP, -16));
    assert_eq!(
        no_frame(&X86_64, &saved),
        "rbp is saved at CFA-16 and does not point there"
    );
    let elsewhere = changed(|s| {
        s.cfa = Rule::new(Base::Reg(reg::RBP), 24);
        save(s, reg::RBP, -16);
    });
    assert_eq!(
        no_frame(&X86_64, &elsewhere),
        "rbp does not point at its own saved value, at CFA-16"
    );
}
