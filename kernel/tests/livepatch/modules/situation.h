/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The function that tasks are in, in one situation or another, and what its replacement needs.
 */
#ifndef SITUATION_H
#define SITUATION_H

#include <linux/compiler.h>

/* What a pass of the function does before it returns. */
enum situation {
	SITUATION_NONE,
	/* Sleeps until the door is open. */
	SITUATION_SLEEP,
	/* As above, below more calls than are looked at. */
	SITUATION_DEEP,
	/* Runs until the door is open. */
	SITUATION_SPIN,
	/* Reads a user's page, which does not come before the door is open. */
	SITUATION_FAULT,
};

/* What is replaced; gives 1, its replacement 2. */
int situation_pass(enum situation situation, const char __user *page);

/* What it does in either variant. */
void situation_take(enum situation situation, const char __user *page);

#endif
