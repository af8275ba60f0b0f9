// SPDX-License-Identifier: GPL-2.0-only
/*
 * /sys/kernel/debug/livepatch/blockers: the tasks that have not switched, and why. A file of debugfs,
 * because it holds more than one value and no promise; without a transition it is empty.
 */
#include <linux/debugfs.h>
#include <linux/jiffies.h>
#include <linux/kallsyms.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/seq_file.h>

#include "shim.h"

/* The address of the frame says which variant it is by its name, with the module's. */
void rust_klp_show_blocker(void *seq, struct task_struct *task, enum rust_klp_blocker blocker,
			   const char *func, unsigned long variant, const char *patch,
			   unsigned int frame)
{
	struct seq_file *m = seq;

	seq_printf(m, "%d %s: ", task->pid, task->comm);
	switch (blocker) {
	case RUST_KLP_RUNNING:
		seq_puts(m, "running");
		break;
	case RUST_KLP_UNRELIABLE:
		seq_puts(m, "unreliable stack");
		break;
	case RUST_KLP_INSIDE:
		seq_printf(m, "in %s", func);
		if (variant)
			seq_printf(m, " (%ps)", (void *)variant);
		if (patch)
			seq_printf(m, " of %s", patch);
		seq_printf(m, " at frame %u", frame);
		break;
	case RUST_KLP_NOT_AT_SAFE_POINT:
		seq_puts(m, task->flags & PF_KTHREAD ? "kernel thread not at a safe point" :
						       "not at a safe point");
		break;
	default:
		/* It can be switched, and will be the next time. */
		seq_puts(m, "nothing any more");
		break;
	}
	seq_printf(m, ", for %u ms%s%s\n", jiffies_to_msecs(jiffies - rust_klp_started),
		   test_tsk_thread_flag(task, TIF_NOTIFY_SIGNAL) ? ", signalled" : "",
		   task->klp_forced_since ? ", forced before" : "");
}

static int blockers_show(struct seq_file *m, void *v)
{
	rust_klp_blockers(m);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(blockers);

static int __init blockers_init(void)
{
	debugfs_create_file("blockers", 0400, debugfs_create_dir("livepatch", NULL), NULL,
			    &blockers_fops);
	return 0;
}
late_initcall(blockers_init);
