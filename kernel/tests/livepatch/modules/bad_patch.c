// SPDX-License-Identifier: GPL-2.0-only
/*
 * Patches that must be refused, one for each kind of mistake; the parameter says which. The last one
 * has no mistake, and may also be enabled by a parameter, while the module is not all loaded yet.
 */
#include <linux/kernel.h>
#include <linux/livepatch.h>
#include <linux/module.h>
#include <linux/string.h>

static char *kind = "";
module_param(kind, charp, 0444);

static noinline int replacement(void)
{
	return 0;
}

/* Longer than a symbol's name can be. */
static char long_name[KSYM_NAME_LEN + 1];

static struct klp_func funcs[3];
static struct klp_object objects[2];
static struct klp_patch patch = { .mod = THIS_MODULE };

static bool is(const char *name)
{
	return !strcmp(kind, name);
}

static int enable(void)
{
	if (is("no-patch"))
		return klp_enable_patch(NULL);
	if (is("no-module")) {
		patch.mod = NULL;
		patch.objs = objects;
		objects[0].funcs = funcs;
		return klp_enable_patch(&patch);
	}
	if (is("no-objects"))
		return klp_enable_patch(&patch);
	patch.objs = objects;
	if (is("no-funcs"))
		/* An object is told from the end of the list by its functions or its name. */
		objects[0].name = "loop_target";
	else
		objects[0].funcs = funcs;
	funcs[0].old_name = "cmdline_proc_show";
	funcs[0].new_func = replacement;

	if (is("no-name"))
		funcs[0].old_name = NULL;
	else if (is("empty-name"))
		funcs[0].old_name = "";
	else if (is("no-such-function"))
		funcs[0].old_name = "there_is_no_such_function";
	else if (is("no-replacement"))
		funcs[0].new_func = NULL;
	else if (is("ambiguous"))
		/* Several files of the kernel have a static function of this name. */
		funcs[0].old_name = "s_stop";
	else if (is("no-such-position")) {
		funcs[0].old_name = "s_stop";
		funcs[0].old_sympos = 1000;
	} else if (is("position-of-one"))
		funcs[0].old_sympos = 2;
	else if (is("name-too-long")) {
		memset(long_name, 'x', KSYM_NAME_LEN);
		funcs[0].old_name = long_name;
	} else if (is("object-name-too-long")) {
		memset(long_name, 'x', MODULE_NAME_LEN);
		objects[0].name = long_name;
	} else if (is("second-is-bad")) {
		funcs[1].old_name = "there_is_no_such_function";
		funcs[1].new_func = replacement;
	} else if (is("not-traceable")) {
		/* Not one of the image, which another configuration may have traced: this does no harm. */
		objects[0].name = "stack_target";
		funcs[0].old_name = "stack_untraced";
	} else if (is("idle-loop")) {
		/* What an idle task never leaves. */
		funcs[0].old_name = "cpu_startup_entry";
	} else if (is("task-start")) {
		/* What a new task leaves the kernel from. */
		funcs[0].old_name = "ret_from_fork";
	} else if (!is("good") && !is("no-funcs"))
		return -EDOM;
	return klp_enable_patch(&patch);
}

static bool is_enabled;

static int set_early(const char *value, const struct kernel_param *kp)
{
	int ret = enable();

	is_enabled = !ret;
	return ret;
}

static const struct kernel_param_ops early_ops = { .set = set_early };

module_param_cb(early, &early_ops, NULL, 0);

static int __init bad_patch_init(void)
{
	return is_enabled ? 0 : enable();
}

static void __exit bad_patch_exit(void)
{
}

module_init(bad_patch_init);
module_exit(bad_patch_exit);
MODULE_DESCRIPTION("Patches that must be refused");
MODULE_LICENSE("GPL");
MODULE_INFO(livepatch, "Y");
