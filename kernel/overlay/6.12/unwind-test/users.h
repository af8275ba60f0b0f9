/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Programs in user mode, for tests that need one; see users.c.
 */
#ifndef _RUST_UNWIND_TEST_USERS_H
#define _RUST_UNWIND_TEST_USERS_H

#include "test.h"

/* Starts one that stays in user mode on the CPU of those that are looked at; and ends it. */
int start_user(struct victim *victim);
void stop_user(struct victim *victim);

#endif
