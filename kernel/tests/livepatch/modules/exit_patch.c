// SPDX-License-Identifier: GPL-2.0-only
/*
 * Replaces what a task calls that exits and has left the lists of tasks: one called "unlisted" sleeps
 * there. What the function is for, to forget names in /proc before they are asked for again, can wait.
 */
#include <linux/kernel.h>
#include <linux/livepatch.h>
#include <linux/module.h>
#include <linux/sched.h>
#include <linux/string.h>

#include "stack.h"

static noinline void replacement(struct pid *pid)
{
	if (!strcmp(current->comm, "unlisted"))
		stack_wait();
	barrier();
}

static struct klp_func funcs[] = {
	{ .old_name = "proc_flush_pid", .new_func = replacement },
	{ }
};

static struct klp_object objects[] = {
	{ .funcs = funcs },
	{ }
};

static struct klp_patch patch = { .mod = THIS_MODULE, .objs = objects };

static int __init exit_patch_init(void)
{
	return klp_enable_patch(&patch);
}

static void __exit exit_patch_exit(void)
{
}

module_init(exit_patch_init);
module_exit(exit_patch_exit);
MODULE_DESCRIPTION("Replaces a function that tasks exit in");
MODULE_LICENSE("GPL");
MODULE_INFO(livepatch, "Y");
