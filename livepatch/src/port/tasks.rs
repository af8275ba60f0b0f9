//! Tasks: their side of the transition, their stacks, and what gets them to a safe point.

use super::Handles;
use crate::universe::{Code, Epoch, Side, Universe};

/// Which wait for every CPU is meant. Each waits until every CPU has gone through the scheduler,
/// so that whatever ran without preemption when it began has ended, and what runs later sees all
/// that was stored before (`schedule_on_each_cpu` in the kernel; `synchronize_rcu` would leave out
/// code that runs where RCU does not watch).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Synchronize {
    /// Before a transition, between taking back requests that were made without one and giving the
    /// target: a task that has taken its request must have stored that it has no side, and not one of
    /// a transition in which nobody may switch yet.
    Asked,
    /// Between taking back all requests to switch and giving the new target: a task that has taken
    /// its request must have stored its side before.
    Reverse,
    /// After the end of patching, between taking the patch's functions out of the transition and taking
    /// the tasks' sides and the functions that do nothing away: no handler may still want to know a side,
    /// or look at such a function.
    Patched,
    /// After the end of unpatching, between taking the patch's functions off their sites' stacks and out
    /// of the transition: a handler that still holds one must see that it is in transition.
    Unpatched,
}

impl Synchronize {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Asked, Self::Reverse, Self::Patched, Self::Unpatched];
}

/// Tasks.
pub trait Tasks: Handles {
    /// The task's side, for itself and under the lock of the task list.
    fn universe(&self, task: Self::Task) -> Universe;

    /// Whether that is this one; there are ports that need not make a universe of it for that.
    #[inline]
    fn is_on(&self, task: Self::Task, side: Side) -> bool {
        self.universe(task) == Universe::On(side)
    }

    /// Sets that.
    fn set_universe(&self, task: Self::Task, universe: Universe);

    /// Whether the task is asked to switch (`TIF_PATCH_PENDING`).
    fn is_pending(&self, task: Self::Task) -> bool;

    /// Asks the task to switch.
    fn set_pending(&self, task: Self::Task);

    /// Takes that back.
    fn clear_pending(&self, task: Self::Task);

    /// Takes that back, and says whether it was there; at most one of all who do this is told so.
    ///
    /// What follows is ordered after it when it was there: it is the partner of
    /// [`crate::Barrier::Start`].
    fn take_pending(&self, task: Self::Task) -> bool;

    /// Runs `f` while the CPU it runs on does not go through the scheduler, where it can be traced
    /// without harm.
    fn without_preemption<R>(&self, f: impl FnOnce() -> R) -> R;

    /// Waits for every CPU.
    fn synchronize(&self, why: Synchronize);

    /// Waits until every task that is in none of the lists below has died, and every idle task has gone
    /// round its loop. Without the lock: such a task may wait for one that waits for the lock.
    ///
    /// RCU's grace period for tasks is not enough in the kernel: a task that exits and sleeps is not
    /// waited for there.
    fn wait_for_unlisted(&self);

    /// Goes over all tasks but the idle ones while none comes or goes (`tasklist_lock`).
    fn each_task(&self, f: impl FnMut(Self::Task));

    /// Goes over all tasks but the idle ones, some of them at a time, so that nothing is held up for
    /// long. While tasks come, go or get other numbers some may be left out or come up twice, and not
    /// only they.
    /// `f` does not sleep.
    fn each_task_in_turns(&self, f: impl FnMut(Self::Task));

    /// Goes over the idle tasks of all CPUs that may ever run, and says which CPU runs now.
    fn each_idle(&self, f: impl FnMut(Self::Task, bool));

    /// Runs `f` while the task runs on no CPU and cannot begin to, or is the one that asks.
    /// `None` when it runs on another.
    fn while_off_cpu<R>(&self, task: Self::Task, f: impl FnOnce() -> R) -> Option<R>;

    /// The task's return addresses and the address that it is at, innermost first, or why they
    /// cannot be trusted. Called while the task cannot run, or for the caller itself.
    fn with_stack<R>(
        &self,
        task: Self::Task,
        f: impl FnOnce(Result<&[usize], Self::Doubt>) -> R,
    ) -> R;

    /// Whether the task's stack is to be trusted and executes nothing of `code`; the same as a look at
    /// what [`Tasks::with_stack`] gives, which a port may have cheaper. Called as that is.
    fn is_clear_of(&self, task: Self::Task, code: Code) -> bool {
        self.with_stack(task, |stack| {
            stack.is_ok_and(|stack| !stack.iter().any(|&address| code.executes(address)))
        })
    }

    /// Whether stacks can be trusted on this architecture at all.
    fn has_reliable_stacks(&self) -> bool;

    /// Since when the task may be in a function that it should have left.
    fn forced_since(&self, task: Self::Task) -> Option<Epoch>;

    /// Sets that.
    fn set_forced_since(&self, task: Self::Task, since: Option<Epoch>);

    /// Gets the task to a safe point: lets a user task go through the kernel's exit, wakes a
    /// kernel thread that sleeps.
    fn nudge(&self, task: Self::Task);

    /// Gets the idle task of a running CPU out of its sleep.
    fn nudge_idle(&self, task: Self::Task);

    /// Whether `cond_resched` is to call [`crate::Core::switch_current`].
    fn watch_reschedules(&self, on: bool);
}
