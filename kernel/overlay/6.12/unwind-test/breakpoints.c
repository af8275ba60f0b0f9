// SPDX-License-Identifier: GPL-2.0-only
/*
 * Breakpoints of the processor's, which stop at any instruction: the first one of a function, and one
 * on the stack for entries, where no other breakpoint may be.
 */
#include <linux/err.h>
#include <linux/hw_breakpoint.h>
#include <linux/kallsyms.h>
#include <linux/perf_event.h>
#include <linux/sched/task_stack.h>
#include <linux/smp.h>
#include <asm/debugreg.h>

#include "contexts.h"

static noinline notrace void stopped_at(struct victim *victim)
{
	barrier();
}

static noinline void call_stopped_at(struct victim *victim)
{
	stopped_at(victim);
	WRITE_ONCE(victim->ready, true);
}

static void breakpoint_comes(struct perf_event *event, struct perf_sample_data *data,
			     struct pt_regs *regs)
{
	if (interrupted.seen || !interrupted.is_place(regs))
		return;
	interrupted.look(interrupted.walk, regs);
	WRITE_ONCE(interrupted.seen, true);
	barrier();
}

static struct perf_event *set_breakpoint(void)
{
	struct perf_event_attr attr;

	hw_breakpoint_init(&attr);
	attr.bp_addr = (unsigned long)stopped_at;
	attr.bp_len = HW_BREAKPOINT_LEN_8;
	attr.bp_type = HW_BREAKPOINT_X;
	return perf_event_create_kernel_counter(&attr, THERE, NULL, breakpoint_comes, NULL);
}

static bool at_first_instruction(const struct pt_regs *regs)
{
	return regs->ip == (unsigned long)stopped_at;
}

static int look_at_first_instruction(struct walk *walk)
{
	struct perf_event *event;
	int error;

	expect_interrupt(walk, at_first_instruction, NULL);
	event = set_breakpoint();
	if (IS_ERR(event))
		return PTR_ERR(event);
	error = look_at_thread(walk, call_stopped_at);
	perf_event_release_kernel(event);
	return error;
}

/*
 * Entries from user mode begin on a stack of their own, until sync_regs() has moved the registers to
 * the task's. The kernel allows no breakpoint there, so that one is moved which it has allowed.
 */

static unsigned long on_entry_stack;

static bool at_entry_stack(const struct pt_regs *regs)
{
	return regs->ip == on_entry_stack && current == interrupted.task &&
	       regs->sp - (unsigned long)task_stack_page(current) >= THREAD_SIZE;
}

static void move_breakpoint(void *to)
{
	native_set_debugreg(0, (unsigned long)to);
}

static void look_and_move_back(struct walk *walk, const struct pt_regs *regs)
{
	record(walk, current);
	move_breakpoint(stopped_at);
}

static int move_and_wait(void)
{
	smp_call_function_single(THERE, move_breakpoint, (void *)on_entry_stack, 1);
	wait_until(&interrupted.seen);
	smp_call_function_single(THERE, move_breakpoint, stopped_at, 1);
	return 0;
}

static int look_from_entry_stack(struct walk *walk, const char *function)
{
	struct perf_event *event;
	int error;

	on_entry_stack = kallsyms_lookup_name(function);
	if (!on_entry_stack)
		return -ENOENT;
	expect_interrupt(walk, at_entry_stack, look_and_move_back);
	event = set_breakpoint();
	if (IS_ERR(event))
		return PTR_ERR(event);
	error = interrupt_user(move_and_wait);
	perf_event_release_kernel(event);
	return error;
}

static int look_from_entry(struct walk *walk)
{
	return look_from_entry_stack(walk, "error_entry");
}

static int look_from_end_of_entry(struct walk *walk)
{
	return look_from_entry_stack(walk, "sync_regs");
}

#define STOPPED "record look_here breakpoint_comes ..."
#define MOVED "record look_and_move_back breakpoint_comes ..."
#define BY_EXCEPTION "interrupted in the kernel by an exception"

const struct test_case breakpoint_cases[] = {
	{ "at the first instruction of a function", look_at_first_instruction,
	  { STOPPED, STOPPED " asm_exc_debug *stopped_at call_stopped_at " THREAD_END },
	  { BY_EXCEPTION, NULL } },
	{ "on the stack for entries", look_from_entry,
	  { MOVED, MOVED " asm_exc_debug *error_entry asm_*" },
	  { BY_EXCEPTION, "the walk ended where this kind of task does not end" } },
	/* By then the caller has more on the stack than its own ORC entry says. */
	{ "on the stack for entries, at its end", look_from_end_of_entry,
	  { MOVED, MOVED " asm_exc_debug *sync_regs asm_*" },
	  { BY_EXCEPTION, "saved registers that no processor saves" } },
	{}
};
