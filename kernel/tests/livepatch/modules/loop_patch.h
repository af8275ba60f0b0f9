/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A patch of bar(), and of foo() because its calls of bar() belong together. There are several of
 * them; each says before it includes this
 *
 * BAR_VALUE	what its bar() gives
 * REPLACES	whether it replaces all patches before it
 */
#include <linux/kernel.h>
#include <linux/livepatch.h>
#include <linux/module.h>

#include "loop.h"

static noinline int new_bar(void)
{
	barrier();
	return BAR_VALUE;
}

static noinline void new_foo(void)
{
	/* Calls of the old name are those that are patched. */
	LOOP_PASS(loop_bar);
}

static struct klp_func funcs[] = {
	{ .old_name = "loop_bar", .new_func = new_bar },
	{ .old_name = "loop_foo", .new_func = new_foo },
	{ }
};

static struct klp_object objects[] = {
	{ .name = "loop_target", .funcs = funcs },
	{ }
};

static struct klp_patch patch = { .mod = THIS_MODULE, .objs = objects, .replace = REPLACES };

static int __init loop_patch_init(void)
{
	return klp_enable_patch(&patch);
}

static void __exit loop_patch_exit(void)
{
}

module_init(loop_patch_init);
module_exit(loop_patch_exit);
MODULE_DESCRIPTION("Patches a function and the one that loops over it");
MODULE_LICENSE("GPL");
MODULE_INFO(livepatch, "Y");
