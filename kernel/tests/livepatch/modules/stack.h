/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the function that threads sleep in shares with the patches that replace it.
 */
#ifndef STACK_H
#define STACK_H

#include <linux/compiler.h>

/* What is replaced. */
void stack_sleep(void);

/* Sleeps until the thread's door is opened. */
void stack_wait(void);

#endif
