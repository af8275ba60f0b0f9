// SPDX-License-Identifier: GPL-2.0-only
/*
 * A way down through the kernel's own text, built in: what walks over it cost is what they cost as
 * a rule.
 */
#include <linux/export.h>

#include "test.h"

noinline void descend(struct victim *victim, unsigned long depth, void (*body)(struct victim *victim))
{
	if (depth)
		descend(victim, depth - 1, body);
	else
		body(victim);
	barrier();
}
EXPORT_SYMBOL_GPL(descend);
