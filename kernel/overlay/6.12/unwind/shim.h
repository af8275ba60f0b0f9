/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the Rust unwinder asks the C side for. Each function is a few lines around a macro, an
 * inline function or a configuration; none decides anything.
 */
#ifndef _RUST_UNWIND_SHIM_H
#define _RUST_UNWIND_SHIM_H

#include <linux/types.h>

struct pt_regs;
struct task_struct;
struct orc_entry;

/* Text of a module, and the tables that came with the module. */
struct rust_unwind_module {
	unsigned long begin, size;
#ifdef CONFIG_UNWINDER_ORC
	const int *orc_ips;
	const struct orc_entry *orc_entries;
#else
	const void *unreliable_text;
#endif
	/* Of the tables' entries. */
	unsigned long count;
};

/* Modules, which are held from the first look at one on. */
struct rust_unwind_modules {
	struct rust_unwind_module last;
	/* 1 while they are held, 2 if RCU was woken for it. */
	int held;
};

/* What is asked of a task once, before a walk of its stack, and what is held during that. At first all
 * of it is 0. */
struct rust_unwind_subject {
	struct task_struct *task;
	/* Where the registers of user space lie, and the saved stack pointer. */
	unsigned long top, sp;
	/* Not zero while a CPU runs it; NULL for the current task. */
	const int *on_cpu;
	/* The registers that the walk is started from, or NULL. */
	const struct pt_regs *start;
	struct rust_unwind_modules modules;
	/* TaskKind: 0 with a user space, 1 a kernel thread, 2 idle. */
	int kind;
};

void rust_unwind_look_at(struct task_struct *task, const struct pt_regs *start,
			 struct rust_unwind_subject *subject);
unsigned long rust_unwind_template(unsigned long address);
int rust_unwind_has_run(unsigned long address);
void rust_unwind_find_module(struct rust_unwind_modules *modules, unsigned long address);
void rust_unwind_let_go(struct rust_unwind_modules *modules);

#endif
