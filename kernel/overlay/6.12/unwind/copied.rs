//! Walks over a copy of a task's stack, for tests: the copy can be damaged, and each read is looked
//! at. The walk believes that it is on the task's own stack.

// SPDX-License-Identifier: GPL-2.0-only

use core::cell::Cell;
use core::ffi::{c_uint, c_ulong, c_void};
use core::mem::MaybeUninit;

use arch::frame::Origin;
use arch::insn::Reg;
use unwind::{Env, Recovered, Recovery, Slot, Stack, Stacks, Start, TaskKind, Text, TextKind, Vouch};

use super::verdict::{self, Judged, Visit};
use super::{rust_unwind_look_at, Stepper, Subject, Task};

/// The copy.
///
/// # Invariants
///
/// `words` points to `count` words.
struct Copied<'a> {
    subject: &'a Subject,
    begin: u64,
    words: *const u64,
    count: usize,
    reads: Cell<u64>,
    outside: Cell<u64>,
}

impl Stacks for Copied<'_> {
    fn stack_at(&self, address: u64) -> Option<Stack> {
        self.subject.stack_at(address)
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
        self.subject.kind(address)
    }

    fn origin(&self, address: u64) -> Option<Origin> {
        self.subject.origin(address)
    }

    fn is_fork_return(&self, address: u64) -> bool {
        self.subject.is_fork_return(address)
    }

    fn vouch(&self, address: u64) -> Vouch {
        self.subject.vouch(address)
    }

    fn template(&self, address: u64) -> Option<u64> {
        self.subject.template(address)
    }

    fn bytes_before(&self, address: u64) -> Option<[u8; 8]> {
        self.subject.bytes_before(address)
    }

    fn before(&self, address: u64) -> Result<[u8; 8], TextKind> {
        self.subject.before(address)
    }

    fn recover(&self, cursor: &mut Recovery, address: u64, slot: u64) -> Recovered {
        self.subject.recover(cursor, address, slot)
    }

    fn recover_interrupted(&self, cursor: &mut Recovery, address: u64, slot: u64) -> Recovered {
        self.subject.recover_interrupted(cursor, address, slot)
    }
}

impl Env for Copied<'_> {
    type Arch = <Subject as Env>::Arch;

    fn task_kind(&self) -> TaskKind {
        self.subject.task_kind()
    }

    fn top(&self) -> u64 {
        self.subject.top()
    }

    fn is_running(&self) -> bool {
        self.subject.is_running()
    }

    fn start_register(&self, register: Reg) -> Option<u64> {
        self.subject.start_register(register)
    }
}

#[cfg(CONFIG_UNWINDER_ORC)]
impl unwind::OrcEnv for Copied<'_> {
    type Format = <Subject as unwind::OrcEnv>::Format;

    fn orc(&self, address: u64) -> unwind::Lookup<<Self::Format as arch::orc::Decode>::Entry> {
        self.subject.orc(address)
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
    // C writes what is not 0.
    let mut subject = MaybeUninit::zeroed();
    // SAFETY: by this function's own condition; zeros are no module and no task.
    let subject: &Subject = unsafe {
        rust_unwind_look_at(task, core::ptr::null(), subject.as_mut_ptr());
        subject.assume_init_ref()
    };
    // INVARIANT: by this function's own condition.
    let env = Copied {
        subject,
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
    subject.modules.let_go();
    // SAFETY: by this function's own condition.
    unsafe { judged.write(Judged::new(&outcome)) };
}
