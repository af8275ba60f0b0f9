// SPDX-License-Identifier: GPL-2.0-only
/*
 * Sends every call of bar() to another function from one moment on, for all tasks at once, as a
 * patch does that stops the machine and asks no task.
 */
#include <linux/ftrace.h>
#include <linux/module.h>
#include <linux/string.h>

#include "loop.h"

static noinline int other_bar(void)
{
	barrier();
	return 2;
}

static void notrace divert(unsigned long ip, unsigned long parent_ip, struct ftrace_ops *ops,
			   struct ftrace_regs *fregs)
{
	ftrace_regs_set_instruction_pointer(fregs, (unsigned long)other_bar);
}

static struct ftrace_ops ops = {
	.func = divert,
	.flags = FTRACE_OPS_FL_SAVE_REGS | FTRACE_OPS_FL_IPMODIFY | FTRACE_OPS_FL_DYNAMIC,
};

static int __init loop_at_once_init(void)
{
	static unsigned char name[] = "loop_bar";
	int ret = ftrace_set_filter(&ops, name, strlen(name), 0);

	if (ret)
		return ret;
	ret = register_ftrace_function(&ops);
	if (ret)
		ftrace_free_filter(&ops);
	return ret;
}

static void __exit loop_at_once_exit(void)
{
	unregister_ftrace_function(&ops);
	ftrace_free_filter(&ops);
}

module_init(loop_at_once_init);
module_exit(loop_at_once_exit);
MODULE_DESCRIPTION("Diverts a function for all tasks at once");
MODULE_LICENSE("GPL");
