//! - `notrack prefix found at {}`
//! - `ENQCMD instruction at {}`
//!
//! An instruction has an encoding that the kernel must not contain.

use super::{Explanation, Group};
use crate::report::{Names, Place};

pub(super) const EXPLANATION: Explanation = Explanation {
    code: "forbidden-encoding",
    group: Group::Symbols,
    title: "an instruction has an encoding that the kernel must not contain",
    words: &["notrack prefix found at {}", "ENQCMD instruction at {}"],
    what: "`notrack` is a prefix that exempts an indirect call or jump from indirect branch \
           tracking. `enqcmd` sends a command to a device in the name of the user process whose \
           PASID is loaded.",
    why: "With notrack, a corrupted pointer may lead anywhere in spite of IBT. With enqcmd, the \
          kernel would hand a device the address space of a user process that happens to be \
          running.",
    example: "\
func:
        notrack jmp *%rax
",
    fix: "Drop the prefix; for switches of C code, compile with -fno-jump-tables, as the kernel \
          does with CONFIG_X86_KERNEL_IBT. In place of enqcmd use enqcmds, which names the \
          PASID.",
};

/// The note's words are the architecture's, and so is whether its place has a `0x` in front.
pub(super) fn text(names: &Names<'_>, note: &str, place: &Place, hex_prefix: &bool) -> String {
    let section = names.section(place.section);
    if *hex_prefix {
        format!("{note} at {section}:{:#x}", place.offset)
    } else {
        format!("{note} at {section}:{:x}", place.offset)
    }
}
