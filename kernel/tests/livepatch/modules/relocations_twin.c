// SPDX-License-Identifier: GPL-2.0-only
/*
 * The second function of a name that is there twice.
 */
#include <linux/module.h>

#include "relocations.h"

static noinline __noclone int relocations_number(void)
{
	int value = 2;

	barrier();
	OPTIMIZER_HIDE_VAR(value);
	return value;
}

int relocations_twin(void)
{
	return relocations_number();
}
