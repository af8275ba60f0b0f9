// SPDX-License-Identifier: GPL-2.0-only
/*
 * The words of the livepatch core. They are those of the C core, by which scripts go, and stand in
 * C because dynamic debug knows no Rust.
 */
#define pr_fmt(fmt) "livepatch: " fmt

#include <linux/printk.h>
#include <linux/sched.h>
#include <linux/timekeeping.h>

#include "shim.h"

#define CREATE_TRACE_POINTS
#include "trace.h"

u64 rust_klp_started;
unsigned long rust_klp_attempt;

static const char *verb(long patched)
{
	return patched ? "patching" : "unpatching";
}

void rust_klp_say(enum rust_klp_message message, const char *a, const char *b, long n)
{
	switch (message) {
	case RUST_KLP_ENABLING:
		pr_notice("enabling patch '%s'\n", a);
		break;
	case RUST_KLP_NOT_ENABLED:
		pr_warn("failed to enable patch '%s'\n", a);
		break;
	case RUST_KLP_INCOMPATIBLE:
		pr_err("Livepatch patch (%s) is not compatible with the already installed livepatches.\n",
		       a);
		break;
	case RUST_KLP_UNMARKED:
		pr_err("module %s is not marked as a livepatch module\n", a);
		break;
	case RUST_KLP_NO_RELIABLE_STACKS:
		if (!rust_klp_checks_stacks()) {
			pr_warn("stacks are not looked at: kernel threads switch at safe points alone\n");
			break;
		}
		pr_warn("This architecture doesn't have support for the livepatch consistency model.\n");
		pr_warn("The livepatch transition may never complete.\n");
		break;
	case RUST_KLP_PREPARING:
		pr_debug("'%s': initializing %s transition\n", a, verb(n));
		break;
	case RUST_KLP_STARTING:
		rust_klp_started = ktime_get_ns();
		rust_klp_attempt++;
		trace_klp_start(a, n);
		pr_notice("'%s': starting %s transition\n", a, verb(n));
		break;
	case RUST_KLP_REVERSING:
		trace_klp_reverse(a, !n);
		pr_debug("'%s': reversing transition from %s to %s\n", a, verb(n), verb(!n));
		break;
	case RUST_KLP_CANCELLING:
		pr_debug("'%s': canceling patching transition, going to unpatch\n", a);
		break;
	case RUST_KLP_FORCING:
		trace_klp_force(a, n);
		pr_warn("forcing remaining tasks to the patched state\n");
		break;
	case RUST_KLP_NUDGING:
		pr_notice("signaling remaining tasks\n");
		break;
	case RUST_KLP_COMPLETING:
		pr_debug("'%s': completing %s transition\n", a, verb(n));
		break;
	case RUST_KLP_COMPLETE:
		trace_klp_complete(a, n);
		pr_notice("'%s': %s complete\n", a, verb(n));
		break;
	case RUST_KLP_PRE_PATCH_FAILED:
		pr_warn("pre-patch callback failed for object '%s'\n", a);
		break;
	case RUST_KLP_NOT_PATCHED:
		pr_warn("failed to patch object '%s'\n", a);
		break;
	case RUST_KLP_APPLYING:
		pr_notice("applying patch '%s' to loading module '%s'\n", a, b);
		break;
	case RUST_KLP_REVERTING:
		pr_notice("reverting patch '%s' on unloading module '%s'\n", a, b);
		break;
	case RUST_KLP_NOT_RESOLVED:
		pr_warn("failed to initialize patch '%s' for module '%s' (%ld)\n", a, b, n);
		break;
	case RUST_KLP_NOT_APPLIED:
		pr_warn("failed to apply patch '%s' to module '%s' (%ld)\n", a, b, n);
		break;
	case RUST_KLP_REFUSING_MODULE:
		pr_warn("patch '%s' failed for module '%s', refusing to load module '%s'\n", a, b, b);
		break;
	case RUST_KLP_PINNED:
		pr_notice("'%s': stays loaded, because forced tasks may be in its code\n", a);
		break;
	case RUST_KLP_RELEASED:
		pr_notice("'%s': may be unloaded, because no forced task is in its code any more\n", a);
		break;
	case RUST_KLP_NO_LOCATION:
		pr_err("failed to find location for function '%s'\n", a);
		break;
	case RUST_KLP_NO_FILTER:
		pr_err("failed to set ftrace filter for function '%s' (%ld)\n", a, n);
		break;
	case RUST_KLP_NO_HANDLER:
		pr_err("failed to register ftrace handler for function '%s' (%ld)\n", a, n);
		break;
	case RUST_KLP_NO_SYMBOL:
		pr_err("symbol '%s' not found in symbol table\n", a);
		break;
	case RUST_KLP_AMBIGUOUS_SYMBOL:
		pr_err("unresolvable ambiguity for symbol '%s' in object '%s'\n", a, b);
		break;
	case RUST_KLP_NO_SUCH_POSITION:
		pr_err("symbol position %ld for symbol '%s' in object '%s' not found\n", n, a, b);
		break;
	case RUST_KLP_NO_SIZE:
		pr_err("kallsyms size lookup failed for '%s'\n", a);
		break;
	case RUST_KLP_NO_REPLACEMENT_SIZE:
		pr_err("kallsyms size lookup failed for '%s' replacement\n", a);
		break;
	case RUST_KLP_SYMBOL_UNMARKED:
		pr_err("symbol %s is not marked as a livepatch symbol\n", a);
		break;
	case RUST_KLP_SYMBOL_MISNAMED:
		pr_err("symbol %s has an incorrectly formatted name\n", a);
		break;
	case RUST_KLP_SYMBOL_OF_IMAGE:
		pr_err("invalid access to vmlinux symbol '%s' from module-specific livepatch relocation section\n",
		       a);
		break;
	case RUST_KLP_SECTION_MISNAMED:
		pr_err("section %s has an incorrectly formatted name\n", a);
		break;
	case RUST_KLP_MODULE_MISNAMED:
		pr_err("vmlinux.ko: invalid module name\n");
		break;
	}
}

/* The name is one by which scripts switch these messages off. */
static void klp_try_switch_task(struct task_struct *task, enum rust_klp_blocker blocker,
				const char *func)
{
	switch (blocker) {
	case RUST_KLP_RUNNING:
		pr_debug("%s: %s:%d is running\n", __func__, task->comm, task->pid);
		break;
	case RUST_KLP_UNRELIABLE:
		pr_debug("%s: %s:%d has an unreliable stack\n", __func__, task->comm, task->pid);
		break;
	case RUST_KLP_INSIDE:
		pr_debug("%s: %s:%d is sleeping on function %s\n", __func__, task->comm, task->pid,
			 func);
		break;
	case RUST_KLP_NOT_AT_SAFE_POINT:
		pr_debug("%s: %s:%d has not come to a safe point\n", __func__, task->comm,
			 task->pid);
		break;
	case RUST_KLP_IN_MODULE:
		pr_debug("%s: %s:%d is sleeping in the code of %s\n", __func__, task->comm, task->pid,
			 func);
		break;
	case RUST_KLP_CLEARED:
		pr_debug("%s: %s:%d has left what it was forced out of\n", __func__, task->comm,
			 task->pid);
		break;
	case RUST_KLP_NOTHING:
		break;
	}
}

void rust_klp_trace_switch(struct task_struct *task, bool patching, unsigned int how)
{
	trace_klp_switch(task, patching, how);
}

void rust_klp_say_task(struct task_struct *task, enum rust_klp_blocker blocker, const char *func)
{
	if (blocker < RUST_KLP_CLEARED)
		trace_klp_block(task, blocker, func);
	klp_try_switch_task(task, blocker, func);
}
