// SPDX-License-Identifier: GPL-2.0-only
/*
 * Uses what its target and the image export to nobody. The names say where it is to be found; the
 * project's tool makes livepatch relocations of them, and modules with mistakes (klp_relocations.rs).
 */
#include <linux/kernel.h>
#include <linux/livepatch.h>
#include <linux/module.h>
#include <linux/string.h>

/* klp__OBJECT__SYMBOL__POSITION */
extern int klp__relocations_target__relocations_secret__0 __weak;
extern int klp__relocations_target__relocations_other__0 __weak;
extern int klp__relocations_target__relocations_hidden__0(void) __weak;
extern int klp__relocations_target__relocations_number__1(void) __weak;
extern int klp__relocations_target__relocations_number__2(void) __weak;
extern char *klp__vmlinux__saved_command_line__0 __weak;

/* In data, which has a section of relocations of its own. */
static int *volatile pointers[] = {
	&klp__relocations_target__relocations_other__0,
	&klp__relocations_target__relocations_secret__0,
};

/* A number of which each place shows one of them: 10000 for the image's. */
static noinline int new_value(void)
{
	int value = klp__relocations_target__relocations_hidden__0();

	if (value != klp__relocations_target__relocations_secret__0 || value != *pointers[1])
		return -1;
	value += *pointers[0];
	value += 100 * klp__relocations_target__relocations_number__2();
	value += 1000 * klp__relocations_target__relocations_number__1();
	if (strstr(klp__vmlinux__saved_command_line__0, "LIST="))
		value += 10000;
	return value;
}

/* Nothing is replaced if this is empty. */
static char *replaces = "relocations_value";
module_param(replaces, charp, 0444);

/* What the target holds; it must be there. */
static int get_secret(char *buffer, const struct kernel_param *kp)
{
	return sysfs_emit(buffer, "%d\n", klp__relocations_target__relocations_secret__0);
}

static const struct kernel_param_ops secret_ops = { .get = get_secret };

module_param_cb(secret, &secret_ops, NULL, 0444);

static struct klp_func funcs[] = {
	{ .new_func = new_value },
	{ }
};

static struct klp_func no_funcs[] = { { } };

static struct klp_object objects[] = {
	{ .name = "relocations_target", .funcs = funcs },
	{ }
};

static struct klp_patch patch = { .mod = THIS_MODULE, .objs = objects };

static int __init relocations_patch_init(void)
{
	funcs[0].old_name = replaces;
	if (!*replaces)
		objects[0].funcs = no_funcs;
	return klp_enable_patch(&patch);
}

static void __exit relocations_patch_exit(void)
{
}

module_init(relocations_patch_init);
module_exit(relocations_patch_exit);
MODULE_DESCRIPTION("Uses what is exported to nobody");
MODULE_LICENSE("GPL");
MODULE_INFO(livepatch, "Y");
