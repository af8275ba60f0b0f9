/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A patch that replaces the function that threads sleep in by one that sleeps, too. There are several
 * of them, alike but for their names.
 */
#include <linux/kernel.h>
#include <linux/livepatch.h>
#include <linux/module.h>

#include "stack.h"

static noinline void replacement(void)
{
	stack_wait();
	barrier();
}

static struct klp_func funcs[] = {
	{ .old_name = "stack_sleep", .new_func = replacement },
	{ }
};

static struct klp_object objects[] = {
	{ .name = "stack_target", .funcs = funcs },
	{ }
};

static struct klp_patch patch = { .mod = THIS_MODULE, .objs = objects };

static int __init stack_patch_init(void)
{
	return klp_enable_patch(&patch);
}

static void __exit stack_patch_exit(void)
{
}

module_init(stack_patch_init);
module_exit(stack_patch_exit);
MODULE_DESCRIPTION("Replaces the function that threads sleep in");
MODULE_LICENSE("GPL");
MODULE_INFO(livepatch, "Y");
