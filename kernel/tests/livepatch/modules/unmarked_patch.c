// SPDX-License-Identifier: GPL-2.0-only
/*
 * A patch in a module that does not say that it is a live patch.
 */
#include <linux/livepatch.h>
#include <linux/module.h>

static noinline int replacement(void)
{
	return 0;
}

static struct klp_func funcs[] = {
	{ .old_name = "cmdline_proc_show", .new_func = replacement },
	{ }
};

static struct klp_object objects[] = {
	{ .funcs = funcs },
	{ }
};

static struct klp_patch patch = { .mod = THIS_MODULE, .objs = objects };

static int __init unmarked_patch_init(void)
{
	return klp_enable_patch(&patch);
}

static void __exit unmarked_patch_exit(void)
{
}

module_init(unmarked_patch_init);
module_exit(unmarked_patch_exit);
MODULE_DESCRIPTION("A patch without the mark of one");
MODULE_LICENSE("GPL");
