// SPDX-License-Identifier: GPL-2.0-only
/*
 * The C unwinder, whichever was chosen, under other names: to be compared with. The kernel itself
 * uses the one in Rust.
 */
#define UNWINDER_BESIDE

#define __unwind_start			c_unwind_start
#define unwind_next_frame		c_unwind_next_frame
#define unwind_get_return_address	c_unwind_get_return_address
#define unwind_get_return_address_ptr	c_unwind_get_return_address_ptr
#define unwind_init			c_unwind_init
#define unwind_module_init		c_unwind_module_init
#define arch_stack_walk			c_arch_stack_walk
#define arch_stack_walk_reliable	c_arch_stack_walk_reliable
#define arch_stack_walk_user		c_arch_stack_walk_user

#ifdef CONFIG_UNWINDER_ORC
#include "../../unwind_orc.c"
#else
#include "../../unwind_frame.c"
#endif
#include "../../stacktrace.c"

#include "beside.h"

void c_walk_from(stack_trace_consume_fn consume, void *cookie, struct task_struct *task,
		 struct pt_regs *regs, unsigned long *first)
{
	struct unwind_state state;
	unsigned long address;

	for (unwind_start(&state, task, regs, first); !unwind_done(&state);
	     unwind_next_frame(&state)) {
		address = unwind_get_return_address(&state);
		if (!address || !consume(cookie, address))
			break;
	}
}
EXPORT_SYMBOL_GPL(c_walk_from);
EXPORT_SYMBOL_GPL(c_arch_stack_walk);
EXPORT_SYMBOL_GPL(c_arch_stack_walk_reliable);

#ifdef CONFIG_UNWINDER_ORC
/* The lookup table is there once, and both fill it alike. */
static int __init init_c_unwinder(void)
{
	unwind_init();
	return 0;
}
early_initcall(init_c_unwinder);
#endif
