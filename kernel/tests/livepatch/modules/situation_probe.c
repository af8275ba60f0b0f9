// SPDX-License-Identifier: GPL-2.0-only
/*
 * A probe at the beginning of the function that tasks are in. One that is called after the first
 * instruction as well may change where it goes on, which it can't share with a patch.
 */
#include <linux/atomic.h>
#include <linux/kprobes.h>
#include <linux/module.h>

static bool after;
module_param(after, bool, 0444);

static atomic_t hits;

static int get_hits(char *buffer, const struct kernel_param *kp)
{
	return sysfs_emit(buffer, "%d\n", atomic_read(&hits));
}

static const struct kernel_param_ops hits_ops = { .get = get_hits };

module_param_cb(hits, &hits_ops, NULL, 0444);

static int before_it(struct kprobe *probe, struct pt_regs *regs)
{
	atomic_inc(&hits);
	return 0;
}

static void after_it(struct kprobe *probe, struct pt_regs *regs, unsigned long flags)
{
}

static struct kprobe probe = { .symbol_name = "situation_pass", .pre_handler = before_it };

static int __init situation_probe_init(void)
{
	if (after)
		probe.post_handler = after_it;
	return register_kprobe(&probe);
}

static void __exit situation_probe_exit(void)
{
	unregister_kprobe(&probe);
}

module_init(situation_probe_init);
module_exit(situation_probe_exit);
MODULE_DESCRIPTION("A probe of the function that tasks are in");
MODULE_LICENSE("GPL");
