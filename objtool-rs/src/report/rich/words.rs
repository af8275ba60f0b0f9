//! The state of the stack in words, registers by name.
//!
//! `CFA = sp+24, fp at CFA-16`, with the registers' real names, in place of
//! `cfa1=4+24 reg1[5]=-2-16`. What the words are about is the check's ([`StackState`]).

use arch::insn::Reg;
use arch::object::{Architecture, Base, Rule};

use crate::check::stack::state::{Depth, StackState};
use crate::model::HintKind;

/// The state at an instruction, as it is shown beside it.
pub fn state<A: Architecture>(arch: &A, state: &StackState) -> String {
    if state.force_undefined {
        return "not checked".to_owned();
    }
    let mut words = vec![cfa(arch, state)];
    words.extend(depth(arch, state));
    words.extend(kept(arch, state));
    words.extend(kind(state.kind).map(str::to_owned));
    words.extend(
        registers::<A>()
            .filter(|&reg| is_told::<A>(state, reg))
            .map(|reg| saved(arch, state, reg)),
    );
    words.join(", ")
}

/// That the stack pointer is not where it was counted to be.
fn depth<A: Architecture>(arch: &A, state: &StackState) -> Option<String> {
    let pointer = arch.register_name(A::STACK_POINTER);
    match state.depth {
        Depth::Known => None,
        Depth::AtLeast => Some(format!("{pointer} or below")),
        Depth::Unknown => Some(format!("{pointer} unknown")),
    }
}

/// That a register holds what the stack pointer was.
fn kept<A: Architecture>(arch: &A, state: &StackState) -> Option<String> {
    let kept = state.kept?;
    let at = plus("CFA", -kept.stack_size);
    let depth = match kept.depth {
        Depth::Known => "",
        Depth::AtLeast | Depth::Unknown => " or below",
    };
    Some(format!("{} = {at}{depth}", arch.register_name(kept.reg)))
}

/// What differs between two states, as each of them has it: at most one of the things that are
/// compared, the one that is reported.
pub fn difference<A: Architecture>(
    arch: &A,
    this: &StackState,
    other: &StackState,
) -> (String, String) {
    let both = |words: &dyn Fn(&StackState) -> String| (words(this), words(other));
    if this.cfa != other.cfa {
        return both(&|s| cfa(arch, s));
    }
    if let Some(reg) = registers::<A>().find(|&reg| this.saved(reg) != other.saved(reg)) {
        return both(&|s| saved(arch, s, reg));
    }
    if this.kind != other.kind {
        return both(&|s| kind(s.kind).unwrap_or("a function's frame").to_owned());
    }
    if this.drap == other.drap && this.stack_size != other.stack_size {
        return both(&|s| format!("{} bytes on the stack", s.stack_size));
    }
    if this.drap == other.drap && this.values != other.values {
        return both(&|s| known_values(arch, s));
    }
    both(&|s| {
        let base = match s.drap_reg {
            Some(reg) if s.drap => format!("realigned by {}", arch.register_name(reg)),
            _ => return "not realigned".to_owned(),
        };
        match s.drap_offset {
            -1 => base,
            offset => format!("{base}, saved at {}", sum(arch, A::FRAME_POINTER, offset)),
        }
    })
}

/// In what a state is not that of a function's entry.
pub fn unlike_entry<A: Architecture>(arch: &A, state: &StackState) -> Vec<String> {
    let entry = StackState::at_entry::<A>();
    let mut words = Vec::new();
    let deeper = state.stack_size - entry.stack_size;
    if state.drap {
        words.push("the stack is still realigned".to_owned());
    } else if state.cfa.base != entry.cfa.base {
        words.push(format!("the frame is still there: {}", cfa(arch, state)));
    } else if deeper > 0 {
        words.push(format!("the stack is {deeper} bytes deeper than at entry"));
    } else if deeper < 0 {
        words.push(format!(
            "the stack is {} bytes above that at entry",
            -deeper
        ));
    }
    if let Some(depth) = depth(arch, state) {
        words.push(format!(
            "{depth}: it was set to what the function does not say"
        ));
    }
    for reg in registers::<A>().filter(|&reg| state.saved(reg) != entry.saved(reg)) {
        let name = arch.register_name(reg);
        words.push(if reg == A::RETURN_ADDRESS {
            format!("the return address is {}", place(arch, state.saved(reg)))
        } else {
            format!(
                "{name} is saved {} and not restored",
                place(arch, state.saved(reg))
            )
        });
    }
    words
}

/// What a state lacks of a frame that leads to the caller's.
pub fn no_frame<A: Architecture>(arch: &A, state: &StackState) -> String {
    let fp = arch.register_name(A::FRAME_POINTER);
    let saved = state.saved(A::FRAME_POINTER);
    if saved.base == Base::Undefined {
        format!("{fp} is not saved")
    } else if state.cfa.base != Base::Reg(A::FRAME_POINTER) {
        format!(
            "{fp} is saved {} and does not point there",
            place(arch, saved)
        )
    } else {
        format!(
            "{fp} does not point at its own saved value, {}",
            place(arch, saved)
        )
    }
}

fn registers<A: Architecture>() -> impl Iterator<Item = Reg> {
    (0..A::REGISTERS as u8).map(Reg)
}

/// What is known of what registers hold.
fn known_values<A: Architecture>(arch: &A, state: &StackState) -> String {
    let known = registers::<A>().filter(|&reg| state.value(reg).base != Base::Undefined);
    let words: Vec<String> = known
        .map(|reg| {
            format!(
                "{} = {}",
                arch.register_name(reg),
                value(arch, state.value(reg))
            )
        })
        .collect();
    if words.is_empty() {
        "nothing known of registers".to_owned()
    } else {
        words.join(", ")
    }
}

/// Whether something is to be said about a register: not of the return address where every
/// function has it.
fn is_told<A: Architecture>(state: &StackState, reg: Reg) -> bool {
    let usual = reg == A::RETURN_ADDRESS && state.saved(reg) == Rule::new(Base::Cfa, -A::WORD);
    state.saved(reg).base != Base::Undefined && !usual
}

fn cfa<A: Architecture>(arch: &A, state: &StackState) -> String {
    match state.cfa.base {
        Base::Undefined => "CFA unknown".to_owned(),
        _ => format!("CFA = {}", value(arch, state.cfa)),
    }
}

fn saved<A: Architecture>(arch: &A, state: &StackState, reg: Reg) -> String {
    let name = arch.register_name(reg);
    match state.saved(reg).base {
        Base::Undefined => format!("{name} not saved"),
        _ => format!("{name} {}", place(arch, state.saved(reg))),
    }
}

/// Where something is saved.
fn place<A: Architecture>(arch: &A, rule: Rule) -> String {
    format!("at {}", value(arch, rule))
}

/// An address by its rule; `*` is what memory holds.
fn value<A: Architecture>(arch: &A, Rule { base, offset }: Rule) -> String {
    match base {
        Base::Undefined => "an unknown place".to_owned(),
        Base::Cfa => plus("CFA", offset),
        Base::StackPointerIndirect => plus(
            &format!("*{}", arch.register_name(A::STACK_POINTER)),
            offset,
        ),
        Base::FramePointerIndirect => format!("*({})", sum(arch, A::FRAME_POINTER, offset)),
        Base::Reg(reg) => sum(arch, reg, offset),
    }
}

fn sum<A: Architecture>(arch: &A, reg: Reg, offset: i32) -> String {
    plus(arch.register_name(reg), offset)
}

fn plus(base: &str, offset: i32) -> String {
    match offset {
        0 => base.to_owned(),
        _ => format!("{base}{offset:+}"),
    }
}

/// What kind of frame it is, unless it is a function's.
fn kind(kind: HintKind) -> Option<&'static str> {
    match kind {
        HintKind::END_OF_STACK => Some("the stack ends here"),
        HintKind::REGS => Some("all registers at the CFA"),
        HintKind::REGS_PARTIAL => Some("an interrupt's frame at the CFA"),
        _ => None,
    }
}
