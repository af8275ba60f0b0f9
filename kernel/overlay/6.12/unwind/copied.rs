//! Walks over a copy of a task's stack, for tests: the copy can be damaged, and each read is looked
//! at. The walk believes that it is on the task's own stack.

// SPDX-License-Identifier: GPL-2.0-only

use core::cell::Cell;
use core::ffi::{c_uint, c_ulong, c_void};

use arch::frame::Origin;
use arch::insn::Reg;
use unwind::{Env, Recovered, Recovery, Slot, Stack, Stacks, Start, TaskKind, Text, TextKind, Vouch};

use super::verdict::{self, Judged, Visit};
use super::{judge, Kernel, Stepper, Task};

/// The copy.
///
/// # Invariants
///
/// `words` points to `count` words.
struct Copied<'a> {
    kernel: &'a Kernel<'a>,
    begin: u64,
    words: *const u64,
    count: usize,
    reads: Cell<u64>,
    outside: Cell<u64>,
}

impl Stacks for Copied<'_> {
    fn stack_at(&self, address: u64) -> Option<Stack> {
        self.kernel.stack_at(address)
    }

    fn read(&self, slot: Slot) -> u64 {
        self.reads.set(self.reads.get().wrapping_add(1));
        let index = (slot.address().wrapping_sub(self.begin) / 8) as usize;
        if index < self.count {
            // SAFETY: by the type's invariant.
            unsafe { self.words.add(index).read() }
        } else {
            self.outside.set(self.outside.get().wrapping_add(1));
            0
        }
    }
}

impl Text for Copied<'_> {
    fn kind(&self, address: u64) -> TextKind {
        self.kernel.kind(address)
    }

    fn origin(&self, address: u64) -> Option<Origin> {
        self.kernel.origin(address)
    }

    fn is_fork_return(&self, address: u64) -> bool {
        self.kernel.is_fork_return(address)
    }

    fn vouch(&self, address: u64) -> Vouch {
        self.kernel.vouch(address)
    }

    fn template(&self, address: u64) -> Option<u64> {
        self.kernel.template(address)
    }

    fn bytes_before(&self, address: u64) -> Option<[u8; 8]> {
        self.kernel.bytes_before(address)
    }

    fn recover(&self, cursor: &mut Recovery, address: u64, slot: u64) -> Recovered {
        self.kernel.recover(cursor, address, slot)
    }

    fn recover_interrupted(&self, cursor: &mut Recovery, address: u64, slot: u64) -> Recovered {
        self.kernel.recover_interrupted(cursor, address, slot)
    }
}

impl Env for Copied<'_> {
    type Arch = <Kernel<'static> as Env>::Arch;

    fn task_kind(&self) -> TaskKind {
        self.kernel.task_kind()
    }

    fn top(&self) -> u64 {
        self.kernel.top()
    }

    fn is_running(&self) -> bool {
        self.kernel.is_running()
    }

    fn start_register(&self, register: Reg) -> Option<u64> {
        self.kernel.start_register(register)
    }
}

#[cfg(CONFIG_UNWINDER_ORC)]
impl unwind::OrcEnv for Copied<'_> {
    type Format = <Kernel<'static> as unwind::OrcEnv>::Format;

    fn orc(&self, address: u64) -> unwind::Lookup<<Self::Format as arch::orc::Decode>::Entry> {
        self.kernel.orc(address)
    }
}

/// `struct stack_copy` of the tests' `test.h`.
#[repr(C)]
struct StackCopy {
    begin: c_ulong,
    words: *const u64,
    count: c_uint,
    /// The saved stack pointer.
    sp: c_ulong,
    reads: c_ulong,
    outside: c_ulong,
}

/// `stack_verdict_copied` of the tests' `test.h`: the verdict on a copy of a task's stack.
///
/// # Safety
///
/// As `stack_verdict`; the copy's `words` are `count` words.
#[no_mangle]
unsafe extern "C" fn stack_verdict_copied(
    task: *mut Task,
    copy: *mut StackCopy,
    visit: Option<Visit>,
    cookie: *mut c_void,
    judged: *mut Judged,
) {
    // SAFETY: by this function's own condition.
    let copy = unsafe { &mut *copy };
    let (sp, words, count) = (copy.sp, copy.words, copy.count as usize);
    let walk = |kernel: &Kernel<'_>, _: Start, _: u64| {
        // INVARIANT: by this function's own condition.
        let env = Copied {
            kernel,
            begin: copy.begin,
            words,
            count,
            reads: Cell::new(0),
            outside: Cell::new(0),
        };
        let outcome = unwind::reliable::<Stepper, _>(&env, Start::Inactive { sp }, sp, |frame| {
            // SAFETY: by this function's own condition.
            unsafe { verdict::show(visit, cookie, frame) }
        });
        copy.reads = env.reads.get();
        copy.outside = env.outside.get();
        outcome
    };
    // SAFETY: by this function's own condition.
    let outcome = unsafe { judge(task, walk) };
    // SAFETY: by this function's own condition.
    unsafe { judged.write(Judged::new(&outcome)) };
}
