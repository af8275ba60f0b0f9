// SPDX-License-Identifier: GPL-2.0-only
/*
 * The C side of the Rust unwinder: macros, inline functions, configurations and exports that Rust
 * cannot express in this kernel. See shim.h.
 */
#include <linux/context_tracking.h>
#include <linux/export.h>
#include <linux/ftrace.h>
#include <linux/kallsyms.h>
#include <linux/kernel.h>
#include <linux/llist.h>
#include <linux/module.h>
#include <linux/rcupdate.h>
#include <linux/rethook.h>
#include <linux/sched.h>
#include <linux/sched/task_stack.h>
#include <asm/orc_types.h>
#include <asm/sections.h>
#include <asm/stacktrace.h>
#include <asm/unwind.h>

#include "shim.h"

#ifdef CONFIG_UNWINDER_ORC
#include <asm/orc_header.h>
ORC_HEADER;
#endif

EXPORT_SYMBOL_GPL(__unwind_start);
EXPORT_SYMBOL_GPL(unwind_next_frame);
EXPORT_SYMBOL_GPL(unwind_get_return_address);

int rust_unwind_stack_at(struct task_struct *task, unsigned long address,
			 struct rust_unwind_stack *stack)
{
	struct stack_info info = {};

	if (get_stack_info((unsigned long *)address, task, &info, NULL))
		return STACK_TYPE_UNKNOWN;
	stack->begin = (unsigned long)info.begin;
	stack->end = (unsigned long)info.end;
	stack->next = (unsigned long)info.next_sp;
	return info.type;
}

int rust_unwind_text_kind(unsigned long address)
{
	int kind = RUST_UNWIND_TEXT_NONE;
	bool asleep;

	if (core_kernel_text(address))
		return RUST_UNWIND_TEXT_FIXED;
	/* All others are found under RCU, and a stack may be looked at from where that sleeps. */
	asleep = !rcu_is_watching();
	if (asleep)
		ct_nmi_enter();
	if (is_module_text_address(address))
		kind = RUST_UNWIND_TEXT_FIXED;
	else if (is_ftrace_trampoline(address))
		kind = RUST_UNWIND_TEXT_TRAMPOLINE;
	else if (__kernel_text_address(address))
		kind = RUST_UNWIND_TEXT_GENERATED;
	if (asleep)
		ct_nmi_exit();
	return kind;
}

unsigned long rust_unwind_recover_graph(struct task_struct *task, int *index,
					unsigned long address, unsigned long slot)
{
	return ftrace_graph_ret_addr(task, index, address, (unsigned long *)slot);
}

unsigned long rust_unwind_recover_rethook(struct task_struct *task, struct llist_node **cursor,
					  unsigned long address, unsigned long slot)
{
#ifdef CONFIG_RETHOOK
	if (is_rethook_trampoline(address))
		return rethook_find_ret_addr(task, slot, cursor);
#endif
	return address;
}

bool rust_unwind_is_return_hook(unsigned long address)
{
#ifdef CONFIG_FUNCTION_GRAPH_TRACER
	if (address == (unsigned long)return_to_handler)
		return true;
#endif
#ifdef CONFIG_RETHOOK
	if (is_rethook_trampoline(address))
		return true;
#endif
	return false;
}

#ifdef CONFIG_DYNAMIC_FTRACE
extern void ftrace_caller_end(void);
extern void ftrace_regs_caller_end(void);
#endif

unsigned long rust_unwind_template(unsigned long address)
{
#ifdef CONFIG_DYNAMIC_FTRACE
	struct ftrace_ops *ops = ftrace_ops_trampoline(address);
	unsigned long begin, end, found;

	if (!ops)
		return 0;
	if (ops->flags & FTRACE_OPS_FL_SAVE_REGS) {
		begin = (unsigned long)ftrace_regs_caller;
		end = (unsigned long)ftrace_regs_caller_end;
	} else {
		begin = (unsigned long)ftrace_caller;
		end = (unsigned long)ftrace_caller_end;
	}
	found = begin + (address - ops->trampoline);
	/* Behind the copy there is one return that the original has elsewhere. */
	if (found > end || found == address)
		return 0;
	return found;
#else
	return 0;
#endif
}

unsigned long rust_unwind_top(struct task_struct *task)
{
	return (unsigned long)task_pt_regs(task);
}

unsigned long rust_unwind_saved_sp(struct task_struct *task)
{
	return READ_ONCE(task->thread.sp);
}

/* The numbers are the Rust side's. */
int rust_unwind_task_kind(struct task_struct *task)
{
	/* Threads that only play idle have a process number. */
	if (!task->pid)
		return 2;
	return task->flags & PF_KTHREAD ? 1 : 0;
}

bool rust_unwind_is_running(struct task_struct *task)
{
	return task_on_another_cpu(task);
}

bool rust_unwind_is_current(struct task_struct *task)
{
	return task == current;
}

bool rust_unwind_user_mode(const struct pt_regs *regs)
{
	return user_mode((struct pt_regs *)regs);
}

bool rust_unwind_is_init_text(unsigned long address)
{
	return is_kernel_inittext(address);
}

bool rust_unwind_module_orc(unsigned long address, struct rust_unwind_orc *orc)
{
#if defined(CONFIG_MODULES) && defined(CONFIG_UNWINDER_ORC)
	struct module *mod = __module_address(address);

	if (mod && mod->arch.orc_unwind && mod->arch.orc_unwind_ip) {
		orc->ips = mod->arch.orc_unwind_ip;
		orc->entries = mod->arch.orc_unwind;
		orc->count = mod->arch.num_orcs;
		return true;
	}
#endif
	return false;
}

/* Entry code that does not lie in the section of entry code. */
static const char * const elsewhere[] = {
	"ret_from_fork_asm",
	"rewind_stack_and_make_dead",
	"startup_64",
	"secondary_startup_64",
	"secondary_startup_64_no_verify",
	"common_startup_64",
	"soft_restart_cpu",
	"early_idt_handler_common",
};

void rust_unwind_entry_code(void (*each)(const char *name, unsigned long start, unsigned long size))
{
	unsigned long at, size, offset;
	char name[KSYM_NAME_LEN];
	int i;

	for (at = (unsigned long)__entry_text_start; at < (unsigned long)__entry_text_end;
	     at += size - offset) {
		if (!kallsyms_lookup_size_offset(at, &size, &offset) || size <= offset)
			break;
		if (!lookup_symbol_name(at, name))
			each(name, at - offset, size);
	}
	for (i = 0; i < ARRAY_SIZE(elsewhere); i++) {
		at = kallsyms_lookup_name(elsewhere[i]);
		if (at && kallsyms_lookup_size_offset(at, &size, &offset))
			each(elsewhere[i], at - offset, size);
	}
}

/* Only there when it was linked in; see scripts/link-vmlinux.sh. */
extern const u32 unreliable_text_count __weak;
extern const u8 unreliable_text[] __weak;

const void *rust_unwind_unreliable_text(unsigned int *count)
{
	if (!&unreliable_text_count)
		return NULL;
	*count = unreliable_text_count;
	return unreliable_text;
}

#ifdef CONFIG_MODULES
#ifdef CONFIG_UNWINDER_ORC
void rust_unwind_sort(int *ips, struct orc_entry *entries, unsigned long count);

void unwind_module_init(struct module *mod, void *orc_ip, size_t orc_ip_size, void *orc,
			size_t orc_size)
{
	unsigned long count = orc_ip_size / sizeof(int);

	if (WARN_ON_ONCE(orc_ip_size % sizeof(int) || orc_size % sizeof(struct orc_entry) ||
			 count != orc_size / sizeof(struct orc_entry)))
		return;
	rust_unwind_sort(orc_ip, orc, count);
	mod->arch.orc_unwind_ip = orc_ip;
	mod->arch.orc_unwind = orc;
	mod->arch.num_orcs = count;
}
#else
void unwind_module_init(struct module *mod, void *orc_ip, size_t orc_ip_size, void *orc,
			size_t orc_size)
{
}
#endif
#endif
