// SPDX-License-Identifier: GPL-2.0-only
/*
 * Breakpoints. Those of the processor's stop at any instruction: the first one of a function, and one
 * on the stack for entries, where no other breakpoint may be. Those of probes are instructions, and
 * their handlers are called before and behind the instruction in whose place they are.
 */
#include <linux/err.h>
#include <linux/hw_breakpoint.h>
#include <linux/kallsyms.h>
#include <linux/kprobes.h>
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

/*
 * Functions that begin with an instruction that moves the stack. Of a single byte: before and behind it
 * the saved address is the same, and the stack is not. Of two: behind it no breakpoint stands in front
 * of the address.
 */
void pushes(struct victim *victim);
void pushes_long(struct victim *victim);

asm(".pushsection .text\n"
    ".type pushes, @function\n"
    "pushes:\n"
    ASM_ENDBR
    "	push %rbx\n"
    "	pop %rbx\n"
    ASM_RET
    ".size pushes, . - pushes\n"
    ".type pushes_long, @function\n"
    "pushes_long:\n"
    ASM_ENDBR
    "	push %r12\n"
    "	pop %r12\n"
    ASM_RET
    ".size pushes_long, . - pushes_long\n"
    ".popsection\n");

static noinline void call_pushes(struct victim *victim)
{
	interrupted.task = current;
	pushes(victim);
	pushes_long(victim);
	interrupted.task = NULL;
	WRITE_ONCE(victim->ready, true);
}

static __always_inline void look_once(void)
{
	if (interrupted.task != current || interrupted.seen)
		return;
	interrupted.seen = true;
	record(interrupted.walk, current);
	barrier();
}

static int before_push(struct kprobe *probe, struct pt_regs *regs)
{
	look_once();
	return 0;
}

static void behind_push(struct kprobe *probe, struct pt_regs *regs, unsigned long flags)
{
	look_once();
}

static void nothing_behind(struct kprobe *probe, struct pt_regs *regs, unsigned long flags)
{
}

static unsigned int push_offset = IS_ENABLED(CONFIG_X86_KERNEL_IBT) ? 4 : 0;

static int look_from_push(struct walk *walk, void *function, kprobe_pre_handler_t before,
			  kprobe_post_handler_t behind)
{
	struct kprobe probe = {
		.addr = function + READ_ONCE(push_offset),
		.pre_handler = before,
		.post_handler = behind,
	};
	int error;

	expect_interrupt(walk, NULL, NULL);
	error = register_kprobe(&probe);
	if (error)
		return error;
	error = look_at_thread(walk, call_pushes);
	unregister_kprobe(&probe);
	return error;
}

/* With something to call behind it, the breakpoint is not made a jump. */
static int look_from_before_push(struct walk *walk)
{
	return look_from_push(walk, pushes, before_push, nothing_behind);
}

static int look_from_behind_push(struct walk *walk)
{
	return look_from_push(walk, pushes, NULL, behind_push);
}

static int look_from_behind_long_push(struct walk *walk)
{
	return look_from_push(walk, pushes_long, NULL, behind_push);
}

#define STOPPED "record look_here breakpoint_comes ..."
#define MOVED "record look_and_move_back breakpoint_comes ..."
#define BY_EXCEPTION "interrupted in the kernel by an exception"
#define BY_PROBE "asm_exc_int3 "
#define PUSHES "call_pushes " THREAD_END
#define BY_BREAKPOINT "interrupted in the kernel by a breakpoint"

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
	/* C's takes the entry of the address that was saved. */
	{ "in a probe's handler, before a push", look_from_before_push,
	  { "record before_push ...", "record before_push ... " BY_PROBE "*pushes " PUSHES },
	  { BY_BREAKPOINT, NULL }, { C_AGREES, C_REFUSES } },
	{ "in a probe's handler, behind a push", look_from_behind_push,
	  { "record behind_push ...", "record behind_push ... " BY_PROBE "*pushes " PUSHES },
	  { BY_BREAKPOINT, NULL } },
	{ "in a probe's handler, behind a push of two bytes", look_from_behind_long_push,
	  { "record behind_push ...", "record behind_push ... " BY_PROBE "*pushes_long " PUSHES },
	  { BY_BREAKPOINT, NULL } },
	{}
};
