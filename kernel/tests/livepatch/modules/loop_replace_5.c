// SPDX-License-Identifier: GPL-2.0-only
/* Another patch instead of all that is there. */
#define BAR_VALUE	5
#define REPLACES	true
#include "loop_patch.h"
