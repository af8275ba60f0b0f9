/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Verdicts on stacks: reliable, or not and why. What they mean stands in the crate `unwind`.
 */
#ifndef _ASM_X86_STACK_VERDICT_H
#define _ASM_X86_STACK_VERDICT_H

#include <linux/types.h>

struct seq_file;
struct task_struct;

/* Words for people, without a NUL at their end; print them with "%.*s". */
struct stack_words {
	const char *text;
	unsigned int length;
};

/* A frame. */
struct stack_frame_seen {
	/* Where it goes on: a return address, or the interrupted instruction. */
	unsigned long address;
	/* Where that address lies on the stack, or 0. */
	unsigned long slot;
	/* Where saved registers lie, or 0. */
	unsigned long registers;
	/* From 0. */
	unsigned int number;
	/* enum stack_type. */
	unsigned int stack;
	struct stack_words kind;
};

struct stack_verdict {
	bool reliable;
	/* The reason's number; ~0U if it is reliable. */
	unsigned int reason;
	/* The reason, or where the stack ended. */
	struct stack_words why;
	/* The frame from which the walk did not get on, if it is not reliable. */
	struct stack_frame_seen lost_at;
};

/*
 * Walks the stack of a task that stays off its CPU meanwhile, or of current; its stack must be held.
 * visit, unless NULL, is shown each frame, and returns whether it wants more.
 */
void stack_verdict(struct task_struct *task,
		   bool (*visit)(void *cookie, const struct stack_frame_seen *frame), void *cookie,
		   struct stack_verdict *verdict);

/* The words of a reason by its number; none behind the last. */
struct stack_words stack_verdict_reason(unsigned int number);

/* Prints a task's frames and the verdict: what /proc/<pid>/stack_verdict shows. */
void stack_verdict_show(struct seq_file *m, struct task_struct *task);

#endif
