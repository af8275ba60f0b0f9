// SPDX-License-Identifier: GPL-2.0-only
/* Patch 1 of the victim. */
#define NUMBER 1
#include "klp_force.h"
