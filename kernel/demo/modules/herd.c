// SPDX-License-Identifier: GPL-2.0-only
/* A herd goes by, and who reads the parameter `count` is in herd_count() until it has. */
#include <linux/delay.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/sysfs.h>

#include "herd.h"

noinline const char *herd_next(void)
{
	/* So that the compiler takes no name for granted. */
	barrier();
	return "sheep";
}
EXPORT_SYMBOL_GPL(herd_next);

int herd_write(char *page, int at, const char *name)
{
	msleep(300);
	return at + sysfs_emit_at(page, at, "%s%s", at ? " " : "", name);
}
EXPORT_SYMBOL_GPL(herd_write);

noinline int herd_count(char *page)
{
	return HERD_COUNT(page, herd_next);
}

static int get_count(char *page, const struct kernel_param *kp)
{
	int at = herd_count(page);

	return at + sysfs_emit_at(page, at, "\n");
}

static const struct kernel_param_ops count_ops = { .get = get_count };

module_param_cb(count, &count_ops, NULL, 0444);

MODULE_DESCRIPTION("A herd that takes its time to be counted");
MODULE_LICENSE("GPL");
