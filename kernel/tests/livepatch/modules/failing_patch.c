// SPDX-License-Identifier: GPL-2.0-only
/*
 * A patch for which an allocation fails while it is enabled: the nth of all. It takes the place of
 * another one, and changes a function of the image and one of a module.
 */
#include <linux/kernel.h>
#include <linux/livepatch.h>
#include <linux/module.h>
#include <linux/sched.h>

static int nth;
module_param(nth, int, 0444);

/* How many allocations were missing to that. */
static int left;
module_param(left, int, 0444);

static noinline int new_show(void)
{
	return 0;
}

static noinline int new_bar(void)
{
	barrier();
	return 6;
}

static struct klp_func image_funcs[] = {
	{ .old_name = "cmdline_proc_show", .new_func = new_show },
	{ }
};

static struct klp_func module_funcs[] = {
	{ .old_name = "loop_bar", .new_func = new_bar },
	{ }
};

static struct klp_object objects[] = {
	{ .funcs = image_funcs },
	{ .name = "loop_target", .funcs = module_funcs },
	{ }
};

static struct klp_patch patch = { .mod = THIS_MODULE, .objs = objects, .replace = true };

static int __init failing_patch_init(void)
{
	int ret;

	WRITE_ONCE(current->fail_nth, nth);
	ret = klp_enable_patch(&patch);
	left = READ_ONCE(current->fail_nth);
	WRITE_ONCE(current->fail_nth, 0);
	return ret;
}

static void __exit failing_patch_exit(void)
{
}

module_init(failing_patch_init);
module_exit(failing_patch_exit);
MODULE_DESCRIPTION("A patch for which an allocation fails");
MODULE_LICENSE("GPL");
MODULE_INFO(livepatch, "Y");
