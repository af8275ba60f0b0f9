//! What the walk leaves at each instruction: whether and how it came there, and with which state.
//!
//! Four bytes an instruction. Threads that walk different functions write to different
//! instructions, which [`walk`](super::walk) sees to; the cells are atomic so that no thread can
//! read half of what another one writes even if it did not. (On every machine that builds kernels,
//! such a read or write is as fast as any other.)

use std::ops::Range;
use std::sync::atomic::{AtomicU32, Ordering};

use super::state::StateId;
use crate::decode::InsnId;
use crate::parallel;

/// The state's number; 0 is none.
const STATE: u32 = (1 << 30) - 1;
/// Reached with user access closed, and with it open.
const REACHED: [u32; 2] = [1 << 30, 1 << 31];

/// What is left at all instructions.
#[derive(Debug)]
pub struct Trail {
    cells: Vec<AtomicU32>,
}

impl Trail {
    /// None of so many instructions was reached.
    pub fn new(len: usize) -> Self {
        // On all threads, because most of it is the first use of fresh memory.
        Self {
            cells: parallel::filled(len, |_| AtomicU32::default()),
        }
    }

    fn get(&self, insn: InsnId) -> u32 {
        self.cells[insn.index()].load(Ordering::Relaxed)
    }

    fn set(&self, insn: InsnId, cell: u32) {
        self.cells[insn.index()].store(cell, Ordering::Relaxed);
    }

    /// The state before an instruction that was reached, or that has a hint.
    pub fn state(&self, insn: InsnId) -> Option<StateId> {
        StateId::from_bits(self.get(insn) & STATE)
    }

    /// Whether an instruction was reached.
    pub fn is_reached(&self, insn: InsnId) -> bool {
        self.get(insn) & !STATE != 0
    }

    /// Whether an instruction was reached with user access open, or closed.
    pub(super) fn is_reached_with(&self, insn: InsnId, user_access: bool) -> bool {
        self.get(insn) & REACHED[usize::from(user_access)] != 0
    }

    /// An instruction is reached with a state.
    pub(super) fn reach(&self, insn: InsnId, state: StateId, user_access: bool) {
        let reached = self.get(insn) & !STATE;
        self.set(
            insn,
            reached | REACHED[usize::from(user_access)] | state.bits(),
        );
    }

    /// Says which state an instruction has, whether it is reached or not.
    pub fn set_state(&self, insn: InsnId, state: StateId) {
        self.set(insn, self.get(insn) & !STATE | state.bits());
    }

    /// Instructions were not reached after all.
    pub(super) fn forget(&self, insns: Range<u32>) {
        for id in insns {
            self.set(InsnId(id), 0);
        }
    }

    /// Gives states other numbers.
    pub(super) fn renumber(&self, insns: Range<u32>, numbers: &[StateId]) {
        for insn in insns.map(InsnId) {
            if let Some(state) = self.state(insn) {
                self.set_state(insn, numbers[state.number()]);
            }
        }
    }
}
