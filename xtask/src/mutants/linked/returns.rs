//! Which functions of a program are known to return: there is a path through them to a return, or
//! into another such function by a jump, that only passes calls of such functions.
//!
//! Where that cannot be shown, a function counts as one that does not. Indirect calls are taken to
//! return, as every caller must.

use std::collections::{BTreeSet, HashSet};

use iced_x86::FlowControl;
use rayon::prelude::*;

use super::program::{Function, Place, Program};

/// What a look at one function shows.
enum Look {
    Returns,
    /// It would, if one of these did.
    If(BTreeSet<usize>),
}

/// By function, whether it is known to return.
pub fn returns(program: &Program) -> Vec<bool> {
    let mut known = vec![false; program.functions.len()];
    let mut open: Vec<usize> = (0..known.len()).collect();
    loop {
        let looks: Vec<(usize, Look)> = open
            .par_iter()
            .map(|&number| (number, look(program, &program.functions[number], &known)))
            .collect();
        let mut waiting = Vec::new();
        let mut grown = false;
        for (number, look) in looks {
            match look {
                Look::Returns => {
                    known[number] = true;
                    grown = true;
                }
                Look::If(others) => waiting.push((number, others)),
            }
        }
        if !grown {
            return known;
        }
        open = waiting
            .into_iter()
            .filter(|(_, others)| others.iter().any(|&other| known[other]))
            .map(|(number, _)| number)
            .collect();
    }
}

fn look(program: &Program, function: &Function, known: &[bool]) -> Look {
    let mut seen = HashSet::new();
    let mut wanted = BTreeSet::new();
    let mut pending = vec![function.address];
    while let Some(address) = pending.pop() {
        if !function.has(address) || !seen.insert(address) {
            continue;
        }
        let Some(insn) = program.decode(address, None) else {
            continue;
        };
        let target = insn.near_branch_target();
        let goes_on = match insn.flow_control() {
            FlowControl::Return => return Look::Returns,
            FlowControl::Next | FlowControl::IndirectCall => true,
            FlowControl::Call => match program.place(target) {
                Place::TraceEntry | Place::Indirect => true,
                Place::Function(callee) => {
                    if !known[callee] {
                        wanted.insert(callee);
                    }
                    known[callee]
                }
                Place::Inside(_) | Place::Return | Place::Unknown => false,
            },
            FlowControl::ConditionalBranch | FlowControl::UnconditionalBranch => {
                match program.place(target) {
                    _ if function.has(target) => pending.push(target),
                    Place::Return => return Look::Returns,
                    Place::Function(other) if known[other] => return Look::Returns,
                    Place::Function(other) => {
                        wanted.insert(other);
                    }
                    _ => {}
                }
                insn.flow_control() == FlowControl::ConditionalBranch
            }
            _ => false,
        };
        if goes_on {
            pending.push(insn.next_ip());
        }
    }
    Look::If(wanted)
}
