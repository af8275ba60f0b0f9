// SPDX-License-Identifier: GPL-2.0-only
/* Patch 3 of the victim. */
#define NUMBER 3
#include "klp_force.h"
