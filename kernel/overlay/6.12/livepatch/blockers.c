// SPDX-License-Identifier: GPL-2.0-only
/*
 * /sys/kernel/debug/livepatch/blockers: the tasks that have not switched, and why. A file of debugfs,
 * because it holds more than one value and no promise; without a transition it is empty.
 */
#include <linux/debugfs.h>
#include <linux/kallsyms.h>
#include <linux/sched.h>
#include <linux/seq_file.h>
#include <linux/timekeeping.h>

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
	if (number == RUST_KLP_TOO_MANY_FRAMES)
		seq_puts(m, " (more frames than are looked at)");
}

/* Since when a task has been in the way: since the transition began, or since there is the task. */
static u64 blocked_for(const struct task_struct *task)
{
	u64 since = max(rust_klp_started, task->start_time), now = ktime_get_ns();

	return now > since ? now - since : 0;
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
	case RUST_KLP_IN_MODULE:
		seq_printf(m, "in code of %s at frame %d", patch, number);
		break;
	default:
		/* It can be switched, and will be the next time. */
		seq_puts(m, "nothing any more");
		break;
	}
	seq_printf(m, ", for %llu ms", div_u64(blocked_for(task), NSEC_PER_MSEC));
	/* By the core, and in this transition. Kernel threads get no signal. */
	if (task->klp_nudged && task->klp_nudged == rust_klp_attempt)
		seq_puts(m, task->flags & PF_KTHREAD ? ", woken" : ", signalled");
}

/* That a task was forced, and then each patch that was taken away since. */
void rust_klp_show_forced(void *seq, const char *patch)
{
	if (patch)
		seq_printf(seq, ", may be in %s", patch);
	else
		seq_puts(seq, ", forced before");
}

void rust_klp_show_end(void *seq)
{
	seq_putc(seq, '\n');
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
