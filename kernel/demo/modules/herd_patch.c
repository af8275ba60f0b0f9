// SPDX-License-Identifier: GPL-2.0-only
/* The herd is one of goats, from the first to the last that is counted. */
#include <linux/kernel.h>
#include <linux/livepatch.h>
#include <linux/module.h>

#include "herd.h"

static noinline const char *goats_next(void)
{
	barrier();
	return "goat";
}

static noinline int goats_count(char *page)
{
	/* Calls of the old name are those that are patched. */
	return HERD_COUNT(page, herd_next);
}

static struct klp_func funcs[] = {
	{ .old_name = "herd_next", .new_func = goats_next },
	{ .old_name = "herd_count", .new_func = goats_count },
	{ }
};

static struct klp_object objects[] = {
	{ .name = "herd", .funcs = funcs },
	{ }
};

static struct klp_patch patch = { .mod = THIS_MODULE, .objs = objects };

static int __init herd_patch_init(void)
{
	return klp_enable_patch(&patch);
}

static void __exit herd_patch_exit(void)
{
}

module_init(herd_patch_init);
module_exit(herd_patch_exit);
MODULE_DESCRIPTION("Makes goats of sheep");
MODULE_LICENSE("GPL");
MODULE_INFO(livepatch, "Y");
