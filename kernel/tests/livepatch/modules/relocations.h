/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the two files of the target have in common.
 */
#ifndef RELOCATIONS_H
#define RELOCATIONS_H

/* What is replaced. */
int relocations_value(void);

int relocations_twin(void);

#endif
