// SPDX-License-Identifier: GPL-2.0-only
/*
 * Takes the place of all other patches, and replaces a function that they don't.
 */
#include <linux/kernel.h>
#include <linux/livepatch.h>
#include <linux/module.h>
#include <linux/seq_file.h>

static noinline int new_cmdline_proc_show(struct seq_file *m, void *v)
{
	seq_puts(m, "replaced\n");
	return 0;
}

static struct klp_func funcs[] = {
	{ .old_name = "cmdline_proc_show", .new_func = new_cmdline_proc_show },
	{ }
};

static struct klp_object objects[] = {
	{ .funcs = funcs },
	{ }
};

static struct klp_patch patch = { .mod = THIS_MODULE, .objs = objects, .replace = true };

static int __init tail_replacement_init(void)
{
	return klp_enable_patch(&patch);
}

static void __exit tail_replacement_exit(void)
{
}

module_init(tail_replacement_init);
module_exit(tail_replacement_exit);
MODULE_DESCRIPTION("Takes the place of all other patches");
MODULE_LICENSE("GPL");
MODULE_INFO(livepatch, "Y");
