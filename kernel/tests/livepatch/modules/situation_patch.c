// SPDX-License-Identifier: GPL-2.0-only
/*
 * Replaces the function that tasks are in.
 */
#include <linux/kernel.h>
#include <linux/livepatch.h>
#include <linux/module.h>

#include "situation.h"

static noinline int new_pass(enum situation situation, const char __user *page)
{
	situation_take(situation, page);
	barrier();
	return 2;
}

static struct klp_func funcs[] = {
	{ .old_name = "situation_pass", .new_func = new_pass },
	{ }
};

static struct klp_object objects[] = {
	{ .name = "situation_target", .funcs = funcs },
	{ }
};

static struct klp_patch patch = { .mod = THIS_MODULE, .objs = objects };

static int __init situation_patch_init(void)
{
	return klp_enable_patch(&patch);
}

static void __exit situation_patch_exit(void)
{
}

module_init(situation_patch_init);
module_exit(situation_patch_exit);
MODULE_DESCRIPTION("Replaces the function that tasks are in");
MODULE_LICENSE("GPL");
MODULE_INFO(livepatch, "Y");
