/* SPDX-License-Identifier: GPL-2.0-only */
/* What the functions of the herd share with what replaces them. */
#ifndef HERD_H
#define HERD_H

#include <linux/compiler.h>

/* The name of the next animal that comes by. */
const char *herd_next(void);
/* Writes the names of those that come by in a while, a second and a half, to a page. */
int herd_count(char *page);
/* Writes one name, and waits for the next animal. */
int herd_write(char *page, int at, const char *name);

#define HERD_SIZE	5

/* herd_count() and its replacement are both made of this. */
#define HERD_COUNT(page, next) ({			\
	int at = 0, animal;				\
							\
	for (animal = 0; animal < HERD_SIZE; animal++)	\
		at = herd_write(page, at, next());	\
	at;						\
})

#endif
