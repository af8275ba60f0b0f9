// SPDX-License-Identifier: GPL-2.0-only
/*
 * Functions that are patched, and what measures what that costs: calls of them, and how long others
 * are kept waiting meanwhile. Times are in units of get_cycles(); what a unit is, the machine says.
 */
#include <linux/completion.h>
#include <linux/hrtimer.h>
#include <linux/irqflags.h>
#include <linux/kthread.h>
#include <linux/ktime.h>
#include <linux/module.h>
#include <linux/pid.h>
#include <linux/sched.h>
#include <linux/sched/task.h>
#include <linux/timex.h>
#include <linux/wait.h>

#include "cost.h"

/* Calls that are measured at a time. */
#define CALLS	100000

/* A function that is never patched, and three that are. */
static COST_NOTHING(cost_plain)
static COST_NOTHING(cost_called)
COST_NOTHING(cost_other)
EXPORT_SYMBOL_GPL(cost_other);

#define TIMED(call) ({				\
	unsigned long flags;			\
	cycles_t start, end;			\
	int i;					\
						\
	local_irq_save(flags);			\
	start = get_cycles();			\
	for (i = 0; i < CALLS; i++)		\
		call;				\
	end = get_cycles();			\
	local_irq_restore(flags);		\
	end - start;				\
})

struct measured {
	cycles_t called, plain;
};

static void measure(struct measured *measured)
{
	/* The first calls may have something to set up. */
	cost_called();
	cost_plain();
	measured->plain = TIMED(cost_plain());
	measured->called = TIMED(cost_called());
}

static int show(char *buffer, const struct measured *measured)
{
	return sysfs_emit(buffer, "%d %llu %llu\n", CALLS, measured->called, measured->plain);
}

/* Reading it measures calls by the task that reads. */
static int get_calls(char *buffer, const struct kernel_param *kp)
{
	struct measured measured;

	measure(&measured);
	return show(buffer, &measured);
}

static const struct kernel_param_ops calls_ops = { .get = get_calls };

module_param_cb(calls, &calls_ops, NULL, 0444);

/* A thread inside a function that is patched, which keeps a transition open. */
static DECLARE_WAIT_QUEUE_HEAD(queue);
static DECLARE_COMPLETION(done);
static struct task_struct *holder;
static struct measured *wanted;
static bool held;

void cost_wait(void)
{
	while (READ_ONCE(held)) {
		wait_event_idle(queue, READ_ONCE(wanted) || !READ_ONCE(held));
		if (wanted) {
			measure(wanted);
			wanted = NULL;
			complete(&done);
		}
	}
}
EXPORT_SYMBOL_GPL(cost_wait);

static noinline void cost_held(void)
{
	cost_wait();
	/* No tail call: this function is to stay on the stack. */
	barrier();
}

static int hold(void *unused)
{
	cost_held();
	while (!kthread_should_stop())
		schedule_timeout_interruptible(HZ);
	return 0;
}

static int set_hold(const char *text, const struct kernel_param *kp)
{
	bool was = held;
	int ret = param_set_bool(text, kp);

	if (ret || held == was)
		return ret;
	if (held) {
		holder = kthread_run(hold, NULL, "holder");
		if (IS_ERR(holder)) {
			held = false;
			return PTR_ERR(holder);
		}
		/* It is soon where it waits. */
		schedule_timeout_uninterruptible(HZ / 10);
	} else {
		wake_up_all(&queue);
		kthread_stop(holder);
	}
	return 0;
}

static const struct kernel_param_ops hold_ops = { .set = set_hold, .get = param_get_bool };

module_param_cb(hold, &hold_ops, &held, 0644);

/* Reading it measures calls by that thread. */
static int get_held_calls(char *buffer, const struct kernel_param *kp)
{
	struct measured measured;

	if (!held)
		return -ENOENT;
	reinit_completion(&done);
	WRITE_ONCE(wanted, &measured);
	wake_up_all(&queue);
	wait_for_completion(&done);
	return show(buffer, &measured);
}

static const struct kernel_param_ops held_calls_ops = { .get = get_held_calls };

module_param_cb(held_calls, &held_calls_ops, NULL, 0444);

/*
 * A thread that is to run before all others does so every few microseconds. What it is late by is how
 * long preemption or interrupts were off, for whatever reason.
 */
#define PERIOD_NS	50000

static struct task_struct *watcher;
static s64 late;

static int watch(void *unused)
{
	ktime_t next = ktime_get();

	sched_set_fifo(current);
	while (!kthread_should_stop()) {
		s64 by;

		next = ktime_add_ns(next, PERIOD_NS);
		if (ktime_before(next, ktime_get()))
			next = ktime_add_ns(ktime_get(), PERIOD_NS);
		set_current_state(TASK_UNINTERRUPTIBLE);
		schedule_hrtimeout_range(&next, 0, HRTIMER_MODE_ABS);
		by = ktime_to_ns(ktime_sub(ktime_get(), next));
		if (by > READ_ONCE(late))
			WRITE_ONCE(late, by);
	}
	return 0;
}

/* Writing begins anew, at 1, or ends it, at 0; reading gives the nanoseconds of the longest. */
static int set_late(const char *text, const struct kernel_param *kp)
{
	bool on;
	int ret = kstrtobool(text, &on);

	if (ret)
		return ret;
	if (on && !watcher) {
		struct task_struct *thread = kthread_run(watch, NULL, "watcher");

		if (IS_ERR(thread))
			return PTR_ERR(thread);
		watcher = thread;
	} else if (!on && watcher) {
		kthread_stop(watcher);
		watcher = NULL;
		return 0;
	}
	WRITE_ONCE(late, 0);
	return 0;
}

static int get_late(char *buffer, const struct kernel_param *kp)
{
	return sysfs_emit(buffer, "%lld\n", READ_ONCE(late));
}

static const struct kernel_param_ops late_ops = { .set = set_late, .get = get_late };

module_param_cb(late, &late_ops, NULL, 0644);

/*
 * Writing the address of stack_trace_save_tsk_reliable(), which is not exported, and the number of a
 * process that sleeps measures walks over its stack.
 */
#define WALKS	100

static cycles_t walked;

static int set_walk(const char *text, const struct kernel_param *kp)
{
	static unsigned long entries[100];
	int (*walk)(struct task_struct *task, unsigned long *store, unsigned int size);
	unsigned long address, flags;
	struct task_struct *task;
	struct pid *pid;
	cycles_t start;
	int number, i;

	if (sscanf(text, "%lx %d", &address, &number) != 2)
		return -EINVAL;
	walk = (void *)address;
	pid = find_get_pid(number);
	task = get_pid_task(pid, PIDTYPE_PID);
	put_pid(pid);
	if (!task)
		return -ESRCH;
	i = walk(task, entries, ARRAY_SIZE(entries));
	if (i <= 0) {
		put_task_struct(task);
		return -EAGAIN;
	}
	local_irq_save(flags);
	start = get_cycles();
	for (i = 0; i < WALKS; i++)
		walk(task, entries, ARRAY_SIZE(entries));
	walked = get_cycles() - start;
	local_irq_restore(flags);
	put_task_struct(task);
	return 0;
}

static int get_walk(char *buffer, const struct kernel_param *kp)
{
	return sysfs_emit(buffer, "%d %llu\n", WALKS, walked);
}

static const struct kernel_param_ops walk_ops = { .set = set_walk, .get = get_walk };

module_param_cb(walk, &walk_ops, NULL, 0644);

static int __init cost_target_init(void)
{
	return 0;
}

static void __exit cost_target_exit(void)
{
}

module_init(cost_target_init);
module_exit(cost_target_exit);
MODULE_DESCRIPTION("Functions to be patched, and what that costs");
MODULE_LICENSE("GPL");
