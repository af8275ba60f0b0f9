/* SPDX-License-Identifier: GPL-2.0-only */
/* What the victim lets its patches call. */
#ifndef KLP_VICTIM_H
#define KLP_VICTIM_H

void victim_wait(void);
int victim_inner(void);

#endif
