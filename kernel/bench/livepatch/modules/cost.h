/* SPDX-License-Identifier: GPL-2.0-only */
/* What the functions that are patched share with what replaces them. */
#ifndef COST_H
#define COST_H

#include <linux/compiler.h>

/* A function that does nothing, the same before and after, but never one for two. */
#define COST_NOTHING(name) \
	noinline __attribute__((__no_icf__)) void name(void) { barrier(); }

/* Sleeps until it is told to go on; measures meanwhile when it is told to. */
void cost_wait(void);

#endif
