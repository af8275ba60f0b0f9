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

#ifdef CONFIG_RUST_UNWINDER
#include <asm/stack_verdict.h>
#endif

static void show_doubt(struct seq_file *m, int number)
{
#ifdef CONFIG_RUST_UNWINDER
	struct stack_words why = stack_verdict_reason(number);

	if (number >= 0)
		seq_printf(m, " (%.*s)", (int)why.length, why.text);
#endif
}

/*
 * What a variant is, its name says, with its module's. The number is that of the frame, counted from
 * the innermost, or the unwinder's reason.
 */
void rust_klp_show_blocker(void *seq, struct task_struct *task, enum rust_klp_blocker blocker,
			   const char *func, unsigned long variant, const char *patch, int number)
{
	struct seq_file *m = seq;

	seq_printf(m, "%d %s: ", task->pid, task->comm);
	switch (blocker) {
	case RUST_KLP_RUNNING:
		seq_puts(m, "running");
		break;
	case RUST_KLP_UNRELIABLE:
		seq_puts(m, "unreliable stack");
		show_doubt(m, number);
		break;
	case RUST_KLP_INSIDE:
		seq_printf(m, "in %s", func);
		if (variant)
			seq_printf(m, " (%ps)", (void *)variant);
		if (patch)
			seq_printf(m, " of %s", patch);
		seq_printf(m, " at frame %d", number);
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
