// SPDX-License-Identifier: GPL-2.0-only
/* A patch instead of all that is there. */
#define BAR_VALUE	4
#define REPLACES	true
#include "loop_patch.h"
