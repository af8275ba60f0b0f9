// SPDX-License-Identifier: GPL-2.0-only
/*
 * Replaces the function that threads sleep in by one that ends with a call of another function of this
 * module, which takes its place on the stack.
 */
#include <linux/kernel.h>
#include <linux/livepatch.h>
#include <linux/module.h>

#include "stack.h"

static noinline void tail_helper(void)
{
	stack_wait();
	barrier();
}

static noinline void tail_replacement(void)
{
	tail_helper();
}

static struct klp_func funcs[] = {
	{ .old_name = "stack_sleep", .new_func = tail_replacement },
	{ }
};

static struct klp_object objects[] = {
	{ .name = "stack_target", .funcs = funcs },
	{ }
};

static struct klp_patch patch = { .mod = THIS_MODULE, .objs = objects };

static int __init tail_patch_init(void)
{
	return klp_enable_patch(&patch);
}

static void __exit tail_patch_exit(void)
{
}

module_init(tail_patch_init);
module_exit(tail_patch_exit);
MODULE_DESCRIPTION("Replaces a function by one that ends with a call");
MODULE_LICENSE("GPL");
MODULE_INFO(livepatch, "Y");
