/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Interrupts that come at a place that a test chooses; see contexts.c.
 */
#ifndef _RUST_UNWIND_TEST_CONTEXTS_H
#define _RUST_UNWIND_TEST_CONTEXTS_H

#include "test.h"

/* What the interrupt does that is expected; one case runs at a time. */
struct interrupted {
	struct walk *walk;
	/* Whether it came where it was to come, by what it interrupted. */
	bool (*is_place)(const struct pt_regs *regs);
	void (*look)(struct walk *walk, const struct pt_regs *regs);
	struct task_struct *task;
	bool seen;
};

extern struct interrupted interrupted;

/* Without a function to look, the walk of current is kept. */
void expect_interrupt(struct walk *walk, bool (*is_place)(const struct pt_regs *regs),
		      void (*look)(struct walk *walk, const struct pt_regs *regs));
/* Those that are interrupted: a thread, a program in user mode. */
int interrupt_thread(void (*body)(struct victim *victim), int (*interrupt)(void));
int interrupt_user(int (*interrupt)(void));
/* Interrupt the other CPU until one has come where it was to come. */
int interrupt_by_timer(void);
int interrupt_by_nmi(void);

void spin_for_interrupt(struct victim *victim);
bool in_spin(const struct pt_regs *regs);
bool in_user_mode(const struct pt_regs *regs);

#endif
