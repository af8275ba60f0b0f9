// SPDX-License-Identifier: GPL-2.0-only
/* Patch 2 of the victim. */
#define NUMBER 2
#include "klp_force.h"
