// SPDX-License-Identifier: GPL-2.0-only
/*
 * /proc/<pid>/stack_verdict: a task's frames, and the verdict on its stack. Who may read it, and
 * where it stands, is said in fs/proc/base.c.
 */
#include <linux/sched.h>
#include <linux/sched/task_stack.h>
#include <linux/seq_file.h>
#include <asm/stack_verdict.h>

static bool show_frame(void *cookie, const struct stack_frame_seen *frame)
{
	seq_printf(cookie, "[<0>] %pB  %.*s\n", (void *)frame->address, frame->kind.length,
		   frame->kind.text);
	return true;
}

void stack_verdict_show(struct seq_file *m, struct task_struct *task)
{
	struct stack_verdict verdict;
	unsigned long switches;

	if (!try_get_task_stack(task)) {
		seq_puts(m, "no stack: the task has ended\n");
		return;
	}
	/* Nothing keeps it from running; that it did not run is looked at. */
	switches = READ_ONCE(task->nvcsw) + READ_ONCE(task->nivcsw);
	stack_verdict(task, show_frame, m, &verdict);
	if (task != current && switches != READ_ONCE(task->nvcsw) + READ_ONCE(task->nivcsw))
		seq_puts(m, "unreliable: the task has run meanwhile\n");
	else if (verdict.reliable)
		seq_printf(m, "reliable: it ends at %.*s\n", verdict.why.length, verdict.why.text);
	else
		seq_printf(m, "unreliable at frame %u: %.*s\n", verdict.lost_at.number,
			   verdict.why.length, verdict.why.text);
	put_task_stack(task);
}
