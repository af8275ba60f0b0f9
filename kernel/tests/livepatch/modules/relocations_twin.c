// SPDX-License-Identifier: GPL-2.0-only
/*
 * The second function of a name that is there twice.
 */
#include <linux/module.h>

#include "relocations.h"
#include "opaque.h"

static noinline __noclone int relocations_number(void)
{
	return opaque(2);
}

int relocations_twin(void)
{
	return relocations_number();
}
