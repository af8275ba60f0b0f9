// SPDX-License-Identifier: GPL-2.0-only
/*
 * Where walks can start that take what they can: at registers, at a given first frame, at nothing;
 * as oops messages, /proc and perf do. There is no verdict; what counts is the frames, and that they
 * are C's. And when: walks for a verdict while the kernel started.
 */
#include <linux/perf_event.h>
#include <asm/unwind.h>

#include "beside.h"
#include "contexts.h"
#include "early.h"

static struct addresses ours, theirs;

static void begin(void)
{
	ours.count = theirs.count = 0;
}

static noinline void walk_from(struct task_struct *task, struct pt_regs *regs, unsigned long *first)
{
	struct unwind_state state;
	unsigned long address;

	begin();
	for (unwind_start(&state, task, regs, first); !unwind_done(&state);
	     unwind_next_frame(&state)) {
		address = unwind_get_return_address(&state);
		if (!address || !store_address(&ours, address))
			break;
	}
	c_walk_from(store_address, &theirs, task, regs, first);
}

/* The task that walks. */

static noinline void walk_itself(struct victim *victim)
{
	walk_from(current, NULL, victim->data);
	/* From nothing each begins in its own caller, so C's may begin further in. */
	if (!victim->data && theirs.count > ours.count) {
		memmove(theirs.at, theirs.at + theirs.count - ours.count,
			ours.count * sizeof(ours.at[0]));
		theirs.count = ours.count;
	}
	keep_addresses(victim->walk, &ours, &theirs, false);
	WRITE_ONCE(victim->ready, true);
}

static noinline void walk_from_nothing_here(struct victim *victim)
{
	victim->data = NULL;
	walk_itself(victim);
	barrier();
}

static noinline void walk_from_frame_here(struct victim *victim)
{
	victim->data = __builtin_frame_address(0);
	walk_itself(victim);
	barrier();
}

/* As those do who count how many of their own frames to leave out: the first is that of who asks. */
static noinline void walk_by_callback(struct victim *victim)
{
	unsigned int own = 0;

	begin();
	arch_stack_walk(store_address, &ours, current, NULL);
	c_arch_stack_walk(store_address, &theirs, current, NULL);
	/*
	 * The two calls return to two places here. In front, C's has a frame of its own where the
	 * compiler has not put unwind_start() into its caller.
	 */
	if (theirs.count > ours.count)
		own = theirs.count - ours.count;
	if (ours.count && own < 2 && theirs.at[own] - ours.at[0] < 0x40) {
		memmove(theirs.at, theirs.at + own, ours.count * sizeof(ours.at[0]));
		theirs.at[0] = ours.at[0];
		theirs.count -= own;
	}
	keep_addresses(victim->walk, &ours, &theirs, false);
	WRITE_ONCE(victim->ready, true);
}

static int by_callback(struct walk *walk)
{
	return look_at_thread(walk, walk_by_callback);
}

static int from_nothing(struct walk *walk)
{
	return look_at_thread(walk, walk_from_nothing_here);
}

static int from_first_frame(struct walk *walk)
{
	return look_at_thread(walk, walk_from_frame_here);
}

/* Another task: from where it was left, and from where its fourth frame lies. */

static void walk_other(struct walk *walk, struct task_struct *task)
{
	begin();
	arch_stack_walk(store_address, &ours, task, NULL);
	c_arch_stack_walk(store_address, &theirs, task, NULL);
	keep_addresses(walk, &ours, &theirs, false);
}

static void walk_other_from_frame(struct walk *walk, struct task_struct *task)
{
	unsigned long first;

	record(walk, task);
	if (walk->count < 4)
		return;
	first = walk->frames[3].slot;
	walk_from(task, NULL, (unsigned long *)first);
	keep_addresses(walk, &ours, &theirs, false);
}

static int other_from_nothing(struct walk *walk)
{
	walk->look = walk_other;
	return look_at_thread(walk, NULL);
}

static int other_from_frame(struct walk *walk)
{
	walk->look = walk_other_from_frame;
	return look_at_thread(walk, NULL);
}

/* From registers. */

static void walk_from_registers(struct walk *walk, const struct pt_regs *regs)
{
	begin();
	arch_stack_walk(store_address, &ours, current, (struct pt_regs *)regs);
	c_arch_stack_walk(store_address, &theirs, current, (struct pt_regs *)regs);
	keep_addresses(walk, &ours, &theirs, true);
}

static void walk_from_user_registers(struct walk *walk, const struct pt_regs *regs)
{
	walk_from(current, (struct pt_regs *)regs, NULL);
	keep_addresses(walk, &ours, &theirs, true);
}

static int from_interrupts_registers(struct walk *walk)
{
	expect_interrupt(walk, in_spin, walk_from_registers);
	return interrupt_thread(spin_for_interrupt, interrupt_by_timer);
}

static int from_nmis_registers(struct walk *walk)
{
	expect_interrupt(walk, in_spin, walk_from_registers);
	return interrupt_thread(spin_for_interrupt, interrupt_by_nmi);
}

static int from_user_registers(struct walk *walk)
{
	expect_interrupt(walk, in_user_mode, walk_from_user_registers);
	return interrupt_user(interrupt_by_timer);
}

/* perf's call chains. */

static struct {
	struct perf_callchain_entry entry;
	u64 addresses[MOST_FRAMES];
} chain;

static void keep_call_chain(struct walk *walk, struct pt_regs *regs, bool first_is_interrupted)
{
	struct perf_callchain_entry_ctx context = {
		.entry = &chain.entry, .max_stack = MOST_FRAMES,
	};
	u64 i;

	begin();
	chain.entry.nr = 0;
	perf_callchain_kernel(&context, regs);
	for (i = 0; i < chain.entry.nr; i++)
		store_address(&ours, chain.entry.ip[i]);
	if (first_is_interrupted)
		c_arch_stack_walk(store_address, &theirs, current, regs);
	else
		c_walk_from(store_address, &theirs, current, NULL, (unsigned long *)regs->sp);
	keep_addresses(walk, &ours, &theirs, first_is_interrupted);
}

/* A sample of the CPU's clock, in an interrupt. */
static void sample_comes(struct perf_event *event, struct perf_sample_data *data,
			 struct pt_regs *regs)
{
	struct walk *walk = event->overflow_handler_context;

	if (walk->done || !regs || !in_spin(regs))
		return;
	keep_call_chain(walk, regs, true);
	WRITE_ONCE(interrupted.seen, true);
}

static int chain_of_sample(struct walk *walk)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_SOFTWARE,
		.config = PERF_COUNT_SW_CPU_CLOCK,
		.size = sizeof(attr),
		.sample_period = 2 * NSEC_PER_MSEC,
		.pinned = 1,
	};
	struct victim victim = { .body = spin_for_interrupt };
	struct perf_event *event;
	int error;

	expect_interrupt(walk, in_spin, NULL);
	event = perf_event_create_kernel_counter(&attr, THERE, NULL, sample_comes, walk);
	if (IS_ERR(event))
		return PTR_ERR(event);
	error = start_victim(&victim, THERE);
	if (!error) {
		wait_until(&interrupted.seen);
		stop_victim(&victim);
	}
	perf_event_release_kernel(event);
	return error;
}

/* An event of software's: the registers are those of a caller, as far as they are of interest. */
static noinline void count_event(struct victim *victim)
{
	struct pt_regs regs = {};

	perf_fetch_caller_regs(&regs);
	keep_call_chain(victim->walk, &regs, false);
	WRITE_ONCE(victim->ready, true);
}

static noinline void cause_event(struct victim *victim)
{
	count_event(victim);
	barrier();
}

static int chain_of_event(struct walk *walk)
{
	return look_at_thread(walk, cause_event);
}

/* Walks that were kept. */

static int before_set_up(struct walk *walk)
{
	*walk = early_walks[BEFORE_SET_UP];
	return 0;
}

static int after_set_up(struct walk *walk)
{
	*walk = early_walks[AFTER_SET_UP];
	return 0;
}

const struct test_case start_cases[] = {
	{ "from nothing, by the best effort", from_nothing,
	  BOTH("walk_itself walk_from_nothing_here " THREAD_END) },
	{ "from nothing, by a callback", by_callback, BOTH("walk_by_callback " THREAD_END) },
	{ "from nothing, sleeping", other_from_nothing, BOTH(NAPS THREAD_END), .state = SLEEPING },
	{ "from nothing, preempted", other_from_nothing,
	  BOTH("__schedule preempt_schedule_irq ... spin " THREAD_END), .state = PREEMPTED },
	{ "from a first frame, by the best effort", from_first_frame, BOTH(THREAD_END) },
	/* It is where a return address lies: between the two words of a record. */
	{ "from a first frame, sleeping", other_from_frame,
	  { "outer victim_thread kthread ret_from_fork ret_from_fork_asm", THREAD_END },
	  .state = SLEEPING },
	{ "from registers, by the best effort", from_interrupts_registers,
	  BOTH("*spin_for_interrupt " THREAD_END) },
	{ "from registers of an NMI", from_nmis_registers,
	  BOTH("*spin_for_interrupt " THREAD_END) },
	{ "from registers of user mode", from_user_registers, BOTH("") },
	{ "perf's call chain of a sample", chain_of_sample,
	  BOTH("*spin_for_interrupt " THREAD_END) },
	{ "perf's call chain of an event", chain_of_event, BOTH("cause_event " THREAD_END) },
	/* With frame pointers there is nothing to set up. */
	{ "while the kernel starts, before the unwinder is set up", before_set_up,
	  { "record_early walk_before_set_up ... start_kernel x86_64_start_reservations "
	    "x86_64_start_kernel common_startup_64", "" },
	  { NULL, "the ORC tables are not set up" } },
	{ "while the kernel starts, in an initcall", after_set_up,
	  BOTH("record_early walk_after_set_up do_one_initcall ... kernel_init ret_from_fork "
	       "ret_from_fork_asm") },
	{}
};
