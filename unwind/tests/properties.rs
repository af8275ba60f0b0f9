//! What must hold for any task, any table and any stack.

mod model;

use std::sync::OnceLock;

use model::build::{Outermost, STACK, STACK_SIZE};
use model::plan::{build, Step, STEPS};
use model::{addresses, frames, verdict, Kernel};
use proptest::prelude::*;
use unwind::orc::sort::sort;
use unwind::orc::table::{Addresses, Blocks, Table};
use unwind::ranges::{Base, Range, UnreliableText};
use unwind::{FramePointers, Orc, Reason, Start, Status, Verdict};

/// One for all cases.
fn kernel() -> &'static Kernel {
    static KERNEL: OnceLock<Kernel> = OnceLock::new();
    KERNEL.get_or_init(Kernel::new)
}

fn outermost() -> impl Strategy<Value = Outermost> {
    (0..Outermost::ALL.len()).prop_map(|n| Outermost::ALL[n])
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    proptest::collection::vec((0..STEPS, 0..8usize, 0..4usize), 0..20)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn a_whole_stack_is_reliable_with_exactly_its_frames(outer in outermost(), steps in steps()) {
            let built = build(kernel(), outer, &steps);
        let (task, start) = (&built.builder.task, built.builder.inactive());
        let (outcome, shown) = verdict::<Orc>(task, start);
        prop_assert_eq!(outcome.verdict, Verdict::Reliable);
        prop_assert_eq!(addresses(&shown), built.builder.expected());
        let (outcome, shown) = verdict::<FramePointers>(task, start);
        if built.interrupted {
            let expected = matches!(outcome.verdict, Verdict::Unreliable(Reason::Interrupted(_)));
            prop_assert!(expected, "{:?}", outcome.verdict);
        } else {
            prop_assert_eq!(outcome.verdict, Verdict::Reliable);
            prop_assert_eq!(addresses(&shown), built.builder.expected());
        }
    }

    #[test]
    fn a_best_effort_walk_shows_the_same_and_more(outer in outermost(), steps in steps()) {
            let built = build(kernel(), outer, &steps);
        let (task, start, sp) = (&built.builder.task, built.builder.inactive(), built.builder.sp);
        let expected = built.builder.expected();
        let (by_fp, walk) = frames::<FramePointers>(task, start, sp);
        prop_assert!(matches!(walk.status(), Status::Ended(_)), "{:?}", walk.status());
        // An interruption hides nothing where functions keep their frames.
        let kernels = |frames: &[unwind::Frame]| {
            let all = addresses(frames).into_iter();
            all.filter(|&address| address != 0).collect::<Vec<u64>>()
        };
        prop_assert_eq!(kernels(&by_fp), &expected[..]);
        let (by_orc, walk) = frames::<Orc>(task, start, sp);
        // A task that is to die has no registers of its own, and is not looked at for that.
        if outer != Outermost::Rewound {
            prop_assert!(matches!(walk.status(), Status::Ended(_)), "{:?}", walk.status());
        }
        prop_assert_eq!(&kernels(&by_orc)[..expected.len()], &expected[..]);
        // A frame's address lies where the frame says, unless a tracer put its own there.
        for frame in by_fp.iter().chain(&by_orc).filter(|frame| frame.address != 0) {
            let slot = frame.slot.expect("it comes from the stack");
            let memory = task.memory.iter().find(|memory| memory.stack.contains(slot, 8));
            let memory = memory.expect("it lies on a stack");
            let word = memory.words[((slot - memory.stack.begin()) / 8) as usize];
            let rewritten = task.originals.contains(&(slot, frame.address));
            prop_assert!(word == frame.address || rewritten, "{frame:?} {word:#x}");
        }
    }

    #[test]
    fn a_sorted_table_finds_what_a_search_finds(
        addresses in proptest::collection::vec((0..2000u64, any::<bool>()), 1..100),
        wanted in 0..2200u64,
    ) {
        let (at, text) = (0x4000_0000u64, 0x4100_0000);
        let mut distances: Vec<i32> = (0..).zip(&addresses)
            .map(|(n, (address, _))| (text + address - at - 4 * n) as i32)
            .collect();
        // An entry says its address; marks are 0.
        let mut entries: Vec<u64> = addresses.iter()
            .map(|&(address, weak)| if weak { 0 } else { text + address })
            .collect();
        sort(&mut distances, &mut entries, |entry| entry == 0).unwrap();
        let table = Table::new(Addresses::new(at, &distances), &entries).unwrap();
        let nearest = addresses.iter().map(|(a, _)| *a).filter(|&a| a <= wanted).max();
        let real = addresses.iter().any(|&(a, weak)| Some(a) == nearest && !weak);
        let expected = nearest.map(|a| if real { text + a } else { 0 });
        prop_assert_eq!(table.find(text + wanted), expected);
        let (start, stop) = (text + 300, text + 1700);
        let mut firsts = vec![0; Blocks::places(start, stop) as usize];
        Blocks::fill(&mut firsts, &table.addresses(), start, stop).unwrap();
        let blocks = Blocks::new(start, stop, &firsts);
        let inside = blocks.contains(text + wanted);
        prop_assert_eq!(table.find_in(&blocks, text + wanted), expected.filter(|_| inside));
    }

    #[test]
    fn the_validators_table_holds_what_it_says(
        ranges in proptest::collection::vec((-500..500i32, 0..40u32), 0..30),
        sorted in any::<bool>(),
        address in 0x0f00..0x1300u64,
    ) {
        let mut ranges = ranges;
        if sorted {
            // In order and disjoint, as the validator writes them.
            ranges.sort_unstable();
            let mut end = i32::MIN;
            ranges.retain(|&(first, size)| {
                let fits = first >= end;
                if fits { end = first + size as i32; }
                fits
            });
        }
        let base = 0x1100u64;
        let table: Vec<Range> = ranges.iter()
            .map(|&(distance, size)| Range { distance, size })
            .collect();
        let inside = ranges.iter().any(|&(first, size)| {
            let first = base.wrapping_add_signed(i64::from(first));
            (first..first + u64::from(size)).contains(&address)
        });
        prop_assert_eq!(UnreliableText::new(Base::Image(base), &table).contains(address), inside);
    }
}

proptest! {
    // Each of these is forty walks.
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_words_are_walked_without_harm(
        words in proptest::collection::vec(any_word(), 64),
        sp in (0..70u64).prop_map(|n| STACK + STACK_SIZE - 8 * n),
        fp in any_word(),
    ) {
            let mut built = build(kernel(), Outermost::SystemCall, &[]);
        let count = words.len() as u64;
        for (n, word) in (0..).zip(words) {
            *built.builder.task.word(STACK + STACK_SIZE - 8 * (count - n)) = word;
        }
        let task = &built.builder.task;
        let pc = kernel().function("f4").site(0);
        for start in [
            Start::Inactive { sp },
            Start::Here { pc, sp, fp },
            Start::Interrupted { pc, sp, fp, user: false },
            Start::Interrupted { pc: 0, sp, fp, user: false },
        ] {
            // These look at every read themselves.
            let _ = verdict::<FramePointers>(task, start);
            let _ = verdict::<Orc>(task, start);
            for first in [0, sp, STACK + STACK_SIZE - 64, u64::MAX] {
                let _ = frames::<FramePointers>(task, start, first);
                let _ = frames::<Orc>(task, start, first);
            }
        }
        prop_assert!(task.reads.get() < 40_000, "{}", task.reads.get());
    }
}

/// Words that mean something to a walk, and some that do not.
fn any_word() -> impl Strategy<Value = u64> {
    prop_oneof![
        any::<u64>(),
        (0..70u64).prop_map(|n| STACK + STACK_SIZE - 8 * n),
        (0..70u64).prop_map(|n| STACK + STACK_SIZE - 8 * n + 1),
        (0..0x1800u64).prop_map(|n| model::TEXT + n),
        (0..24u64).prop_map(|n| model::TEXT + n * model::SIZE + 0x20),
        Just(0x10),
        Just(0x33),
        Just(0),
    ]
}
