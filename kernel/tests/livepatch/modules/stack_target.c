// SPDX-License-Identifier: GPL-2.0-only
/*
 * Threads that sleep in a function for as long as they are told to. Each takes down the variant of
 * the function that it is asleep in.
 */
#include <linux/kthread.h>
#include <linux/module.h>
#include <linux/string.h>
#include <linux/wait.h>

#include "stack.h"

static DECLARE_WAIT_QUEUE_HEAD(doors);
/* How many doors are open; those who came to a later one wait. */
static int opened;
static atomic_t came, left;

void stack_wait(void)
{
	int mine = atomic_inc_return(&came);

	wait_event_idle(doors, READ_ONCE(opened) >= mine);
	atomic_inc(&left);
}
EXPORT_SYMBOL_GPL(stack_wait);

noinline void stack_sleep(void)
{
	stack_wait();
	/* No tail call: this function is to stay on the stack. */
	barrier();
}

/* Where no call of the tracer is; for a patch that must be refused. */
static noinline notrace __used int stack_untraced(void)
{
	barrier();
	return 1;
}

static int run(void *unused)
{
	stack_sleep();
	return 0;
}

/* Writing a name starts a thread of that name. */
static int set_enter(const char *name, const struct kernel_param *kp)
{
	int before = atomic_read(&came);
	struct task_struct *thread = kthread_run(run, NULL, "%.*s", (int)strcspn(name, "\n"), name);

	if (IS_ERR(thread))
		return PTR_ERR(thread);
	/* It is asleep when it has come to its door, or soon afterwards. */
	while (atomic_read(&came) == before)
		schedule_timeout_uninterruptible(1);
	schedule_timeout_uninterruptible(HZ / 10);
	return 0;
}

static const struct kernel_param_ops enter_ops = { .set = set_enter };

module_param_cb(enter, &enter_ops, NULL, 0200);

/* Writing a number lets so many threads go, in the order in which they came. */
static int set_opened(const char *text, const struct kernel_param *kp)
{
	int ret = param_set_int(text, kp);

	wake_up_all(&doors);
	return ret;
}

static const struct kernel_param_ops opened_ops = { .set = set_opened, .get = param_get_int };

module_param_cb(opened, &opened_ops, &opened, 0644);

static int get_inside(char *buffer, const struct kernel_param *kp)
{
	return sysfs_emit(buffer, "%d\n", atomic_read(&came) - atomic_read(&left));
}

static const struct kernel_param_ops inside_ops = { .get = get_inside };

module_param_cb(inside, &inside_ops, NULL, 0444);

static int __init stack_target_init(void)
{
	return 0;
}

static void __exit stack_target_exit(void)
{
	WRITE_ONCE(opened, INT_MAX);
	wake_up_all(&doors);
	while (atomic_read(&came) != atomic_read(&left))
		schedule_timeout_uninterruptible(1);
	/* The last one has a few instructions left to go. */
	schedule_timeout_uninterruptible(HZ / 2);
}

module_init(stack_target_init);
module_exit(stack_target_exit);
MODULE_DESCRIPTION("Threads asleep in a function");
MODULE_LICENSE("GPL");
