// SPDX-License-Identifier: GPL-2.0-only
/*
 * What walks cost, by both unwinders in turns, over the stacks of threads that sleep at two depths:
 * the difference between these is the cost of the frames in between.
 */
#include <linux/kthread.h>
#include <linux/ktime.h>
#include <linux/slab.h>
#include <linux/stacktrace.h>

#include "beside.h"
#include "test.h"

#define SHALLOW 4
#define DEEP 44

static void descend_body(struct victim *victim)
{
	descend(victim, (unsigned long)victim->data, nap);
	barrier();
}

static bool count_address(void *cookie, unsigned long address)
{
	(*(unsigned long *)cookie)++;
	return true;
}

enum how { RELIABLE, BEST_EFFORT, HOWS };

static const char * const names[HOWS] = { "reliable", "best-effort" };

static u64 once(struct task_struct *task, enum how how, bool c, unsigned long *frames)
{
	u64 start;

	*frames = 0;
	start = ktime_get_ns();
	if (how == RELIABLE) {
		if (c)
			c_arch_stack_walk_reliable(count_address, frames, task);
		else
			arch_stack_walk_reliable(count_address, frames, task);
	} else {
		if (c)
			c_arch_stack_walk(count_address, frames, task, NULL);
		else
			arch_stack_walk(count_address, frames, task, NULL);
	}
	return ktime_get_ns() - start;
}

/* The least of many: everything else that a machine does only adds to it. */
static u64 least(struct task_struct *task, enum how how, bool c, unsigned long rounds,
		 unsigned long *frames)
{
	u64 least = U64_MAX, batch;
	unsigned long i, j;

	for (i = 0; i < rounds; i++) {
		batch = 0;
		preempt_disable();
		for (j = 0; j < 16; j++)
			batch += once(task, how, c, frames);
		preempt_enable();
		least = min(least, batch / 16);
	}
	return least;
}

int measure_cost(unsigned long rounds)
{
	struct victim shallow = { .body = descend_body, .data = (void *)SHALLOW };
	struct victim deep = { .body = descend_body, .data = (void *)DEEP };
	u64 time[HOWS][2][2];
	unsigned long frames[HOWS][2][2];
	enum how how;
	int error, c;

	error = start_victim(&shallow, 1);
	if (error)
		return error;
	error = start_victim(&deep, 1);
	if (error) {
		stop_victim(&shallow);
		return error;
	}
	if (!wait_asleep(shallow.task) || !wait_asleep(deep.task))
		error = -ETIMEDOUT;
	for (how = 0; how < HOWS && !error; how++) {
		for (c = 0; c < 2; c++) {
			time[how][c][0] = least(shallow.task, how, c, rounds, &frames[how][c][0]);
			time[how][c][1] = least(deep.task, how, c, rounds, &frames[how][c][1]);
		}
		pr_info("# cost %s frames %lu %lu ours %llu %llu c %llu %llu\n", names[how],
			frames[how][0][0], frames[how][0][1], time[how][0][0], time[how][0][1],
			time[how][1][0], time[how][1][1]);
		if (frames[how][0][0] != frames[how][1][0] ||
		    frames[how][0][1] != frames[how][1][1])
			error = -EINVAL;
	}
	stop_victim(&shallow);
	stop_victim(&deep);
	return error;
}
