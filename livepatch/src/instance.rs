//! The core for a kernel that is only known at run time.
//!
//! Generic code becomes machine code where it is used, so that a library of nothing else cannot be
//! looked at for paths to a panic. Here it is used. All functions are inlined ones, which a kernel
//! that does not call them does not hold. Not for any other use.

use crate::port::{Handles, Patches, Port, Sites, State, Synchronize, Tasks};
use crate::{choose, Barrier, Choice, Code, Core, Epoch, Event, Refused, Universe};

/// A kernel of which nothing is known: each answer is whatever the function that it holds says.
#[derive(Clone, Copy, Debug)]
pub struct Unknown {
    /// Asked for every answer, with the number of the question and what it is about.
    pub answer: fn(question: u32, about: usize) -> usize,
}

impl Handles for Unknown {
    type Patch = usize;
    type Object = usize;
    type Func = usize;
    type Site = usize;
    type Task = usize;
    type Module = usize;
    type Error = usize;
    type Doubt = usize;
}

impl Unknown {
    #[inline]
    fn ask(&self, question: u32, about: usize) -> usize {
        (self.answer)(question, about)
    }

    #[inline]
    fn asks(&self, question: u32, about: usize) -> bool {
        self.ask(question, about) != 0
    }

    #[inline]
    fn one(&self, question: u32, about: usize) -> Option<usize> {
        match self.ask(question, about) {
            0 => None,
            one => Some(one),
        }
    }

    #[inline]
    fn tries(&self, question: u32, about: usize) -> Result<(), usize> {
        match self.ask(question, about) {
            0 => Ok(()),
            error => Err(error),
        }
    }

    #[inline]
    fn universe_of(&self, question: u32, about: usize) -> Universe {
        Universe::from_number(i32::from(self.ask(question, about) as u8))
    }
}

impl Port for Unknown {
    #[inline]
    fn with_lock<R>(&self, f: impl FnOnce() -> R) -> R {
        f()
    }

    #[inline]
    fn try_lock(&self, f: impl FnOnce()) {
        if self.asks(1, 0) {
            f();
        }
    }

    #[inline]
    fn order(&self, barrier: Barrier) {
        self.ask(2, barrier as usize);
    }

    #[inline]
    fn target(&self) -> Universe {
        self.universe_of(3, 0)
    }

    #[inline]
    fn set_target(&self, target: Universe) {
        self.ask(4, target.number() as usize);
    }

    #[inline]
    fn show_transition(&self, patch: Option<usize>) {
        self.ask(5, patch.unwrap_or(0));
    }

    #[inline]
    fn schedule_tick(&self) {
        self.ask(6, 0);
    }

    #[inline]
    fn note(&self, event: Event<'_, Self>) {
        let (Event::Enabling(patch) | Event::NotEnabled(patch)) = event else {
            return;
        };
        self.ask(7, patch);
    }
}

impl Tasks for Unknown {
    #[inline]
    fn universe(&self, task: usize) -> Universe {
        self.universe_of(8, task)
    }

    #[inline]
    fn set_universe(&self, task: usize, _: Universe) {
        self.ask(9, task);
    }

    #[inline]
    fn is_pending(&self, task: usize) -> bool {
        self.asks(10, task)
    }

    #[inline]
    fn set_pending(&self, task: usize) {
        self.ask(11, task);
    }

    #[inline]
    fn clear_pending(&self, task: usize) {
        self.ask(12, task);
    }

    #[inline]
    fn take_pending(&self, task: usize) -> bool {
        self.asks(13, task)
    }

    #[inline]
    fn without_preemption<R>(&self, f: impl FnOnce() -> R) -> R {
        f()
    }

    #[inline]
    fn synchronize(&self, why: Synchronize) {
        self.ask(14, why as usize);
    }

    #[inline]
    fn wait_for_unlisted(&self) {
        self.ask(202, 0);
    }

    #[inline]
    fn each_task(&self, mut f: impl FnMut(usize)) {
        while let Some(task) = self.one(15, 0) {
            f(task);
        }
    }

    #[inline]
    fn each_task_in_turns(&self, mut f: impl FnMut(usize)) {
        while let Some(task) = self.one(201, 0) {
            f(task);
        }
    }

    #[inline]
    fn each_idle(&self, mut f: impl FnMut(usize, bool)) {
        while let Some(task) = self.one(16, 0) {
            f(task, self.asks(17, task));
        }
    }

    #[inline]
    fn while_off_cpu<R>(&self, task: usize, f: impl FnOnce() -> R) -> Option<R> {
        self.asks(18, task).then(f)
    }

    #[inline]
    fn with_stack<R>(&self, task: usize, f: impl FnOnce(Result<&[usize], usize>) -> R) -> R {
        let stack = [self.ask(19, task), self.ask(20, task)];
        match self.ask(21, task) {
            0 => f(Ok(&stack)),
            doubt => f(Err(doubt)),
        }
    }

    #[inline]
    fn has_reliable_stacks(&self) -> bool {
        self.asks(22, 0)
    }

    #[inline]
    fn forced_since(&self, task: usize) -> Option<Epoch> {
        self.one(23, task).map(Epoch)
    }

    #[inline]
    fn set_forced_since(&self, task: usize, _: Option<Epoch>) {
        self.ask(24, task);
    }

    #[inline]
    fn nudge(&self, task: usize) {
        self.ask(25, task);
    }

    #[inline]
    fn nudge_idle(&self, task: usize) {
        self.ask(26, task);
    }

    #[inline]
    fn watch_reschedules(&self, on: bool) {
        self.ask(27, usize::from(on));
    }
}

impl Patches for Unknown {
    #[inline]
    fn first_patch(&self) -> Option<usize> {
        self.one(28, 0)
    }

    #[inline]
    fn next_patch(&self, patch: usize) -> Option<usize> {
        self.one(29, patch)
    }

    #[inline]
    fn list(&self, patch: usize) {
        self.ask(30, patch);
    }

    #[inline]
    fn unlist(&self, patch: usize) {
        self.ask(31, patch);
    }

    #[inline]
    fn first_retired(&self) -> Option<usize> {
        self.one(32, 0)
    }

    #[inline]
    fn next_retired(&self, patch: usize) -> Option<usize> {
        self.one(33, patch)
    }

    #[inline]
    fn retire(&self, patch: usize, _: Epoch) {
        self.ask(34, patch);
    }

    #[inline]
    fn retired_at(&self, patch: usize) -> Epoch {
        Epoch(self.ask(35, patch))
    }

    #[inline]
    fn unretire(&self, patch: usize) {
        self.ask(36, patch);
    }

    #[inline]
    fn is_bare(&self, patch: usize) -> bool {
        self.asks(37, patch)
    }

    #[inline]
    fn set_bare(&self, patch: usize) {
        self.ask(38, patch);
    }

    #[inline]
    fn retired_code(&self, patch: usize, _: usize) -> Option<Code> {
        let start = self.one(39, patch)?;
        Some(Code { start, size: start })
    }

    #[inline]
    fn text(&self, patch: usize) -> Code {
        let start = self.ask(40, patch);
        Code { start, size: start }
    }

    #[inline]
    fn is_enabled(&self, patch: usize) -> bool {
        self.asks(41, patch)
    }

    #[inline]
    fn set_enabled(&self, patch: usize, enabled: bool) {
        self.ask(42, if enabled { patch } else { 0 });
    }

    #[inline]
    fn replaces(&self, patch: usize) -> bool {
        self.asks(43, patch)
    }

    #[inline]
    fn state(&self, patch: usize, _: usize) -> Option<State> {
        let id = self.one(44, patch)?;
        Some(State {
            id,
            version: id as u32,
        })
    }

    #[inline]
    fn first_object(&self, patch: usize) -> Option<usize> {
        self.one(45, patch)
    }

    #[inline]
    fn next_object(&self, patch: usize, _: usize) -> Option<usize> {
        self.one(46, patch)
    }

    #[inline]
    fn first_func(&self, object: usize) -> Option<usize> {
        self.one(47, object)
    }

    #[inline]
    fn next_func(&self, object: usize, _: usize) -> Option<usize> {
        self.one(48, object)
    }

    #[inline]
    fn is_same_object(&self, a: usize, b: usize) -> bool {
        self.asks(49, a ^ b)
    }

    #[inline]
    fn is_same_name(&self, a: usize, b: usize) -> bool {
        self.asks(50, a ^ b)
    }

    #[inline]
    fn position(&self, func: usize) -> usize {
        self.ask(51, func)
    }

    #[inline]
    fn is_loaded(&self, object: usize) -> bool {
        self.asks(52, object)
    }

    #[inline]
    fn is_patched(&self, object: usize) -> bool {
        self.asks(53, object)
    }

    #[inline]
    fn set_patched(&self, object: usize, patched: bool) {
        self.ask(54, if patched { object } else { 0 });
    }

    #[inline]
    fn is_dynamic(&self, object: usize) -> bool {
        self.asks(55, object)
    }

    #[inline]
    fn is_nop(&self, func: usize) -> bool {
        self.asks(56, func)
    }

    #[inline]
    fn is_complete(&self, patch: usize) -> bool {
        self.asks(57, patch)
    }

    #[inline]
    fn is_marked(&self, patch: usize) -> bool {
        self.asks(58, patch)
    }

    #[inline]
    fn is_ready(&self) -> bool {
        self.asks(59, 0)
    }

    #[inline]
    fn get_module(&self, patch: usize) -> bool {
        self.asks(60, patch)
    }

    #[inline]
    fn put_module(&self, patch: usize) {
        self.ask(61, patch);
    }

    #[inline]
    fn prepare(&self, patch: usize) {
        self.ask(62, patch);
    }

    #[inline]
    fn show_patch(&self, patch: usize) -> Result<(), usize> {
        self.tries(63, patch)
    }

    #[inline]
    fn show_object(&self, patch: usize, _: usize) -> Result<(), usize> {
        self.tries(64, patch)
    }

    #[inline]
    fn show_func(&self, object: usize, _: usize) -> Result<(), usize> {
        self.tries(65, object)
    }

    #[inline]
    fn resolve(&self, patch: usize, _: usize) -> Result<(), usize> {
        self.tries(66, patch)
    }

    #[inline]
    fn forget(&self, patch: usize, _: usize) {
        self.ask(67, patch);
    }

    #[inline]
    fn add_object(&self, patch: usize, _: usize) -> Result<usize, usize> {
        self.tries(68, patch)?;
        Ok(self.ask(69, patch))
    }

    #[inline]
    fn add_nop(&self, object: usize, _: usize) -> Result<(), usize> {
        self.tries(70, object)
    }

    #[inline]
    fn remove_func(&self, func: usize) {
        self.ask(71, func);
    }

    #[inline]
    fn remove_object(&self, object: usize) {
        self.ask(72, object);
    }

    #[inline]
    fn schedule_free(&self, patch: usize) {
        self.ask(73, patch);
    }

    #[inline]
    fn schedule_put(&self, patch: usize) {
        self.ask(203, patch);
    }

    #[inline]
    fn drop_interface(&self, patch: usize) {
        self.ask(74, patch);
    }

    #[inline]
    fn is_of_module(&self, object: usize, module: usize) -> bool {
        self.asks(75, object ^ module)
    }

    #[inline]
    fn set_loaded(&self, object: usize, _: usize) {
        self.ask(76, object);
    }

    #[inline]
    fn set_alive(&self, module: usize, alive: bool) {
        self.ask(77, if alive { module } else { 0 });
    }

    #[inline]
    fn pre_patch(&self, object: usize) -> Result<(), usize> {
        self.tries(78, object)
    }

    #[inline]
    fn post_patch(&self, object: usize) {
        self.ask(79, object);
    }

    #[inline]
    fn pre_unpatch(&self, object: usize) {
        self.ask(80, object);
    }

    #[inline]
    fn post_unpatch(&self, object: usize) {
        self.ask(81, object);
    }

    #[inline]
    fn is_armed(&self, object: usize) -> bool {
        self.asks(82, object)
    }

    #[inline]
    fn set_armed(&self, object: usize, armed: bool) {
        self.ask(83, if armed { object } else { 0 });
    }
}

impl Sites for Unknown {
    #[inline]
    fn site(&self, func: usize) -> Option<usize> {
        self.one(84, func)
    }

    #[inline]
    fn new_site(&self, func: usize) -> Result<usize, usize> {
        self.tries(85, func)?;
        Ok(self.ask(86, func))
    }

    #[inline]
    fn attach(&self, site: usize, _: usize) -> Result<(), usize> {
        self.tries(87, site)
    }

    #[inline]
    fn detach(&self, site: usize, _: usize) {
        self.ask(88, site);
    }

    #[inline]
    fn free_site(&self, site: usize) {
        self.ask(89, site);
    }

    #[inline]
    fn link(&self, site: usize, func: usize) {
        self.ask(200, site ^ func);
    }

    #[inline]
    fn push(&self, site: usize, _: usize) {
        self.ask(90, site);
    }

    #[inline]
    fn pop(&self, site: usize, _: usize) {
        self.ask(91, site);
    }

    #[inline]
    fn top(&self, site: usize) -> Option<usize> {
        self.one(92, site)
    }

    #[inline]
    fn below(&self, site: usize, _: usize) -> Option<usize> {
        self.one(93, site)
    }

    #[inline]
    fn is_in_transition(&self, func: usize) -> bool {
        self.asks(94, func)
    }

    #[inline]
    fn set_in_transition(&self, func: usize, on: bool) {
        self.ask(95, if on { func } else { 0 });
    }

    #[inline]
    fn is_stacked(&self, func: usize) -> bool {
        self.asks(96, func)
    }

    #[inline]
    fn set_stacked(&self, func: usize, on: bool) {
        self.ask(97, if on { func } else { 0 });
    }

    #[inline]
    fn original(&self, func: usize) -> Code {
        let start = self.ask(98, func);
        Code { start, size: start }
    }

    #[inline]
    fn replacement(&self, func: usize) -> Code {
        let start = self.ask(99, func);
        Code { start, size: start }
    }
}

/// The core, and every way in.
#[derive(Default)]
pub struct Instance(Core<Unknown>);

impl Instance {
    /// [`Core::enable`].
    #[inline]
    pub fn enable(&self, port: &Unknown, patch: usize) -> Result<(), Refused<usize>> {
        self.0.enable(port, patch)
    }

    /// [`Core::set_enabled`].
    #[inline]
    pub fn set_enabled(
        &self,
        port: &Unknown,
        patch: usize,
        on: bool,
    ) -> Result<(), Refused<usize>> {
        self.0.set_enabled(port, patch, on)
    }

    /// [`Core::force`].
    #[inline]
    pub fn force(&self, port: &Unknown, patch: usize) -> Result<(), Refused<usize>> {
        self.0.force(port, patch)
    }

    /// [`Core::tick`].
    #[inline]
    pub fn tick(&self, port: &Unknown) {
        self.0.tick(port);
    }

    /// [`Core::free`].
    #[inline]
    pub fn free(&self, port: &Unknown, patch: usize) {
        self.0.free(port, patch);
    }

    /// [`Core::module_coming`].
    #[inline]
    pub fn module_coming(&self, port: &Unknown, module: usize) -> Result<(), usize> {
        self.0.module_coming(port, module)
    }

    /// [`Core::module_going`].
    #[inline]
    pub fn module_going(&self, port: &Unknown, module: usize) {
        self.0.module_going(port, module);
    }

    /// [`Core::blockers`].
    #[inline]
    pub fn blockers(&self, port: &Unknown) {
        self.0.blockers(port, |task, blocker| {
            port.ask(0, if blocker.is_some() { task } else { 0 });
        });
    }

    /// [`Core::order`].
    #[inline]
    pub fn order(&self, port: &Unknown, patch: usize) -> usize {
        self.0.order(port, patch)
    }

    /// [`Core::switch_current`].
    #[inline]
    pub fn switch_current(&self, port: &Unknown, task: usize) {
        self.0.switch_current(port, task);
    }
}

/// [`Core::safe_point`].
#[inline]
pub fn safe_point(port: &Unknown, task: usize) {
    Core::safe_point(port, task);
}

/// [`Core::fork`].
#[inline]
pub fn fork(port: &Unknown, parent: usize, child: usize) {
    Core::fork(port, parent, child);
}

/// [`choose`].
#[inline]
pub fn handle(port: &Unknown, site: usize, caller: usize) -> Choice<usize> {
    choose(port, site, caller)
}
