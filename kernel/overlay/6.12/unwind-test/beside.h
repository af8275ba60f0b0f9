/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the C unwinder offers under other names; see beside.c.
 */
#ifndef _RUST_UNWIND_BESIDE_H
#define _RUST_UNWIND_BESIDE_H

#include <linux/stacktrace.h>

void c_arch_stack_walk(stack_trace_consume_fn consume, void *cookie, struct task_struct *task,
		       struct pt_regs *regs);
int c_arch_stack_walk_reliable(stack_trace_consume_fn consume, void *cookie,
			       struct task_struct *task);
/* All frames, from registers or from the first frame at or above an address. */
void c_walk_from(stack_trace_consume_fn consume, void *cookie, struct task_struct *task,
		 struct pt_regs *regs, unsigned long *first);

#endif
