/* SPDX-License-Identifier: GPL-2.0-only */
/* A patch of both functions of the victim; NUMBER says which one it is. */
#include <linux/livepatch.h>
#include <linux/module.h>

#include "klp_victim.h"

static int patched_inner(void)
{
	return NUMBER;
}

static void patched_outer(void)
{
	victim_wait();
	pr_info("klp_victim: outer %d, inner %d\n", NUMBER, victim_inner());
}

static struct klp_func funcs[] = {
	{ .old_name = "victim_inner", .new_func = patched_inner },
	{ .old_name = "victim_outer", .new_func = patched_outer },
	{ }
};

static struct klp_object objs[] = {
	{ .name = "klp_victim", .funcs = funcs },
	{ }
};

static struct klp_patch patch = { .mod = THIS_MODULE, .objs = objs };

static int __init force_init(void)
{
	return klp_enable_patch(&patch);
}

static void __exit force_exit(void)
{
}

module_init(force_init);
module_exit(force_exit);
MODULE_DESCRIPTION("A patch of the victim");
MODULE_LICENSE("GPL");
MODULE_INFO(livepatch, "Y");
