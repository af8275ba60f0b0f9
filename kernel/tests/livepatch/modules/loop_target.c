// SPDX-License-Identifier: GPL-2.0-only
/*
 * Threads that run foo(), which loops over bar(), pass after pass, and count in how many passes
 * bar() was more than one function.
 */
#include <linux/atomic.h>
#include <linux/delay.h>
#include <linux/kthread.h>
#include <linux/ktime.h>
#include <linux/livepatch.h>
#include <linux/module.h>
#include <linux/sched.h>

#include "loop.h"
#include "opaque.h"

#define THREADS	4

static struct task_struct *threads[THREADS];

/* Microseconds between two passes, at the least; without a pause of some length nothing else runs. */
static unsigned int rest = 100;
module_param(rest, uint, 0444);

/* Percent of the time that a pass took, to pause at the least: on a slow machine, too, others run then. */
static unsigned int rest_percent;
module_param(rest_percent, uint, 0444);

static atomic_t mixed_passes, old_passes, new_passes;

static int get_count(char *buffer, const struct kernel_param *kp)
{
	return sysfs_emit(buffer, "%d\n", atomic_read(kp->arg));
}

static const struct kernel_param_ops count_ops = { .get = get_count };

module_param_cb(mixed, &count_ops, &mixed_passes, 0444);
module_param_cb(old, &count_ops, &old_passes, 0444);
module_param_cb(new, &count_ops, &new_passes, 0444);

noinline int loop_bar(void)
{
	return opaque(1);
}
EXPORT_SYMBOL_GPL(loop_bar);

void loop_pause(int call)
{
	/* Some calls follow at once, some after others ran, some after a sleep. */
	if (call % 5 == 0)
		usleep_range(1, 50);
	else if (call % 2 == 0)
		yield();
}
EXPORT_SYMBOL_GPL(loop_pause);

void loop_took(int first, bool mixed)
{
	if (mixed)
		atomic_inc(&mixed_passes);
	atomic_inc(first == 1 ? &old_passes : &new_passes);
}
EXPORT_SYMBOL_GPL(loop_took);

noinline void loop_foo(void)
{
	LOOP_PASS(loop_bar);
}

static int run(void *unused)
{
	ktime_t begin;
	unsigned long pause;

	while (!kthread_should_stop()) {
#ifdef CONFIG_RUST_LIVEPATCH
		klp_kthread_safe_point();
#endif
		begin = ktime_get();
		loop_foo();
		pause = ktime_us_delta(ktime_get(), begin) * rest_percent / 100;
		pause = max_t(unsigned long, rest, pause);
		/* Where a thread can switch: asleep, and in neither of the functions. */
		usleep_range(pause, 2 * pause);
	}
	return 0;
}

static void stop(void)
{
	int i;

	for (i = 0; i < THREADS; i++)
		if (!IS_ERR_OR_NULL(threads[i]))
			kthread_stop(threads[i]);
}

static int __init loop_target_init(void)
{
	int i;

	for (i = 0; i < THREADS; i++) {
		threads[i] = kthread_run(run, NULL, "loop/%d", i);
		if (IS_ERR(threads[i])) {
			stop();
			return PTR_ERR(threads[i]);
		}
	}
	return 0;
}

static void __exit loop_target_exit(void)
{
	stop();
}

module_init(loop_target_init);
module_exit(loop_target_exit);
MODULE_DESCRIPTION("Threads in a function that loops over another one");
MODULE_LICENSE("GPL");
