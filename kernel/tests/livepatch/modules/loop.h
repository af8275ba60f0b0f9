/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * foo() loops over bar(): what the target and its patches share. Within a pass of foo() every call
 * of bar() must give the same value, whatever is patched meanwhile.
 */
#ifndef LOOP_H
#define LOOP_H

#include <linux/compiler.h>

/* Calls of bar() in a pass of foo(). */
#define LOOP_CALLS	10

/* In the target. */
int loop_bar(void);
void loop_foo(void);

/* Sleeps, or lets others run, between two calls. */
void loop_pause(int call);
/* Takes down what the calls of a pass gave: the first value, and whether another one came. */
void loop_took(int first, bool mixed);

/* A pass; foo() and its replacement are both made of it. */
#define LOOP_PASS(bar) ({				\
	int first = bar();				\
	bool mixed = false;				\
	int call;					\
							\
	for (call = 1; call < LOOP_CALLS; call++) {	\
		loop_pause(call);			\
		mixed |= bar() != first;		\
	}						\
	loop_took(first, mixed);			\
})

#endif
