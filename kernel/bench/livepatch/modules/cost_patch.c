// SPDX-License-Identifier: GPL-2.0-only
/*
 * Replaces functions of cost_target by such that do the same. It is enabled by a parameter, not when
 * the module is loaded, so that what loading costs is not in what is measured.
 */
#include <linux/kernel.h>
#include <linux/livepatch.h>
#include <linux/module.h>

#include "cost.h"

static COST_NOTHING(new_called)
static COST_NOTHING(new_other)

static noinline void new_held(void)
{
	cost_wait();
	barrier();
}

static struct klp_func funcs[] = {
	{ .old_name = "cost_called", .new_func = new_called },
	{ .old_name = "cost_held", .new_func = new_held },
	{ .old_name = "cost_other", .new_func = new_other },
	{ }
};

static struct klp_object objects[] = {
	{ .name = "cost_target", .funcs = funcs },
	{ }
};

static struct klp_patch patch = { .mod = THIS_MODULE, .objs = objects };

static int set_enable(const char *text, const struct kernel_param *kp)
{
	return klp_enable_patch(&patch);
}

static const struct kernel_param_ops enable_ops = { .set = set_enable };

module_param_cb(enable, &enable_ops, NULL, 0200);

static int __init cost_patch_init(void)
{
	return 0;
}

static void __exit cost_patch_exit(void)
{
}

module_init(cost_patch_init);
module_exit(cost_patch_exit);
MODULE_DESCRIPTION("Replaces functions by such that do the same");
MODULE_LICENSE("GPL");
MODULE_INFO(livepatch, "Y");
