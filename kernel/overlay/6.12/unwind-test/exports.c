// SPDX-License-Identifier: GPL-2.0-only
/*
 * What the test module takes from the kernel and no other module may.
 */
#include <linux/export.h>
#include <linux/filter.h>
#include <linux/ftrace.h>
#include <linux/kallsyms.h>
#include <linux/perf_event.h>
#include <linux/sched.h>
#include <linux/sched/task.h>
#include <linux/sched/task_stack.h>
#include <linux/stacktrace.h>
#include <linux/wait.h>
#include <asm/stack_verdict.h>
#include <asm/unwind.h>

#include "test.h"

EXPORT_SYMBOL_GPL(stack_verdict);
EXPORT_SYMBOL_GPL(stack_verdict_copied);
EXPORT_SYMBOL_GPL(stack_verdict_reason);
EXPORT_SYMBOL_GPL(arch_stack_walk);
EXPORT_SYMBOL_GPL(arch_stack_walk_reliable);
EXPORT_SYMBOL_GPL(task_call_func);
EXPORT_SYMBOL_GPL(put_task_stack);
EXPORT_SYMBOL_GPL(idle_task);
EXPORT_SYMBOL_GPL(bpf_prog_kallsyms_add);
EXPORT_SYMBOL_GPL(bpf_prog_kallsyms_del);
EXPORT_SYMBOL_GPL(ftrace_location);
EXPORT_SYMBOL_GPL(kallsyms_lookup_name);
EXPORT_SYMBOL_GPL(perf_callchain_kernel);
EXPORT_SYMBOL_GPL(register_ftrace_graph);
EXPORT_SYMBOL_GPL(unregister_ftrace_graph);
#ifdef CONFIG_UNWINDER_ORC
EXPORT_SYMBOL_GPL(unwind_module_init);
#endif
