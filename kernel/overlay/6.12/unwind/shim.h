/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the Rust unwinder asks the C side for. Each function is a few lines around a macro, an
 * inline function or a configuration; none decides anything.
 */
#ifndef _RUST_UNWIND_SHIM_H
#define _RUST_UNWIND_SHIM_H

#include <linux/types.h>

struct task_struct;
struct pt_regs;
struct llist_node;
struct orc_entry;

/* A stack: where it lies, and the stack pointer from before the switch to it. */
struct rust_unwind_stack {
	unsigned long begin, end, next;
};

/* The kinds of text; the numbers are the Rust side's. */
enum rust_unwind_text {
	RUST_UNWIND_TEXT_NONE,
	RUST_UNWIND_TEXT_FIXED,
	RUST_UNWIND_TEXT_TRAMPOLINE,
	RUST_UNWIND_TEXT_GENERATED,
	RUST_UNWIND_TEXT_GONE,
};

/* Text of a module, and the tables that came with the module. */
struct rust_unwind_module {
	unsigned long begin, end;
	const void *unreliable_text;
	unsigned int num_unreliable_text;
	const int *orc_ips;
	const struct orc_entry *orc_entries;
	unsigned long num_orcs;
};

int rust_unwind_stack_at(struct task_struct *task, unsigned long address,
			 struct rust_unwind_stack *stack);
int rust_unwind_text_kind(unsigned long address);
unsigned long rust_unwind_recover_graph(struct task_struct *task, int *index,
					unsigned long address, unsigned long slot);
unsigned long rust_unwind_recover_rethook(struct task_struct *task, struct llist_node **cursor,
					  unsigned long address, unsigned long slot);
unsigned long rust_unwind_template(unsigned long address);
unsigned long rust_unwind_top(struct task_struct *task);
unsigned long rust_unwind_saved_sp(struct task_struct *task);
int rust_unwind_task_kind(struct task_struct *task);
bool rust_unwind_is_running(struct task_struct *task);
bool rust_unwind_is_current(struct task_struct *task);
bool rust_unwind_user_mode(const struct pt_regs *regs);
bool rust_unwind_read_text(unsigned long address, u64 *bytes);
bool rust_unwind_hold_modules(void);
void rust_unwind_release_modules(void);
bool rust_unwind_module_at(unsigned long address, struct rust_unwind_module *module);
bool rust_unwind_is_init_text(unsigned long address);
void rust_unwind_entry_code(void (*each)(const char *name, unsigned long start,
					 unsigned long size));
const void *rust_unwind_unreliable_text(unsigned int *count);

#endif
