// SPDX-License-Identifier: GPL-2.0-only
/* A patch on top of what is there. */
#define BAR_VALUE	2
#define REPLACES	false
#include "loop_patch.h"
