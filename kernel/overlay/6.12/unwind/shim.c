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
#include <linux/uaccess.h>
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
	/* By now it is given back, and need not be mapped. */
	if (is_kernel_inittext(address))
		return RUST_UNWIND_TEXT_GONE;
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

#ifdef CONFIG_DYNAMIC_FTRACE
extern void ftrace_caller_end(void);
extern void ftrace_regs_caller_end(void);
#endif

unsigned long rust_unwind_template(unsigned long address)
{
#ifdef CONFIG_DYNAMIC_FTRACE
	unsigned long begin, end, found = 0;
	struct ftrace_ops *ops;

	/* The copy and its description go away only when nobody looks at them any more. */
	preempt_disable_notrace();
	ops = ftrace_ops_trampoline(address);
	if (ops) {
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
			found = 0;
	}
	preempt_enable_notrace();
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

/* Text that is not the image's may go away at any time. */
bool rust_unwind_read_text(unsigned long address, u64 *bytes)
{
	return !copy_from_kernel_nofault(bytes, (const void *)address, sizeof(*bytes));
}

/* Modules stay while this is held, and with them their tables; not where RCU sleeps. */
bool rust_unwind_hold_modules(void)
{
	preempt_disable_notrace();
	return rcu_is_watching();
}

void rust_unwind_release_modules(void)
{
	preempt_enable_notrace();
}

bool rust_unwind_module_at(unsigned long address, struct rust_unwind_module *module)
{
#ifdef CONFIG_MODULES
	static const enum mod_mem_type types[] = { MOD_TEXT, MOD_INIT_TEXT };
	struct module *mod = __module_address(address);
	int i;

	for (i = 0; mod && i < ARRAY_SIZE(types); i++) {
		const struct module_memory *memory = &mod->mem[types[i]];

		if (address - (unsigned long)memory->base >= memory->size)
			continue;
		module->begin = (unsigned long)memory->base;
		module->end = module->begin + memory->size;
		module->unreliable_text = mod->arch.unreliable_text;
		module->num_unreliable_text = mod->arch.num_unreliable_text;
#ifdef CONFIG_UNWINDER_ORC
		module->orc_ips = mod->arch.orc_unwind_ip;
		module->orc_entries = mod->arch.orc_unwind;
		module->num_orcs = mod->arch.num_orcs;
#endif
		return true;
	}
#endif
	return false;
}

/* Entry code that does not lie in the section of entry code. */
static const char * const elsewhere[] __initconst = {
	"ret_from_fork_asm",
	"rewind_stack_and_make_dead",
	"startup_64",
	"secondary_startup_64",
	"secondary_startup_64_no_verify",
	"common_startup_64",
	"soft_restart_cpu",
	"early_idt_handler_common",
};

void __init rust_unwind_entry_code(void (*each)(const char *name, unsigned long start, unsigned long size))
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
/* Notes a module's table: the section that scripts/Makefile.modfinal adds. */
void rust_unwind_module_text(struct module *mod, const void *table, size_t size)
{
	const u32 *count = table;

	/* A count, a word for alignment, and the ranges; see objtool-rs' verify/assembly.rs. */
	if (WARN_ON_ONCE(size < 2 * sizeof(u32) || size != (1 + (size_t)*count) * 2 * sizeof(u32)))
		return;
	mod->arch.unreliable_text = count + 2;
	mod->arch.num_unreliable_text = *count;
}

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
