/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Walks that were made while the kernel started; see early.c.
 */
#ifndef _RUST_UNWIND_TEST_EARLY_H
#define _RUST_UNWIND_TEST_EARLY_H

#include "test.h"

enum { BEFORE_SET_UP, AFTER_SET_UP, EARLY_WALKS };

extern struct walk early_walks[EARLY_WALKS];

void record_early(struct walk *walk);

#endif
