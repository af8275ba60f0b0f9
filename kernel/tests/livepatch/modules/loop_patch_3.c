// SPDX-License-Identifier: GPL-2.0-only
/* Another patch on top of what is there. */
#define BAR_VALUE	3
#define REPLACES	false
#include "loop_patch.h"
