// SPDX-License-Identifier: GPL-2.0-only
/*
 * Walks while the kernel starts, kept for the module: it judges them when it is there. Built in.
 */
#include <linux/export.h>
#include <linux/init.h>
#include <linux/sched.h>

#include "beside.h"
#include "early.h"

struct walk early_walks[EARLY_WALKS];
EXPORT_SYMBOL_GPL(early_walks);

static bool keep_early_frame(void *cookie, const struct stack_frame_seen *frame)
{
	struct walk *walk = cookie;

	if (walk->count == MOST_FRAMES)
		return false;
	walk->frames[walk->count++] = *frame;
	return true;
}

static bool keep_early_c_address(void *cookie, unsigned long address)
{
	struct walk *walk = cookie;

	if (walk->c_count == MOST_FRAMES)
		return false;
	walk->c_addresses[walk->c_count++] = address;
	return true;
}

noinline void record_early(struct walk *walk)
{
	stack_verdict(current, keep_early_frame, walk, &walk->verdict);
	walk->c_result = c_arch_stack_walk_reliable(keep_early_c_address, walk, current);
	walk->done = true;
}
EXPORT_SYMBOL_GPL(record_early);

/* Before the unwinders are set up; named on the command line. */
static int __init walk_before_set_up(char *value)
{
	record_early(&early_walks[BEFORE_SET_UP]);
	return 0;
}
early_param("unwind_test_early", walk_before_set_up);

/* After that, when there is one CPU and one task that is not idle. */
static int __init walk_after_set_up(void)
{
	record_early(&early_walks[AFTER_SET_UP]);
	return 0;
}
early_initcall(walk_after_set_up);
