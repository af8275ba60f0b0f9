// SPDX-License-Identifier: GPL-2.0-only
/*
 * /proc/<pid>/stack_verdict: a task's frames, and the verdict on its stack. Who may read it, and
 * where it stands, is said in fs/proc/base.c.
 */
#include <linux/sched.h>
#include <linux/sched/task_stack.h>
#include <linux/seq_file.h>
#include <asm/barrier.h>
#include <asm/stack_verdict.h>

static bool show_frame(void *cookie, const struct stack_frame_seen *frame)
{
	seq_printf(cookie, "[<0>] %pB  %.*s\n", (void *)frame->address, frame->kind.length,
		   frame->kind.text);
	return true;
}

/* Another task that a CPU is running, or is still leaving. */
static bool is_on_cpu(struct task_struct *task)
{
#ifdef CONFIG_SMP
	/* What it left on its stack, and where, was written before. */
	return task != current && smp_load_acquire(&task->on_cpu);
#else
	return false;
#endif
}

static unsigned long switches_of(struct task_struct *task)
{
	return READ_ONCE(task->nvcsw) + READ_ONCE(task->nivcsw);
}

void stack_verdict_show(struct seq_file *m, struct task_struct *task)
{
	struct stack_verdict verdict;
	unsigned long switches;

	if (!try_get_task_stack(task)) {
		seq_puts(m, "no stack: the task has ended\n");
		return;
	}
	/*
	 * Nothing keeps it from running; that it did not run is looked at. One that is counted as
	 * switched out may still be at it, so the count comes first, and then whether it is off its
	 * CPU; what is read of it after that stays until it is switched in.
	 */
	switches = switches_of(task);
	smp_rmb();
	if (is_on_cpu(task)) {
		seq_puts(m, "unreliable: the task is running\n");
		goto put;
	}
	stack_verdict(task, show_frame, m, &verdict);
	smp_rmb();
	if (task != current && switches != switches_of(task))
		seq_puts(m, "unreliable: the task has run meanwhile\n");
	else if (verdict.reliable)
		seq_printf(m, "reliable: it ends at %.*s\n", verdict.why.length, verdict.why.text);
	else
		seq_printf(m, "unreliable at frame %u: %.*s\n", verdict.lost_at.number,
			   verdict.why.length, verdict.why.text);
put:
	put_task_stack(task);
}
