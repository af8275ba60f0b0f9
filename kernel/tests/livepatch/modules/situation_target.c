// SPDX-License-Identifier: GPL-2.0-only
/*
 * A function, and ways to have tasks in it: user tasks by reading and writing devices, a worker and a
 * thread that is always busy by parameters.
 */
#include <linux/atomic.h>
#include <linux/fs.h>
#include <linux/kthread.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/uaccess.h>
#include <linux/wait.h>
#include <linux/workqueue.h>

#include "situation.h"
#include "opaque.h"

static DECLARE_WAIT_QUEUE_HEAD(door);
static int is_open;
static atomic_t inside;

/* Frames below which a task sleeps that is deep in calls. */
#define DEPTH 120

static noinline int sleep_below(int depth)
{
	if (depth)
		depth = sleep_below(depth - 1);
	else
		wait_event_idle(door, READ_ONCE(is_open));
	barrier();
	return depth;
}

void situation_take(enum situation situation, const char __user *page)
{
	char byte;

	if (situation == SITUATION_NONE)
		return;
	atomic_inc(&inside);
	switch (situation) {
	case SITUATION_SLEEP:
		wait_event_idle(door, READ_ONCE(is_open));
		break;
	case SITUATION_DEEP:
		sleep_below(DEPTH);
		break;
	case SITUATION_SPIN:
		while (!READ_ONCE(is_open))
			cpu_relax();
		break;
	case SITUATION_FAULT:
		if (get_user(byte, page))
			pr_warn("the page did not come\n");
		break;
	case SITUATION_NONE:
		break;
	}
	atomic_dec(&inside);
}
EXPORT_SYMBOL_GPL(situation_take);

noinline int situation_pass(enum situation situation, const char __user *page)
{
	situation_take(situation, page);
	/* No tail call: this function is to stay on the stack. */
	return opaque(1);
}
EXPORT_SYMBOL_GPL(situation_pass);

/* Devices: a read is a pass, and gives its value. */

static ssize_t give(char __user *buffer, size_t count, loff_t *at, enum situation situation)
{
	char text[] = "0\n";

	if (*at)
		return 0;
	text[0] += situation_pass(situation, NULL);
	return simple_read_from_buffer(buffer, count, at, text, 2);
}

static ssize_t read_sleep(struct file *file, char __user *buffer, size_t count, loff_t *at)
{
	return give(buffer, count, at, SITUATION_SLEEP);
}

static ssize_t read_deep(struct file *file, char __user *buffer, size_t count, loff_t *at)
{
	return give(buffer, count, at, SITUATION_DEEP);
}

static ssize_t read_spin(struct file *file, char __user *buffer, size_t count, loff_t *at)
{
	return give(buffer, count, at, SITUATION_SPIN);
}

/* A write is a pass that reads what is to be written. */
static ssize_t write_page(struct file *file, const char __user *buffer, size_t count, loff_t *at)
{
	return situation_pass(SITUATION_FAULT, buffer);
}

static vm_fault_t page_fault(struct vm_fault *vmf)
{
	wait_event_idle(door, READ_ONCE(is_open));
	vmf->page = alloc_page(GFP_KERNEL | __GFP_ZERO);
	return vmf->page ? 0 : VM_FAULT_OOM;
}

static const struct vm_operations_struct page_operations = { .fault = page_fault };

static int map_page(struct file *file, struct vm_area_struct *area)
{
	area->vm_ops = &page_operations;
	return 0;
}

static const struct file_operations sleep_operations = { .owner = THIS_MODULE, .read = read_sleep };
static const struct file_operations deep_operations = { .owner = THIS_MODULE, .read = read_deep };
static const struct file_operations spin_operations = { .owner = THIS_MODULE, .read = read_spin };
static const struct file_operations page_file_operations = {
	.owner = THIS_MODULE,
	.write = write_page,
	.mmap = map_page,
};

static struct miscdevice devices[] = {
	{ MISC_DYNAMIC_MINOR, "situation_sleep", &sleep_operations },
	{ MISC_DYNAMIC_MINOR, "situation_deep", &deep_operations },
	{ MISC_DYNAMIC_MINOR, "situation_spin", &spin_operations },
	{ MISC_DYNAMIC_MINOR, "situation_page", &page_file_operations },
};

/* A worker that sleeps in the function. */

static void work_in_it(struct work_struct *work)
{
	situation_pass(SITUATION_SLEEP, NULL);
}

static DECLARE_WORK(work, work_in_it);

static int set_work(const char *text, const struct kernel_param *kp)
{
	schedule_work(&work);
	return 0;
}

static const struct kernel_param_ops work_ops = { .set = set_work };

module_param_cb(work, &work_ops, NULL, 0200);

/* A thread that is never idle and never sleeps, as those that serve a virtual machine's devices. */

static struct task_struct *busy;
static atomic_t old_passes, new_passes;

static int run_busy(void *unused)
{
	while (!kthread_should_stop()) {
		int i, value = situation_pass(SITUATION_NONE, NULL);

		atomic_inc(value == 1 ? &old_passes : &new_passes);
		for (i = 0; i < 1000; i++)
			cpu_relax();
		/* Also tells the tracer, which waits for all tasks, that nobody is in its code here. */
		cond_resched_tasks_rcu_qs();
	}
	return 0;
}

static int set_busy(const char *text, const struct kernel_param *kp)
{
	bool on;
	int ret = kstrtobool(text, &on);

	if (ret)
		return ret;
	if (on && !busy) {
		struct task_struct *thread = kthread_run(run_busy, NULL, "busy");

		if (IS_ERR(thread))
			return PTR_ERR(thread);
		busy = thread;
	} else if (!on && busy) {
		kthread_stop(busy);
		busy = NULL;
	}
	return 0;
}

static const struct kernel_param_ops busy_ops = { .set = set_busy };

module_param_cb(busy, &busy_ops, NULL, 0200);

static int get_count(char *buffer, const struct kernel_param *kp)
{
	return sysfs_emit(buffer, "%d\n", atomic_read(kp->arg));
}

static const struct kernel_param_ops count_ops = { .get = get_count };

module_param_cb(inside, &count_ops, &inside, 0444);
module_param_cb(old, &count_ops, &old_passes, 0444);
module_param_cb(new, &count_ops, &new_passes, 0444);

/* What a pass gives now. */
static int get_value(char *buffer, const struct kernel_param *kp)
{
	return sysfs_emit(buffer, "%d\n", situation_pass(SITUATION_NONE, NULL));
}

static const struct kernel_param_ops value_ops = { .get = get_value };

module_param_cb(value, &value_ops, NULL, 0444);

static int set_open(const char *text, const struct kernel_param *kp)
{
	int ret = param_set_int(text, kp);

	wake_up_all(&door);
	return ret;
}

static const struct kernel_param_ops open_ops = { .set = set_open, .get = param_get_int };

module_param_cb(open, &open_ops, &is_open, 0644);

static int __init situation_target_init(void)
{
	int i, ret;

	for (i = 0; i < ARRAY_SIZE(devices); i++) {
		ret = misc_register(&devices[i]);
		if (ret) {
			while (i--)
				misc_deregister(&devices[i]);
			return ret;
		}
	}
	return 0;
}

static void __exit situation_target_exit(void)
{
	int i;

	for (i = 0; i < ARRAY_SIZE(devices); i++)
		misc_deregister(&devices[i]);
	WRITE_ONCE(is_open, 1);
	wake_up_all(&door);
	cancel_work_sync(&work);
	if (busy)
		kthread_stop(busy);
}

module_init(situation_target_init);
module_exit(situation_target_exit);
MODULE_DESCRIPTION("A function, and ways to have tasks in it");
MODULE_LICENSE("GPL");
