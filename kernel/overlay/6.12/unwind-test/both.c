// SPDX-License-Identifier: GPL-2.0-only
/*
 * Both unwinders over every task, while these fork, fault, sleep and are traced: what one says is
 * held against what the other says.
 */
#include <linux/bitmap.h>
#include <linux/delay.h>
#include <linux/hash.h>
#include <linux/jhash.h>
#include <linux/kallsyms.h>
#include <linux/kthread.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/sched/task_stack.h>
#include <linux/slab.h>

#include "test.h"

/* More reasons than there are. */
#define MOST_REASONS 64
/* More places than there should be at which ours is stricter; what comes last is counted together. */
#define MOST_PLACES 16

struct counts {
	unsigned long walks, running, both_reliable, both_refuse, frames;
	/* Walks of tasks that had run since they were looked at last. */
	unsigned long moved;
	/* Stacks that were not seen before, by a hash of their addresses. */
	unsigned long different;
	unsigned long *seen;
	/* By the reason of ours. */
	unsigned long only_c_reliable[MOST_REASONS], refused[MOST_REASONS];
	/* Where ours was lost and C's was not, and how often. */
	struct {
		unsigned long address, count;
		struct stack_words kind;
	} stricter[MOST_PLACES];
	/* Failures. */
	unsigned long only_ours_reliable, other_frames, too_strict, blind;
};

/* Tasks that are told apart by their numbers; two with one place only look as if they had run. */
#define PLACES 4096

struct look {
	struct walk *walk;
	struct counts *counts;
	unsigned int shown;
	/* Looks at all tasks so far; and how often a task had run when it was looked at. */
	unsigned int round;
	unsigned long *runs;
};

/* 2^22 bits: of a hundred thousand different stacks some hundreds are taken for others. */
#define SEEN_BITS 22

static void note_stack(struct counts *counts, const struct walk *walk)
{
	u32 hash = walk->verdict.reason;
	unsigned int i;

	for (i = 0; i < walk->count; i++)
		hash = jhash_2words(walk->frames[i].address, walk->frames[i].slot, hash);
	if (!__test_and_set_bit(hash >> (32 - SEEN_BITS), counts->seen))
		counts->different++;
}

static void count_stricter(struct counts *counts, const struct walk *walk)
{
	unsigned long address = walk->verdict.lost_at.address;
	unsigned int i = 0;

	while (i < MOST_PLACES - 1 && counts->stricter[i].count &&
	       counts->stricter[i].address != address)
		i++;
	counts->stricter[i].address = address;
	counts->stricter[i].kind = walk->verdict.lost_at.kind;
	counts->stricter[i].count++;
}

static bool is_called(struct stack_words words, const char *name)
{
	return words.length == strlen(name) && !strncmp(words.text, name, words.length);
}

#define TRACED "the function tracer's entry, which may go on elsewhere"
#define KEEPS_NO_FRAME "text that keeps no frame, says the validator"

static bool is_in_function(unsigned long address, const char *function)
{
	char name[KSYM_SYMBOL_LEN];

	snprintf(name, sizeof(name), "%ps", (void *)address);
	return !strcmp(name, function);
}

/*
 * Whether ours is stricter than C's for a known reason: the tracer's entry, whose handlers may choose
 * where it goes on. The walk was lost in it, or in a copy of it, called or interrupted. With frame
 * pointers also where the graph tracer sends returns: it makes no record for whoever is returned to,
 * whom C leaves out.
 */
static bool is_known_difference(const struct walk *walk)
{
	const struct stack_frame_seen *lost = &walk->verdict.lost_at;
	unsigned long begin = kallsyms_lookup_name("ftrace_caller");
	unsigned long end = kallsyms_lookup_name("ftrace_regs_caller_end");

	if (UNWINDER == FRAME_POINTERS && is_called(walk->verdict.why, KEEPS_NO_FRAME))
		return is_in_function(lost->address, "return_to_handler");
	return is_called(walk->verdict.why, TRACED) &&
	       (is_called(lost->kind, "tracer's entry") ||
		is_called(lost->kind, "interrupted") ||
		(begin && lost->address - begin < end - begin));
}

/* What is taken for the known difference and is none; NULL for nothing. */
static const char *excuse_is_too_wide(void)
{
	static struct walk walk;
	const struct stack_words traced = { TRACED, sizeof(TRACED) - 1 };
	const struct stack_words entry = { "tracer's entry", 14 }, call = { "call", 4 };

	walk.verdict.why = traced;
	walk.verdict.lost_at.kind = entry;
	if (!is_known_difference(&walk))
		return "no tracer's entry";
	walk.verdict.why = (struct stack_words){ "code that was made at run time", 30 };
	if (is_known_difference(&walk))
		return "another reason";
	walk.verdict.why = traced;
	walk.verdict.lost_at.kind = call;
	walk.verdict.lost_at.address = (unsigned long)schedule;
	if (is_known_difference(&walk))
		return "another place";
	walk.verdict.why = (struct stack_words){ KEEPS_NO_FRAME, sizeof(KEEPS_NO_FRAME) - 1 };
	if (is_known_difference(&walk))
		return "any text that keeps no frame";
	walk.verdict.lost_at.address = kallsyms_lookup_name("return_to_handler") + 1;
	if (is_known_difference(&walk) != (UNWINDER == FRAME_POINTERS))
		return "the graph tracer's returns";
	return NULL;
}

static void count_walk(struct look *look, struct task_struct *task)
{
	struct counts *counts = look->counts;
	struct walk *walk = look->walk;
	unsigned int reason = min(walk->verdict.reason, MOST_REASONS - 1);

	counts->walks++;
	counts->frames += walk->count;
	note_stack(counts, walk);
	if (walk->verdict.reliable && !walk->c_result) {
		/* Now and then whether the comparison is one. */
		if (!(counts->both_reliable++ & 1023))
			counts->blind += !comparison_can_fail(walk);
		if (!compare_with_c(walk, C_AGREES))
			return;
		counts->other_frames++;
	} else if (walk->verdict.reliable) {
		counts->only_ours_reliable++;
	} else {
		counts->refused[reason]++;
		if (walk->c_result) {
			counts->both_refuse++;
			return;
		}
		counts->only_c_reliable[reason]++;
		count_stricter(counts, walk);
		if (is_known_difference(walk))
			return;
		counts->too_strict++;
	}
	if (look->shown++ < 5) {
		pr_info("# %s, task %s:\n",
			!walk->verdict.reliable ? "only C is reliable" :
			walk->c_result ? "C refuses" : "other frames", task->comm);
		show_walk(walk);
	}
}

/* Called with the task held where it is; others may be running. */
static int look_at_task(struct task_struct *task, void *data)
{
	struct look *look = data;
	unsigned long *place, runs;

	if (task->on_cpu) {
		look->counts->running++;
		return 0;
	}
	place = &look->runs[hash_32(task->pid ^ task_cpu(task) * !task->pid, ilog2(PLACES))];
	runs = ((unsigned long)task->pid << 32) + (u32)(task->nvcsw + task->nivcsw) + 1;
	/* Those that have not run in between are the same as before: not in every round. */
	if (*place == runs && look->round % 8)
		return 0;
	look->counts->moved += *place != runs;
	*place = runs;
	record(look->walk, task);
	count_walk(look, task);
	return 0;
}

/* Threads that are preempted all the time, and some that come and go. */

static int busy_thread(void *data)
{
	while (!kthread_should_stop()) {
		yield();
		usleep_range(10, 50);
	}
	return 0;
}

static void spin_body(struct victim *victim)
{
	unsigned long i;

	while (!READ_ONCE(victim->stop)) {
		for (i = 0; i < 1000; i++)
			cpu_relax();
		cond_resched();
	}
}

#define THREADS 24

int walk_with_both(unsigned long walks)
{
	struct look look = {};
	struct task_struct *group, *task, *busy[THREADS] = {};
	struct victim *victims;
	struct counts *counts;
	const char *wide;
	unsigned int i;
	int error = -ENOMEM;

	look.walk = kzalloc(sizeof(*look.walk), GFP_KERNEL);
	look.counts = counts = kzalloc(sizeof(*counts), GFP_KERNEL);
	victims = kcalloc(4, sizeof(*victims), GFP_KERNEL);
	if (!look.walk || !counts || !victims)
		goto free;
	look.runs = kcalloc(PLACES, sizeof(*look.runs), GFP_KERNEL);
	if (!look.runs)
		goto free;
	counts->seen = bitmap_zalloc(1UL << SEEN_BITS, GFP_KERNEL | __GFP_NOWARN);
	if (!counts->seen)
		goto free;
	for (i = 0; i < THREADS; i++)
		busy[i] = kthread_run(busy_thread, NULL, "unwind_busy");
	for (i = 0; i < 4; i++) {
		victims[i].body = spin_body;
		if (start_victim(&victims[i], i & 1))
			victims[i].task = NULL;
	}
	/*
	 * In front of those that it looks at, of which there are hundreds; it sleeps after each look
	 * at all of them, so that they get on.
	 */
	set_user_nice(current, MIN_NICE);
	while (counts->walks < walks) {
		rcu_read_lock();
		for_each_process_thread(group, task) {
			if (!try_get_task_stack(task))
				continue;
			task_call_func(task, look_at_task, &look);
			put_task_stack(task);
		}
		rcu_read_unlock();
		for_each_online_cpu(i)
			task_call_func(idle_task(i), look_at_task, &look);
		look.round++;
		usleep_range(1000, 2000);
	}
	set_user_nice(current, 0);
	for (i = 0; i < 4; i++) {
		if (victims[i].task)
			stop_victim(&victims[i]);
	}
	for (i = 0; i < THREADS; i++) {
		if (!IS_ERR_OR_NULL(busy[i]))
			kthread_stop(busy[i]);
	}

	pr_info("# walks %lu, of tasks that had run in between %lu, different stacks %lu\n",
		counts->walks, counts->moved, counts->different);
	pr_info("# frames %lu, running %lu\n", counts->frames, counts->running);
	pr_info("# both reliable %lu, both refuse %lu\n", counts->both_reliable,
		counts->both_refuse);
	pr_info("# only ours reliable %lu, other frames %lu, only C's reliable without an excuse %lu\n",
		counts->only_ours_reliable, counts->other_frames, counts->too_strict);
	for (i = 0; i < MOST_REASONS; i++) {
		struct stack_words words = stack_verdict_reason(i);

		if (counts->refused[i])
			pr_info("# refused %lu, of which C calls reliable %lu: %.*s\n",
				counts->refused[i], counts->only_c_reliable[i], words.length,
				words.text);
	}
	for (i = 0; i < MOST_PLACES && counts->stricter[i].count; i++)
		pr_info("# only C reliable %lu, ours is lost at %pS (%.*s)\n",
			counts->stricter[i].count, (void *)counts->stricter[i].address,
			counts->stricter[i].kind.length, counts->stricter[i].kind.text);
	if (counts->blind)
		pr_info("# changes that the comparison does not notice: %lu\n", counts->blind);
	wide = excuse_is_too_wide();
	if (wide)
		pr_info("# the excuse for what only C calls reliable is wrong about %s\n", wide);
	error = counts->only_ours_reliable || counts->other_frames || counts->too_strict ||
		counts->blind || wide ? -EINVAL : 0;
free:
	kfree(look.runs);
	if (counts)
		bitmap_free(counts->seen);
	kfree(victims);
	kfree(counts);
	kfree(look.walk);
	return error;
}
