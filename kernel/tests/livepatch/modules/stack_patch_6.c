// SPDX-License-Identifier: GPL-2.0-only
/* One of several patches of the same function. */
#include "stack_patch.h"
