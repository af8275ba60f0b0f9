// SPDX-License-Identifier: GPL-2.0-only
/*
 * A kernel thread that wakes up all the time, and says that it is at a safe point when it is told to.
 */
#include <linux/delay.h>
#include <linux/kthread.h>
#include <linux/livepatch.h>
#include <linux/module.h>

static bool says;
module_param(says, bool, 0644);

static struct task_struct *thread;

static int run(void *unused)
{
	while (!kthread_should_stop()) {
#ifdef CONFIG_RUST_LIVEPATCH
		if (READ_ONCE(says))
			klp_kthread_safe_point();
#endif
		msleep_interruptible(20);
	}
	return 0;
}

static int __init safe_point_target_init(void)
{
	thread = kthread_run(run, NULL, "no-safe-point");
	return PTR_ERR_OR_ZERO(thread);
}

static void __exit safe_point_target_exit(void)
{
	kthread_stop(thread);
}

module_init(safe_point_target_init);
module_exit(safe_point_target_exit);
MODULE_DESCRIPTION("A kernel thread that may or may not say where it can switch");
MODULE_LICENSE("GPL");
