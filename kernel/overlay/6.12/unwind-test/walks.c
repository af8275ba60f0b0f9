// SPDX-License-Identifier: GPL-2.0-only
/*
 * Walks that are kept, compared with the C unwinder's and with what was expected.
 */
#include <linux/kallsyms.h>
#include <linux/printk.h>
#include <linux/sched/task_stack.h>
#include <linux/string.h>
#include <linux/wait.h>

#include "beside.h"
#include "early.h"

bool keep_frame(void *cookie, const struct stack_frame_seen *frame)
{
	struct walk *walk = cookie;

	if (walk->count == MOST_FRAMES)
		return false;
	walk->frames[walk->count++] = *frame;
	return true;
}

static bool keep_c_address(void *cookie, unsigned long address)
{
	struct walk *walk = cookie;

	if (walk->c_count == MOST_FRAMES)
		return false;
	walk->c_addresses[walk->c_count++] = address;
	return true;
}

/* Walks with both; the first frame is this function's if the task is current. */
noinline void record(struct walk *walk, struct task_struct *task)
{
	walk->count = 0;
	walk->c_count = 0;
	stack_verdict(task, keep_frame, walk, &walk->verdict);
	walk->c_result = c_arch_stack_walk_reliable(keep_c_address, walk, task);
	walk->done = true;
}

static bool is_record(unsigned long address)
{
	return address - (unsigned long)record < 0x200 ||
	       address - (unsigned long)record_early < 0x200;
}

static int record_resting_task(struct task_struct *task, void *data)
{
	struct walk *walk = data;

	if (task->on_cpu)
		return -EBUSY;
	if (walk->look)
		walk->look(walk, task);
	else
		record(walk, task);
	return 0;
}

/* The same of a task that is kept off its CPU meanwhile; false if it is on one. */
bool record_resting(struct walk *walk, struct task_struct *task)
{
	return !task_call_func(task, record_resting_task, walk);
}

bool store_address(void *cookie, unsigned long address)
{
	struct addresses *all = cookie;

	if (all->count == MOST_FRAMES)
		return false;
	all->at[all->count++] = address;
	return true;
}

/*
 * Addresses as a walk, to be judged as such: there is no verdict, so it is as if both were reliable.
 */
void keep_addresses(struct walk *walk, const struct addresses *ours, const struct addresses *theirs,
		    bool first_is_interrupted)
{
	unsigned int i;

	for (i = 0; i < ours->count; i++)
		walk->frames[i] = (struct stack_frame_seen){
			.address = ours->at[i],
			.number = i,
			.registers = !i && first_is_interrupted,
		};
	walk->count = ours->count;
	walk->verdict = (struct stack_verdict){ .reliable = true };
	walk->c_result = 0;
	walk->c_count = theirs->count;
	memcpy(walk->c_addresses, theirs->at, sizeof(theirs->at));
	walk->done = true;
}

/*
 * Why the two unwinders contradict each other, or NULL. Frames are compared where both are reliable.
 * Of current, each has its own first frames.
 */
const char *compare_with_c(const struct walk *walk, enum c_says c_says)
{
	unsigned int i = 0, skipped = 0;

	if (!walk->verdict.reliable || c_says == C_IS_WRONG)
		return NULL;
	if (walk->c_result)
		return c_says == C_REFUSES ? NULL : "reliable, but the C unwinder refuses it";
	if (c_says == C_REFUSES)
		return "the C unwinder was expected to refuse it";
	if (walk->count && is_record(walk->frames[0].address)) {
		/* The two calls there return to two places. */
		i = 1;
		while (skipped < walk->c_count && !is_record(walk->c_addresses[skipped]))
			skipped++;
	}
	if (walk->count + skipped != walk->c_count)
		return "another number of frames than the C unwinder's";
	for (; i < walk->count; i++) {
		if (walk->frames[i].address != walk->c_addresses[i + skipped])
			return "another frame than the C unwinder's";
	}
	return NULL;
}

/* Whether the comparison of a walk that both call reliable notices another frame, one less, a refusal. */
bool comparison_can_fail(struct walk *walk)
{
	unsigned long *last = &walk->c_addresses[walk->c_count - 1];
	bool can;

	if (!walk->c_count)
		return true;
	*last ^= 1;
	can = compare_with_c(walk, C_AGREES);
	*last ^= 1;
	walk->c_count--;
	can = can && compare_with_c(walk, C_AGREES);
	walk->c_count++;
	walk->c_result = !walk->c_result;
	can = can && compare_with_c(walk, C_AGREES);
	walk->c_result = !walk->c_result;
	return can;
}

/*
 * A frame's function as patterns name it. Of a task that has not run yet, where it starts: no call
 * returns there.
 */
static void name_frame(char *name, const struct walk *walk, unsigned int i)
{
	const struct stack_frame_seen *frame = &walk->frames[i];
	char symbol[KSYM_SYMBOL_LEN];
	bool starts = walk->count == 1 && walk->verdict.reliable;
	/* Copies of the tracer's entry have no name, or not always. */
	const char copy[] = "tracer's entry";

	if (frame->kind.length == strlen(copy) &&
	    !strncmp(frame->kind.text, copy, frame->kind.length)) {
		strscpy(name, "ftrace_trampoline", KSYM_NAME_LEN);
		return;
	}
	sprint_symbol_no_offset(symbol, frame->address - !(frame->registers || starts));
	/* No module's name, no ".constprop.0". */
	symbol[strcspn(symbol, " .")] = 0;
	snprintf(name, KSYM_NAME_LEN + 1, "%s%s", frame->registers ? "*" : "", symbol);
}

static bool matches_from(const struct walk *walk, unsigned int at, const char *pattern)
{
	char name[KSYM_NAME_LEN + 1];
	size_t length;

	for (;;) {
		while (*pattern == ' ')
			pattern++;
		if (!*pattern)
			return at == walk->count;
		length = strcspn(pattern, " ");
		if (length == 3 && !strncmp(pattern, "...", 3)) {
			for (; at <= walk->count; at++) {
				if (matches_from(walk, at, pattern + 3))
					return true;
			}
			return false;
		}
		if (at == walk->count)
			return false;
		name_frame(name, walk, at);
		if (length > 1 && pattern[length - 1] == '*') {
			if (strncmp(name, pattern, length - 1))
				return false;
		} else if (strlen(name) != length || strncmp(name, pattern, length)) {
			return false;
		}
		at++;
		pattern += length;
	}
}

bool matches(const struct walk *walk, const char *pattern)
{
	return matches_from(walk, 0, pattern);
}

/* Prints a walk for people. */
void show_walk(const struct walk *walk)
{
	char name[KSYM_NAME_LEN + 1];
	unsigned int i;

	for (i = 0; i < walk->count; i++) {
		name_frame(name, walk, i);
		pr_info("#   %s (%.*s)\n", name, walk->frames[i].kind.length,
			walk->frames[i].kind.text);
	}
	if (compare_with_c(walk, C_AGREES)) {
		for (i = 0; i < walk->c_count; i++)
			pr_info("#   C: %pS\n", (void *)walk->c_addresses[i]);
	}
	pr_info("#   %s: %.*s; C: %d\n", walk->verdict.reliable ? "reliable" : "unreliable",
		walk->verdict.why.length, walk->verdict.why.text, walk->c_result);
}
