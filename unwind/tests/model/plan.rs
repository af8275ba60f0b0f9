//! Plans for stacks: a few numbers that say what a task has done, so that they can be made up.

use super::build::{Builder, Outermost};
use super::{Kernel, ORDINARY};

/// A step of a task: what, of which function, and from which of its calls.
pub type Step = (u8, usize, usize);

/// Steps below this number are calls of ordinary functions, so that most are.
const CALLS: u8 = 8;
/// What the steps above do.
pub const STEPS: u8 = CALLS + 6;

/// What came of a plan.
pub struct Built<'k> {
    pub builder: Builder<'k>,
    pub outermost: Outermost,
    /// The kernel was interrupted.
    pub interrupted: bool,
}

/// Lays out the stack of a task that has done these steps, and sleeps.
pub fn build<'k>(kernel: &'k Kernel, outermost: Outermost, steps: &[Step]) -> Built<'k> {
    let mut builder = Builder::new(kernel, outermost);
    let (mut interrupted, mut switched) = (false, false);
    // Entry code calls something before anything can happen to it.
    builder.call(ORDINARY[steps.len() % ORDINARY.len()], 0);
    for &(what, which, site) in steps {
        let name = ORDINARY[which % ORDINARY.len()];
        let inside = builder.current.begin + 0x11 + which as u64;
        // Code on another stack is not interrupted: that would be a third stack.
        let may = builder.current.name != "switches_stack";
        match what.checked_sub(CALLS) {
            Some(0) => {
                builder.enter(kernel.function(name).clone());
                builder.hook("return_to_handler").body(site);
            }
            Some(1) => {
                builder.enter(kernel.function(name).clone());
                builder.hook("arch_rethook_trampoline").body(site);
            }
            Some(2) => {
                builder.call("ftrace_caller", site);
            }
            Some(3) if !switched => {
                builder.call("switches_stack", site).call(name, site);
                switched = true;
            }
            Some(4) if may => {
                let entry = ["asm_common_interrupt", "asm_exc_page_fault"][which % 2];
                builder.interrupt(entry, inside).call(name, site);
                interrupted = true;
            }
            _ => {
                builder.call(name, site);
            }
        }
    }
    builder.sleep();
    Built {
        builder,
        outermost,
        interrupted,
    }
}

/// Numbers that look random, the same each time.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(2) | 1)
    }

    /// Marsaglia's xorshift64*.
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        (self.next() >> 11) % end
    }

    pub fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len() as u64) as usize]
    }

    pub fn steps(&mut self) -> Vec<Step> {
        let step = |random: &mut Self| {
            let what = random.below(u64::from(STEPS)) as u8;
            (what, random.below(8) as usize, random.below(4) as usize)
        };
        (0..self.below(16)).map(|_| step(self)).collect()
    }
}
