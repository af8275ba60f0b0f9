/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What a function returns that may be replaced, so that the compiler takes nothing for granted: clang
 * would give callers a constant, and gcc call a function without effects once for all.
 */
#ifndef _OPAQUE_H
#define _OPAQUE_H

#include <linux/compiler.h>

static __always_inline int opaque(int value)
{
	barrier();
	OPTIMIZER_HIDE_VAR(value);
	return value;
}

#endif
