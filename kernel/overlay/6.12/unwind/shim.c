// SPDX-License-Identifier: GPL-2.0-only
/*
 * The C side of the Rust unwinder: macros, inline functions, configurations and exports that Rust
 * cannot express in this kernel. See shim.h.
 */
#include <linux/context_tracking.h>
#include <linux/export.h>
#include <linux/ftrace.h>
#include <linux/kprobes.h>
#include <linux/module.h>
#include <linux/preempt.h>
#include <linux/rcupdate.h>
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

void rust_unwind_look_at(struct task_struct *task, const struct pt_regs *start,
			 struct rust_unwind_subject *subject)
{
	static const int never;

	subject->task = task;
	subject->top = (unsigned long)task_pt_regs(task);
	subject->sp = READ_ONCE(task->thread.sp);
	subject->on_cpu = &never;
#ifdef CONFIG_SMP
	subject->on_cpu = &task->on_cpu;
#endif
	if (task == current)
		subject->on_cpu = NULL;
	subject->start = start;
	/* Threads that only play idle have a process number. */
	subject->kind = !task->pid ? 2 : !!(task->flags & PF_KTHREAD);
}

#if defined(CONFIG_DYNAMIC_FTRACE) && defined(CONFIG_UNWINDER_ORC)
extern void ftrace_caller_end(void);
extern void ftrace_regs_caller_end(void);

unsigned long rust_unwind_template(unsigned long address)
{
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
}
#endif

#if defined(CONFIG_KPROBES) && defined(CONFIG_UNWINDER_ORC)
/*
 * Whether the instruction has been run in whose place a kprobe's breakpoint stands, whose handlers run
 * on this CPU, by the address in front of the one that was saved: that is the breakpoint's, or the
 * instruction's last byte. Less than 0 if it is not known.
 */
int rust_unwind_has_run(unsigned long address)
{
	unsigned long at;
	struct kprobe *probe;

	/*
	 * One level is the breakpoint itself, and so nobody preempts this. With more, something has
	 * interrupted the handling, which may be about to say what comes next.
	 */
	if ((preempt_count() & NMI_MASK) != NMI_OFFSET)
		return -1;
	probe = kprobe_running();
	if (!probe)
		return -1;
	at = (unsigned long)probe->addr;
	switch (get_kprobe_ctlblk()->kprobe_status) {
	case KPROBE_HIT_ACTIVE:
		return address == at ? 0 : -1;
	case KPROBE_HIT_SSDONE:
		return address == at + probe->ainsn.size - 1 ? 1 : -1;
	}
	return -1;
}
#endif

/*
 * Modules stay while they are held, and with them their tables, and all else that RCU frees. A stack
 * may be looked at from where RCU sleeps: then it is woken.
 */
static void hold(struct rust_unwind_modules *modules)
{
	preempt_disable_notrace();
	modules->held = 1;
	if (!rcu_is_watching()) {
		ct_nmi_enter();
		modules->held = 2;
	}
}

void rust_unwind_let_go(struct rust_unwind_modules *modules)
{
	modules->last.size = 0;
	if (modules->held == 2)
		ct_nmi_exit();
	modules->held = 0;
	preempt_enable_notrace();
}

/* None has a size of 0. */
void rust_unwind_find_module(struct rust_unwind_modules *modules, unsigned long address)
{
#ifdef CONFIG_MODULES
	struct rust_unwind_module *module = &modules->last;
	const struct module_memory *memory;
	struct module *mod;
#endif

	if (!modules->held)
		hold(modules);
#ifdef CONFIG_MODULES
	module->size = 0;
	mod = __module_text_address(address);
	if (!mod)
		return;
	memory = &mod->mem[within_module_mem_type(address, mod, MOD_TEXT) ? MOD_TEXT : MOD_INIT_TEXT];
	module->begin = (unsigned long)memory->base;
	module->size = memory->size;
#ifdef CONFIG_UNWINDER_ORC
	module->orc_ips = mod->arch.orc_unwind_ip;
	module->orc_entries = mod->arch.orc_unwind;
	module->count = mod->arch.num_orcs;
#else
	module->unreliable_text = mod->arch.unreliable_text;
	module->count = mod->arch.num_unreliable_text;
#endif
#endif
}

#ifdef CONFIG_UNWINDER_FRAME_POINTER
/* Where none was linked in; see scripts/link-vmlinux.sh. */
const u32 unreliable_text_count __weak = 0;
#endif

#ifdef CONFIG_MODULES
#ifdef CONFIG_UNWINDER_ORC
bool rust_unwind_sort(int *ips, struct orc_entry *entries, unsigned long count);

void unwind_module_init(struct module *mod, void *orc_ip, size_t orc_ip_size, void *orc,
			size_t orc_size)
{
	unsigned long count = orc_ip_size / sizeof(int);

	if (WARN_ON_ONCE(orc_ip_size % sizeof(int) || orc_size % sizeof(struct orc_entry) ||
			 count != orc_size / sizeof(struct orc_entry)))
		return;
	if (!rust_unwind_sort(orc_ip, orc, count)) {
		pr_warn("unwind: the ORC table of module %s cannot be sorted, and is not used\n",
			mod->name);
		return;
	}
	mod->arch.orc_unwind_ip = orc_ip;
	mod->arch.orc_unwind = orc;
	mod->arch.num_orcs = count;
}
#endif
#endif
