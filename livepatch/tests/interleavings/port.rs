//! A kernel of one or two running tasks, made of loom's atomics where the kernel has memory that is
//! read without the lock.
//!
//! What makes a barrier of the kernel here: a write barrier is a release fence, a read barrier an
//! acquire fence; all loads and stores between them are relaxed. A CPU that must not go through the
//! scheduler holds its own mutex, and waiting for all CPUs takes each of them once.

use std::sync::atomic::{AtomicBool as Plain, AtomicUsize as PlainWord};
use std::sync::Mutex as PlainMutex;

use livepatch::barrier::Kind;
use livepatch::port::{Handles, Patches, Port, Sites, State, Synchronize, Tasks};
use livepatch::{Barrier, Code, Core, Epoch, Event, Side, Universe};
use loom::cell::UnsafeCell;
use loom::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use loom::sync::atomic::{fence, AtomicBool, AtomicI32, AtomicUsize};
use loom::sync::{Arc, Mutex, MutexGuard};

/// A mistake that is made on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seed {
    None,
    Without(Barrier),
    WithoutWait(Synchronize),
    /// A task that switches by itself may be preempted while it does.
    SwitchPreempted,
    /// So may a handler.
    HandlerPreempted,
    /// The request is looked at, and taken when the side is stored.
    RequestNotTaken,
    /// The request is taken, but nothing is ordered after that.
    RequestUnordered,
    /// Who was asked without a transition is still asked when one begins.
    AskedStays,
    /// Who is forced is not remembered.
    ForceForgets,
    /// As it was proposed in 2016: a task that switches may be preempted, the request is not taken
    /// at once, and nobody waits for anybody in the end.
    Year2016,
}

/// Functions: 0 calls 1. Both are in every patch.
pub const FUNCTIONS: usize = 2;
/// Patches.
pub const PATCHES: usize = 2;

struct Task {
    universe: AtomicI32,
    is_pending: AtomicBool,
    /// Held while its CPU must not go through the scheduler.
    cpu: Mutex<()>,
    /// What it executes; held while it is on a CPU.
    stack: Mutex<Vec<usize>>,
    /// Whoever takes the request writes it, so that nobody reads it at the same time.
    forced_since: PlainWord,
}

/// The replacement of a function. Its number is also its handle; 0 is none.
struct Func {
    is_in_transition: AtomicBool,
    below: AtomicUsize,
    is_stacked: Plain,
    /// Read with every access of the handler's, written when the module goes.
    body: UnsafeCell<()>,
}

struct Site {
    top: AtomicUsize,
    is_attached: AtomicBool,
}

pub struct World {
    pub seed: Seed,
    has_stacks: bool,
    lock: Mutex<()>,
    core: Core<View>,
    target: AtomicI32,
    tasks: Vec<Task>,
    funcs: Vec<Func>,
    sites: Vec<Site>,
    // What only the core looks at, under its lock, loom need not know of.
    is_enabled: [Plain; PATCHES],
    is_patched: [Plain; PATCHES],
    retired_at: [PlainWord; PATCHES],
    listed: PlainMutex<Vec<usize>>,
    retired: PlainMutex<Vec<usize>>,
    frees: PlainMutex<Vec<usize>>,
    /// The stack of the task that is held off its CPU.
    looked_at: PlainMutex<Vec<usize>>,
}

// SAFETY: the core is only used under `lock`, but for its functions that use no part of it.
unsafe impl Sync for World {}
// SAFETY: as above.
unsafe impl Send for World {}

/// The world as one thread sees it.
#[derive(Clone)]
pub struct View {
    pub world: Arc<World>,
    /// The task that it is, if it is one.
    me: Option<usize>,
}

/// What a call gets: the original, or a patch's.
pub type Variant = Option<usize>;

fn func_of(patch: usize, function: usize) -> usize {
    patch * FUNCTIONS + function + 1
}

fn patch_of(func: usize) -> usize {
    (func - 1) / FUNCTIONS
}

fn function_of(func: usize) -> usize {
    (func - 1) % FUNCTIONS
}

fn one(number: usize) -> Option<usize> {
    (number != 0).then_some(number)
}

impl View {
    /// A world in which the first so many patches are enabled.
    pub fn new(enabled: usize, tasks: usize, has_stacks: bool, seed: Seed) -> Self {
        let idle = Universe::Undefined.number();
        let world = World {
            seed,
            has_stacks,
            lock: Mutex::new(()),
            core: Core::new(),
            target: AtomicI32::new(idle),
            tasks: (0..tasks)
                .map(|_| Task {
                    universe: AtomicI32::new(idle),
                    is_pending: AtomicBool::new(false),
                    cpu: Mutex::new(()),
                    stack: Mutex::new(Vec::new()),
                    forced_since: PlainWord::new(0),
                })
                .collect(),
            funcs: (0..PATCHES * FUNCTIONS)
                .map(|_| Func {
                    is_in_transition: AtomicBool::new(false),
                    below: AtomicUsize::new(0),
                    is_stacked: Plain::new(false),
                    body: UnsafeCell::new(()),
                })
                .collect(),
            sites: (0..FUNCTIONS)
                .map(|_| Site {
                    top: AtomicUsize::new(0),
                    is_attached: AtomicBool::new(false),
                })
                .collect(),
            is_enabled: Default::default(),
            is_patched: Default::default(),
            retired_at: Default::default(),
            listed: PlainMutex::default(),
            retired: PlainMutex::default(),
            frees: PlainMutex::default(),
            looked_at: PlainMutex::default(),
        };
        // Put there by hand: a transition here would only be more to go through.
        for patch in 0..enabled {
            for function in 0..FUNCTIONS {
                let (func, site) = (func_of(patch, function), &world.sites[function]);
                let below = site.top.load(Relaxed);
                world.funcs[func - 1].below.store(below, Relaxed);
                world.funcs[func - 1].is_stacked.store(true, Relaxed);
                site.top.store(func, Relaxed);
                site.is_attached.store(true, Relaxed);
            }
            world.is_enabled[patch].store(true, Relaxed);
            world.is_patched[patch].store(true, Relaxed);
            world.listed.lock().unwrap().push(patch);
        }
        Self {
            world: Arc::new(world),
            me: None,
        }
    }

    pub fn of_task(&self, me: usize) -> Self {
        Self {
            world: Arc::clone(&self.world),
            me: Some(me),
        }
    }

    pub fn enable(&self, patch: usize) {
        let enabled = self.world.core.enable(self, patch);
        assert!(enabled.is_ok());
    }

    pub fn write(&self, patch: usize, enabled: bool) {
        // It may have become what it is to be.
        let _ = self.world.core.set_enabled(self, patch, enabled);
    }

    /// Takes it as it comes: it may be over.
    pub fn force(&self, patch: usize) {
        let _ = self.world.core.force(self, patch);
    }

    /// Forces all tasks out of the one patch that is enabled, in which they need not be.
    pub fn force_away(&self, patch: usize) {
        self.write(patch, false);
        self.force(patch);
        self.tick();
    }

    pub fn is_forced(&self, task: usize) -> bool {
        self.forced_since(task).is_some()
    }

    /// Whether the task gets the functions of a patch, on which side of a transition it may be.
    pub fn is_patched(&self, patch: usize) -> bool {
        match self.universe(self.me.expect("tasks ask")) {
            Universe::On(side) => side == Side::Patched,
            Universe::Undefined => self.world.is_enabled[patch].load(Relaxed),
        }
    }

    pub fn tick(&self) {
        self.world.core.tick(self);
        let frees = std::mem::take(&mut *self.world.frees.lock().unwrap());
        for patch in frees {
            self.world.core.free(self, patch);
        }
    }

    pub fn is_idle(&self) -> bool {
        self.world.core.transition().is_none()
    }

    /// Calls a function and is in it.
    pub fn call(&self, function: usize) -> Variant {
        let me = self.me.expect("tasks call");
        let choose = || {
            let site = &self.world.sites[function];
            // Text that is changed is seen by all CPUs with what was stored before.
            if !site.is_attached.load(Acquire) {
                return None;
            }
            match livepatch::choose(self, function, me) {
                livepatch::Choice::Original => None,
                livepatch::Choice::Replacement(func) => {
                    self.look(func);
                    Some(patch_of(func))
                }
                livepatch::Choice::Empty => panic!("seen: a site without a replacement"),
                livepatch::Choice::Sideless(_) => panic!("seen: a task without a side"),
            }
        };
        if self.world.seed == Seed::HandlerPreempted {
            return choose();
        }
        let _cpu = self.world.tasks[me].cpu.lock().unwrap();
        choose()
    }

    /// Function 0 calls function 1; both must be of one patch. In between is time for `pause`.
    pub fn pass(&self, pause: impl FnOnce(Variant)) -> Variant {
        let outer = self.call(0);
        pause(outer);
        let inner = self.call(1);
        assert_eq!(outer, inner, "seen: variants are mixed");
        outer
    }

    /// Leaves the kernel.
    pub fn leave(&self) {
        Core::safe_point(self, self.me.expect("tasks leave"));
    }

    /// Is on a CPU until this is dropped.
    pub fn run(&self) -> MutexGuard<'_, Vec<usize>> {
        let me = self.me.expect("tasks run");
        let mut stack = self.world.tasks[me].stack.lock().unwrap();
        stack.clear();
        stack
    }

    fn look(&self, func: usize) {
        self.world.funcs[func - 1].body.with(|_| ());
    }

    fn func(&self, func: usize) -> &Func {
        &self.world.funcs[func - 1]
    }
}

/// Where a task stands that is in a variant of a function.
pub fn address(variant: Variant, function: usize) -> usize {
    variant.map_or(0x1000, |patch| 0x10000 * (patch + 1)) + function * 0x100 + 8
}

impl Handles for View {
    type Patch = usize;
    type Object = usize;
    type Func = usize;
    type Site = usize;
    type Task = usize;
    type Module = ();
    type Error = ();
    type Doubt = ();
}

impl Port for View {
    fn with_lock<R>(&self, f: impl FnOnce() -> R) -> R {
        let _lock = self.world.lock.lock().unwrap();
        f()
    }

    fn try_lock(&self, f: impl FnOnce()) {
        if let Ok(_lock) = self.world.lock.try_lock() {
            f();
        }
    }

    fn order(&self, barrier: Barrier) {
        if self.world.seed != Seed::Without(barrier) {
            fence(match barrier.kind() {
                Kind::Read => Acquire,
                Kind::Write => Release,
            });
        }
    }

    fn target(&self) -> Universe {
        Universe::from_number(self.world.target.load(Relaxed))
    }

    fn set_target(&self, target: Universe) {
        self.world.target.store(target.number(), Relaxed);
    }

    fn show_transition(&self, _: Option<usize>) {}
    fn schedule_tick(&self) {}
    fn note(&self, _: Event<'_, Self>) {}
}

impl Tasks for View {
    fn universe(&self, task: usize) -> Universe {
        Universe::from_number(self.world.tasks[task].universe.load(Relaxed))
    }

    fn set_universe(&self, task: usize, universe: Universe) {
        let of = &self.world.tasks[task];
        of.universe.store(universe.number(), Relaxed);
        let late = matches!(self.world.seed, Seed::RequestNotTaken | Seed::Year2016);
        if late && self.me == Some(task) {
            of.is_pending.store(false, Relaxed);
        }
    }

    fn is_pending(&self, task: usize) -> bool {
        self.world.tasks[task].is_pending.load(Relaxed)
    }

    fn set_pending(&self, task: usize) {
        let of = &self.world.tasks[task];
        of.is_pending.fetch_or(true, Relaxed);
    }

    fn clear_pending(&self, task: usize) {
        if self.world.seed == Seed::AskedStays {
            return;
        }
        let of = &self.world.tasks[task];
        of.is_pending.fetch_and(false, Relaxed);
    }

    fn take_pending(&self, task: usize) -> bool {
        let of = &self.world.tasks[task];
        match self.world.seed {
            Seed::RequestNotTaken | Seed::Year2016 => of.is_pending.load(Acquire),
            Seed::RequestUnordered => of.is_pending.swap(false, Relaxed),
            _ => of.is_pending.swap(false, AcqRel),
        }
    }

    fn without_preemption<R>(&self, f: impl FnOnce() -> R) -> R {
        if matches!(self.world.seed, Seed::SwitchPreempted | Seed::Year2016) {
            return f();
        }
        let me = self.me.expect("tasks switch");
        let _cpu = self.world.tasks[me].cpu.lock().unwrap();
        f()
    }

    fn synchronize(&self, why: Synchronize) {
        let skips = match self.world.seed {
            Seed::WithoutWait(seeded) => seeded == why,
            Seed::Year2016 => true,
            _ => false,
        };
        if !skips {
            for task in &self.world.tasks {
                drop(task.cpu.lock().unwrap());
            }
        }
    }

    /// Nobody exits.
    fn wait_for_unlisted(&self) {}

    fn each_task(&self, f: impl FnMut(usize)) {
        (0..self.world.tasks.len()).for_each(f);
    }

    fn each_task_in_turns(&self, f: impl FnMut(usize)) {
        self.each_task(f);
    }

    fn each_idle(&self, _: impl FnMut(usize, bool)) {}

    fn while_off_cpu<R>(&self, task: usize, f: impl FnOnce() -> R) -> Option<R> {
        let stack = self.world.tasks[task].stack.try_lock().ok()?;
        self.world.looked_at.lock().unwrap().clone_from(&stack);
        Some(f())
    }

    fn with_stack<R>(&self, _: usize, f: impl FnOnce(Result<&[usize], ()>) -> R) -> R {
        let stack = self.world.looked_at.lock().unwrap().clone();
        f(Ok(&stack))
    }

    fn has_reliable_stacks(&self) -> bool {
        self.world.has_stacks
    }

    fn forced_since(&self, task: usize) -> Option<Epoch> {
        one(self.world.tasks[task].forced_since.load(Relaxed)).map(Epoch)
    }

    fn set_forced_since(&self, task: usize, since: Option<Epoch>) {
        if self.world.seed != Seed::ForceForgets {
            let of = &self.world.tasks[task];
            of.forced_since
                .store(since.map_or(0, |since| since.0), Relaxed);
        }
    }

    fn nudge(&self, _: usize) {}
    fn nudge_idle(&self, _: usize) {}
    fn watch_reschedules(&self, _: bool) {}
}

impl Patches for View {
    fn first_patch(&self) -> Option<usize> {
        self.world.listed.lock().unwrap().first().copied()
    }

    fn next_patch(&self, patch: usize) -> Option<usize> {
        after(&self.world.listed, patch)
    }

    fn list(&self, patch: usize) {
        self.world.listed.lock().unwrap().push(patch);
    }

    fn unlist(&self, patch: usize) {
        self.world
            .listed
            .lock()
            .unwrap()
            .retain(|&other| other != patch);
    }

    fn first_retired(&self) -> Option<usize> {
        self.world.retired.lock().unwrap().first().copied()
    }

    fn next_retired(&self, patch: usize) -> Option<usize> {
        after(&self.world.retired, patch)
    }

    fn retire(&self, patch: usize, at: Epoch) {
        self.world.retired_at[patch].store(at.0, Relaxed);
        self.world.retired.lock().unwrap().push(patch);
    }

    fn retired_at(&self, patch: usize) -> Epoch {
        Epoch(self.world.retired_at[patch].load(Relaxed))
    }

    fn unretire(&self, patch: usize) {
        self.world
            .retired
            .lock()
            .unwrap()
            .retain(|&other| other != patch);
    }

    fn retired_code(&self, _: usize, _: usize) -> Option<Code> {
        None
    }

    fn is_bare(&self, _: usize) -> bool {
        false
    }

    fn set_bare(&self, _: usize) {}
    fn text(&self, patch: usize) -> Code {
        Code {
            start: 0x10000 * (patch + 1),
            size: 0xffff,
        }
    }

    fn is_enabled(&self, patch: usize) -> bool {
        self.world.is_enabled[patch].load(Relaxed)
    }

    fn set_enabled(&self, patch: usize, enabled: bool) {
        self.world.is_enabled[patch].store(enabled, Relaxed);
    }

    fn replaces(&self, _: usize) -> bool {
        false
    }

    fn state(&self, _: usize, _: usize) -> Option<State> {
        None
    }

    // Each patch has one object, with its number, and that all functions.
    fn first_object(&self, patch: usize) -> Option<usize> {
        Some(patch)
    }

    fn next_object(&self, _: usize, _: usize) -> Option<usize> {
        None
    }

    fn first_func(&self, object: usize) -> Option<usize> {
        Some(func_of(object, 0))
    }

    fn next_func(&self, object: usize, func: usize) -> Option<usize> {
        let next = function_of(func) + 1;
        (next < FUNCTIONS).then(|| func_of(object, next))
    }

    fn is_same_object(&self, _: usize, _: usize) -> bool {
        true
    }

    fn is_same_name(&self, a: usize, b: usize) -> bool {
        function_of(a) == function_of(b)
    }

    fn position(&self, _: usize) -> usize {
        0
    }

    fn is_loaded(&self, _: usize) -> bool {
        true
    }

    fn is_patched(&self, object: usize) -> bool {
        self.world.is_patched[object].load(Relaxed)
    }

    fn set_patched(&self, object: usize, patched: bool) {
        self.world.is_patched[object].store(patched, Relaxed);
    }

    fn is_dynamic(&self, _: usize) -> bool {
        false
    }

    fn is_nop(&self, func: usize) -> bool {
        self.look(func);
        false
    }

    fn is_complete(&self, _: usize) -> bool {
        true
    }

    fn is_marked(&self, _: usize) -> bool {
        true
    }

    fn is_ready(&self) -> bool {
        true
    }

    fn get_module(&self, _: usize) -> bool {
        true
    }

    fn put_module(&self, patch: usize) {
        // Its memory becomes something else: whoever still looks at it, does so unordered.
        for function in 0..FUNCTIONS {
            self.func(func_of(patch, function)).body.with_mut(|_| ());
        }
    }

    fn prepare(&self, _: usize) {}

    fn show_patch(&self, _: usize) -> Result<(), ()> {
        Ok(())
    }

    fn show_object(&self, _: usize, _: usize) -> Result<(), ()> {
        Ok(())
    }

    fn show_func(&self, _: usize, _: usize) -> Result<(), ()> {
        Ok(())
    }

    fn resolve(&self, _: usize, _: usize) -> Result<(), ()> {
        Ok(())
    }

    fn forget(&self, _: usize, _: usize) {}

    fn add_object(&self, _: usize, _: usize) -> Result<usize, ()> {
        Err(())
    }

    fn add_nop(&self, _: usize, _: usize) -> Result<(), ()> {
        Err(())
    }

    fn remove_func(&self, _: usize) {}
    fn remove_object(&self, _: usize) {}

    fn schedule_free(&self, patch: usize) {
        self.world.frees.lock().unwrap().push(patch);
    }

    fn schedule_put(&self, patch: usize) {
        self.put_module(patch);
    }

    fn drop_interface(&self, _: usize) {}

    fn is_of_module(&self, _: usize, (): ()) -> bool {
        false
    }

    fn set_loaded(&self, _: usize, (): ()) {}
    fn set_alive(&self, (): (), _: bool) {}

    fn pre_patch(&self, _: usize) -> Result<(), ()> {
        Ok(())
    }

    fn post_patch(&self, _: usize) {}
    fn pre_unpatch(&self, _: usize) {}
    fn post_unpatch(&self, _: usize) {}

    fn is_armed(&self, _: usize) -> bool {
        false
    }

    fn set_armed(&self, _: usize, _: bool) {}
}

fn after(list: &PlainMutex<Vec<usize>>, one: usize) -> Option<usize> {
    let list = list.lock().unwrap();
    let at = list.iter().position(|&other| other == one)?;
    list.get(at + 1).copied()
}

impl Sites for View {
    fn site(&self, func: usize) -> Option<usize> {
        let function = function_of(func);
        let top = self.world.sites[function].top.load(Relaxed);
        (top != 0).then_some(function)
    }

    fn new_site(&self, func: usize) -> Result<usize, ()> {
        Ok(function_of(func))
    }

    fn attach(&self, site: usize, _: usize) -> Result<(), ()> {
        let site = &self.world.sites[site];
        site.is_attached.store(true, Release);
        Ok(())
    }

    fn detach(&self, site: usize, _: usize) {
        let site = &self.world.sites[site];
        site.is_attached.store(false, Release);
        for task in &self.world.tasks {
            drop(task.cpu.lock().unwrap());
        }
    }

    fn free_site(&self, _: usize) {}

    fn link(&self, site: usize, func: usize) {
        let top = self.world.sites[site].top.load(Relaxed);
        self.func(func).below.store(top, Relaxed);
    }

    fn push(&self, site: usize, func: usize) {
        self.world.sites[site].top.store(func, Relaxed);
    }

    fn pop(&self, site: usize, func: usize) {
        let site = &self.world.sites[site];
        let below = self.func(func).below.load(Relaxed);
        if site.top.load(Relaxed) == func {
            site.top.store(below, Release);
            return;
        }
        let mut above = site.top.load(Relaxed);
        while above != 0 {
            let next = self.func(above).below.load(Relaxed);
            if next == func {
                self.func(above).below.store(below, Release);
            }
            above = next;
        }
    }

    fn top(&self, site: usize) -> Option<usize> {
        one(self.world.sites[site].top.load(Relaxed))
    }

    fn below(&self, _: usize, func: usize) -> Option<usize> {
        self.look(func);
        one(self.func(func).below.load(Relaxed))
    }

    fn is_in_transition(&self, func: usize) -> bool {
        self.look(func);
        self.func(func).is_in_transition.load(Relaxed)
    }

    fn set_in_transition(&self, func: usize, on: bool) {
        self.func(func).is_in_transition.store(on, Relaxed);
    }

    fn is_stacked(&self, func: usize) -> bool {
        self.func(func).is_stacked.load(Relaxed)
    }

    fn set_stacked(&self, func: usize, on: bool) {
        self.func(func).is_stacked.store(on, Relaxed);
    }

    fn original(&self, func: usize) -> Code {
        Code {
            start: address(None, function_of(func)) - 8,
            size: 0x40,
        }
    }

    fn replacement(&self, func: usize) -> Code {
        Code {
            start: address(Some(patch_of(func)), function_of(func)) - 8,
            size: 0x40,
        }
    }
}
