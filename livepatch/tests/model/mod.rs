//! A kernel in a few tables: tasks with stacks of frames, functions with addresses, modules. It is
//! deterministic, and looks at every step whether it was allowed.
//!
//! What the core decides is not repeated here; what must hold whatever it decides is in
//! [`invariants`].

// Each test binary uses another part.
#![allow(dead_code)]

pub mod invariants;
mod port;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

use livepatch::{Blocker, Choice, Code, Core, Epoch, Refused, Side, Universe, Variant};

/// Functions of the image and of two modules.
pub const FUNCTIONS: usize = 6;
/// How many of them each object has: the image's come first.
pub const FUNCTIONS_PER_OBJECT: usize = 2;
/// Modules that can be patched; object 0 is the image.
pub const MODULES: usize = 2;

/// Why the model could not do something.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// A callback refused.
    Callback,
    /// A step was told to fail.
    Seeded,
}

/// Why a stack of the model's cannot be trusted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Untrusted;

/// Handles: indices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct P(pub usize);
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct O(pub usize);
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct F(pub usize);
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct T(pub usize);

/// A frame: a function, and the code of the variant that runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    pub function: usize,
    pub code: Code,
    /// The variant has left its place to a function of its module, which is no variant of anything.
    pub is_helper: bool,
}

/// What a patch is made of.
#[derive(Clone, Debug, Default)]
pub struct Spec {
    /// Functions that it replaces, by number.
    pub functions: Vec<usize>,
    pub replaces: bool,
    pub states: Vec<(usize, u32)>,
    /// The object whose callback refuses.
    pub refuses: Option<usize>,
}

/// What a task is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    User,
    Idle,
}

pub struct Task {
    pub kind: Kind,
    pub is_alive: Cell<bool>,
    pub is_on_cpu: Cell<bool>,
    /// Of an idle task: whether its CPU is there. It is in nothing then that it returns from.
    pub is_online: Cell<bool>,
    /// Its stack cannot be trusted just now.
    pub is_preempted: Cell<bool>,
    pub universe: Cell<Universe>,
    pub is_pending: Cell<bool>,
    pub forced_since: Cell<Option<Epoch>>,
    pub nudges: Cell<usize>,
    pub frames: RefCell<Vec<Frame>>,
}

/// Where an object stands in the order of its callbacks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    Untouched,
    BeforePatch,
    Patched,
    BeforeUnpatch,
}

pub struct Object {
    pub patch: usize,
    /// 0 is the image.
    pub number: usize,
    pub funcs: RefCell<Vec<usize>>,
    pub is_loaded: Cell<bool>,
    pub is_patched: Cell<bool>,
    pub is_dynamic: bool,
    pub is_armed: Cell<bool>,
    pub stage: Cell<Stage>,
    pub is_gone: Cell<bool>,
}

pub struct Func {
    pub object: usize,
    pub function: usize,
    pub code: Code,
    pub is_nop: bool,
    pub is_in_transition: Cell<bool>,
    pub is_stacked: Cell<bool>,
    pub is_gone: Cell<bool>,
}

pub struct Patch {
    pub spec: Spec,
    /// Objects it has now, and those it came with, which are in its module.
    pub objects: RefCell<Vec<usize>>,
    /// The core has taken it on at some time.
    pub is_used: Cell<bool>,
    pub is_enabled: Cell<bool>,
    pub is_shown: Cell<bool>,
    pub is_bare: Cell<bool>,
    pub retired_at: Cell<Option<Epoch>>,
    /// References to its module.
    pub references: Cell<usize>,
    /// Its own functions, by number, with their code: as long as the module is there.
    pub code: RefCell<Vec<(usize, Code)>>,
}

/// A function that is redirected: its replacements, newest first.
#[derive(Default)]
pub struct Site {
    pub stack: RefCell<Vec<usize>>,
    pub is_there: Cell<bool>,
    pub is_attached: Cell<bool>,
}

pub struct Model {
    pub core: Core<Self>,
    /// The C core's rule: whoever was forced is not remembered.
    pub forgets: bool,
    /// The C core's rule: a patch's functions are looked for, and not what they call in its module.
    pub is_narrow: bool,
    /// A mistake: nobody waits for tasks that are in no list any more.
    pub is_hasty: bool,
    /// How often all tasks were held while they were gone over.
    pub holds: Cell<usize>,
    /// Whether stacks can be walked at all.
    pub has_stacks: Cell<bool>,
    pub is_locked: Cell<bool>,
    pub target: Cell<Universe>,
    pub shown: Cell<Option<P>>,
    pub is_watching: Cell<bool>,
    pub tasks: RefCell<Vec<Task>>,
    pub patches: RefCell<Vec<Patch>>,
    pub objects: RefCell<Vec<Object>>,
    pub funcs: RefCell<Vec<Func>>,
    pub sites: Vec<Site>,
    pub listed: RefCell<Vec<usize>>,
    pub retired: RefCell<Vec<usize>>,
    pub is_module_loaded: [Cell<bool>; MODULES],
    pub is_module_alive: [Cell<bool>; MODULES],
    pub frees: RefCell<VecDeque<usize>>,
    pub puts: RefCell<VecDeque<usize>>,
    pub is_tick_due: Cell<bool>,
    /// A task that is missed when not all are held.
    pub left_out: Cell<Option<T>>,
    /// Steps that may fail until the one that does.
    pub steps_to_failure: Cell<Option<usize>>,
    /// Tasks that were switched while they were in something else than what they get then.
    pub stale_switches: RefCell<Vec<String>>,
    pub log: RefCell<Vec<String>>,
}

/// The object that has this function.
pub fn object_of(function: usize) -> usize {
    function / FUNCTIONS_PER_OBJECT
}

/// The code of a function as it was compiled.
pub fn original(function: usize) -> Code {
    Code {
        start: 0x1_0000 + function * 0x100,
        size: 0x40,
    }
}

/// Where the code of patches' modules begins.
pub const TEXT: usize = 0x100_0000;

fn next(queue: &RefCell<VecDeque<usize>>) -> Option<usize> {
    queue.borrow_mut().pop_front()
}

/// The code of a patch's module.
pub fn text(P(patch): P) -> Code {
    Code {
        start: TEXT + patch * 0x1_0000,
        size: 0xffff,
    }
}

impl Model {
    /// The idle task of the CPU that may go.
    pub const SECOND_IDLE: T = T(1);

    pub fn new() -> Self {
        let model = Self {
            core: Core::new(),
            forgets: false,
            is_narrow: false,
            is_hasty: false,
            holds: Cell::new(0),
            has_stacks: Cell::new(true),
            is_locked: Cell::new(false),
            target: Cell::new(Universe::Undefined),
            shown: Cell::new(None),
            is_watching: Cell::new(false),
            tasks: RefCell::default(),
            patches: RefCell::default(),
            objects: RefCell::default(),
            funcs: RefCell::default(),
            sites: (0..FUNCTIONS).map(|_| Site::default()).collect(),
            listed: RefCell::default(),
            retired: RefCell::default(),
            is_module_loaded: [const { Cell::new(true) }; MODULES],
            is_module_alive: [const { Cell::new(true) }; MODULES],
            frees: RefCell::default(),
            puts: RefCell::default(),
            is_tick_due: Cell::new(false),
            left_out: Cell::new(None),
            steps_to_failure: Cell::new(None),
            stale_switches: RefCell::default(),
            log: RefCell::default(),
        };
        model.add_task(Kind::Idle);
        model.add_task(Kind::Idle);
        model
    }

    /// The model with the C core's rule for forced transitions.
    pub fn forgetful() -> Self {
        Self {
            forgets: true,
            ..Self::new()
        }
    }

    /// The model with the C core's rule for code that goes.
    pub fn narrow() -> Self {
        Self {
            is_narrow: true,
            ..Self::new()
        }
    }

    /// The model in which nobody waits for tasks that are in no list any more.
    pub fn hasty() -> Self {
        Self {
            is_hasty: true,
            ..Self::new()
        }
    }

    /// A task outside the kernel, off its CPU.
    pub fn add_task(&self, kind: Kind) -> T {
        let mut tasks = self.tasks.borrow_mut();
        tasks.push(Task {
            kind,
            is_alive: Cell::new(true),
            is_on_cpu: Cell::new(false),
            is_online: Cell::new(true),
            is_preempted: Cell::new(false),
            universe: Cell::new(Universe::Undefined),
            is_pending: Cell::new(false),
            forced_since: Cell::new(None),
            nudges: Cell::new(0),
            frames: RefCell::default(),
        });
        T(tasks.len() - 1)
    }

    pub fn user_task(&self) -> T {
        assert!(self.core.transition().is_none(), "use fork");
        self.add_task(Kind::User)
    }

    pub fn fork(&self, parent: T) -> T {
        let child = self.add_task(Kind::User);
        Core::fork(self, parent, child);
        child
    }

    pub fn exit(&self, task: T) {
        self.begin_exit(task);
        self.task(task, |task| task.frames.borrow_mut().clear());
    }

    /// The task leaves the lists of tasks. It may still be in what it exits in.
    pub fn begin_exit(&self, task: T) {
        self.task(task, |task| task.is_alive.set(false));
    }

    pub fn task<R>(&self, task: T, f: impl FnOnce(&Task) -> R) -> R {
        f(&self.tasks.borrow()[task.0])
    }

    /// Calls a function: the frame is that of the variant that the handler chooses.
    pub fn call(&self, task: T, function: usize) -> Code {
        let site = &self.sites[function];
        let code = if site.is_attached.get() {
            match livepatch::choose(self, function, task) {
                Choice::Original => original(function),
                Choice::Replacement(func) => self.funcs.borrow()[func.0].code,
                other => panic!("the handler found {other:?}"),
            }
        } else {
            original(function)
        };
        self.task(task, |task| {
            task.frames.borrow_mut().push(Frame {
                function,
                code,
                is_helper: false,
            });
        });
        code
    }

    /// The replacement that the task is in ends with a call of a function of its module, which takes
    /// its place on the stack. Whether it is in one.
    pub fn call_helper(&self, task: T) -> bool {
        self.task(task, |task| {
            let mut frames = task.frames.borrow_mut();
            match frames.last_mut() {
                Some(frame) if frame.code.start >= TEXT => {
                    frame.is_helper = true;
                    // Behind all functions of the module.
                    frame.code.start |= 0x8000;
                    true
                }
                _ => false,
            }
        })
    }

    pub fn ret(&self, task: T) {
        self.task(task, |task| task.frames.borrow_mut().pop());
    }

    /// Returns from everything and leaves the kernel, or goes round the idle loop.
    pub fn leave(&self, task: T) {
        self.task(task, |task| task.frames.borrow_mut().clear());
        Core::safe_point(self, task);
    }

    /// The CPU of an idle task goes, out of the idle loop, or comes and begins with that.
    pub fn set_online(&self, task: T, online: bool) {
        self.task(task, |task| {
            assert_eq!(task.kind, Kind::Idle);
            if task.is_online.replace(online) != online {
                task.frames.borrow_mut().clear();
            }
        });
    }

    pub fn cond_resched(&self, task: T) {
        self.core.switch_current(self, task);
    }

    /// A module that has this patch, not yet enabled.
    pub fn load(&self, spec: Spec) -> P {
        let mut patches = self.patches.borrow_mut();
        let patch = patches.len();
        let mut of_patch: Vec<usize> = Vec::new();
        let mut code = Vec::new();
        for &function in &spec.functions {
            let number = object_of(function);
            let mut objects = self.objects.borrow_mut();
            let known = of_patch
                .iter()
                .copied()
                .find(|&object| objects[object].number == number);
            let object = known.unwrap_or_else(|| {
                objects.push(Object::new(patch, number, false));
                of_patch.push(objects.len() - 1);
                objects.len() - 1
            });
            let new = Code {
                start: text(P(patch)).start + function * 0x100,
                size: 0x50,
            };
            let mut funcs = self.funcs.borrow_mut();
            funcs.push(Func::new(object, function, new, false));
            objects[object].funcs.borrow_mut().push(funcs.len() - 1);
            code.push((function, new));
        }
        patches.push(Patch {
            spec,
            objects: RefCell::new(of_patch),
            is_used: Cell::new(false),
            is_enabled: Cell::new(false),
            is_shown: Cell::new(false),
            is_bare: Cell::new(false),
            retired_at: Cell::new(None),
            references: Cell::new(0),
            code: RefCell::new(code),
        });
        P(patch)
    }

    /// Loads and enables a patch for these functions.
    pub fn enable(&self, functions: &[usize]) -> P {
        self.try_enable(Spec {
            functions: functions.to_vec(),
            ..Spec::default()
        })
        .expect("the patch is enabled")
    }

    pub fn try_enable(&self, spec: Spec) -> Result<P, Refused<Error>> {
        let patch = self.load(spec);
        self.core.enable(self, patch).map(|()| patch)
    }

    pub fn disable(&self, patch: P) -> Result<(), Refused<Error>> {
        self.core.set_enabled(self, patch, false)
    }

    pub fn force(&self, patch: P) {
        self.core
            .force(self, patch)
            .expect("the patch is in transition");
        self.tick();
    }

    /// What the workqueue does: a second passes, and what that lets go goes.
    pub fn tick(&self) {
        self.tick_alone();
        self.run_puts();
    }

    pub fn tick_alone(&self) {
        if self.is_tick_due.take() {
            self.core.tick(self);
        }
    }

    pub fn run_frees(&self) {
        while let Some(patch) = next(&self.frees) {
            self.core.free(self, P(patch));
        }
    }

    pub fn run_puts(&self) {
        while let Some(patch) = next(&self.puts) {
            Core::put(self, P(patch));
        }
    }

    pub fn load_module(&self, module: usize) -> Result<(), Error> {
        assert!(!self.is_module_loaded[module].replace(true));
        self.core
            .module_coming(self, module)
            .inspect_err(|_| self.is_module_loaded[module].set(false))
    }

    pub fn unload_module(&self, module: usize) {
        assert!(self.is_module_loaded[module].get());
        self.core.module_going(self, module);
        self.is_module_loaded[module].set(false);
    }

    /// What a task would get if it called the function now, without the handler's help.
    pub fn resolved(&self, task: T, function: usize) -> Code {
        let funcs = self.funcs.borrow();
        let stack = self.sites[function].stack.borrow();
        let mut stack = stack.iter().map(|&func| &funcs[func]);
        let unpatched = Universe::On(Side::Unpatched);
        let top = stack.next();
        let chosen = match top {
            Some(top)
                if top.is_in_transition.get()
                    && self.task(task, |task| task.universe.get()) == unpatched =>
            {
                stack.next()
            }
            other => other,
        };
        chosen.map_or(original(function), |func| func.code)
    }

    pub fn blocker_of(&self, task: T) -> Option<Blocker<Self>> {
        let mut found = None;
        self.core.blockers(self, |blocked, blocker| {
            if blocked == task {
                found = blocker;
            }
        });
        found
    }

    /// The patch whose replacement a blocker names.
    pub fn patch_of(&self, variant: Variant<Self>) -> Option<P> {
        match variant {
            Variant::Original => None,
            Variant::Replacement(func) => {
                let object = self.funcs.borrow()[func.0].object;
                Some(P(self.objects.borrow()[object].patch))
            }
            Variant::Retired(patch) => Some(patch),
        }
    }

    /// Whether this is code of a patch that is gone but for its code.
    pub fn is_retired(&self, code: Code) -> bool {
        let of = |&patch: &usize| text(P(patch)).executes(code.start + 8);
        self.retired.borrow().iter().any(of)
    }

    pub fn references(&self, patch: P) -> usize {
        self.patches.borrow()[patch.0].references.get()
    }

    pub fn is_idle(&self) -> bool {
        self.core.transition().is_none()
    }

    /// A step that may be told to fail.
    pub fn may_fail(&self) -> Result<(), Error> {
        match self.steps_to_failure.get() {
            Some(0) => {
                self.steps_to_failure.set(None);
                Err(Error::Seeded)
            }
            Some(steps) => {
                self.steps_to_failure.set(Some(steps - 1));
                Ok(())
            }
            None => Ok(()),
        }
    }
}

impl Object {
    fn new(patch: usize, number: usize, is_dynamic: bool) -> Self {
        Self {
            patch,
            number,
            funcs: RefCell::default(),
            is_loaded: Cell::new(false),
            is_patched: Cell::new(false),
            is_dynamic,
            is_armed: Cell::new(false),
            stage: Cell::new(Stage::Untouched),
            is_gone: Cell::new(false),
        }
    }
}

impl Func {
    fn new(object: usize, function: usize, code: Code, is_nop: bool) -> Self {
        Self {
            object,
            function,
            code,
            is_nop,
            is_in_transition: Cell::new(false),
            is_stacked: Cell::new(false),
            is_gone: Cell::new(false),
        }
    }
}
