/* SPDX-License-Identifier: GPL-2.0-only */
/* Tracepoints of the livepatch core: a transition's steps, and each task's. */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM livepatch

#if !defined(_RUST_KLP_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define _RUST_KLP_TRACE_H

#include <linux/sched.h>
#include <linux/tracepoint.h>

/* Steps: see enum rust_klp_message. */
DECLARE_EVENT_CLASS(klp_transition,
	TP_PROTO(const char *patch, bool patching),
	TP_ARGS(patch, patching),
	TP_STRUCT__entry(
		__string(patch, patch)
		__field(bool, patching)
	),
	TP_fast_assign(
		__assign_str(patch);
		__entry->patching = patching;
	),
	TP_printk("patch=%s to=%s", __get_str(patch),
		  __entry->patching ? "patched" : "unpatched")
);

DEFINE_EVENT(klp_transition, klp_start,
	TP_PROTO(const char *patch, bool patching), TP_ARGS(patch, patching));
DEFINE_EVENT(klp_transition, klp_reverse,
	TP_PROTO(const char *patch, bool patching), TP_ARGS(patch, patching));
DEFINE_EVENT(klp_transition, klp_force,
	TP_PROTO(const char *patch, bool patching), TP_ARGS(patch, patching));
DEFINE_EVENT(klp_transition, klp_complete,
	TP_PROTO(const char *patch, bool patching), TP_ARGS(patch, patching));

/* A task that has changed sides; the ways are those of the livepatch crate's How. */
TRACE_EVENT(klp_switch,
	TP_PROTO(struct task_struct *task, bool patching, unsigned int how),
	TP_ARGS(task, patching, how),
	TP_STRUCT__entry(
		__array(char, comm, TASK_COMM_LEN)
		__field(pid_t, pid)
		__field(bool, patching)
		__field(unsigned int, how)
	),
	TP_fast_assign(
		memcpy(__entry->comm, task->comm, TASK_COMM_LEN);
		__entry->pid = task->pid;
		__entry->patching = patching;
		__entry->how = how;
	),
	TP_printk("comm=%s pid=%d to=%s how=%s", __entry->comm, __entry->pid,
		  __entry->patching ? "patched" : "unpatched",
		  __print_symbolic(__entry->how, { 0, "clear-stack" }, { 1, "safe-point" },
				   { 2, "forced" }, { 3, "offline" }))
);

/* A task that cannot be switched; the reasons are those of enum rust_klp_blocker. */
TRACE_EVENT(klp_block,
	TP_PROTO(struct task_struct *task, unsigned int reason, const char *func),
	TP_ARGS(task, reason, func),
	TP_STRUCT__entry(
		__array(char, comm, TASK_COMM_LEN)
		__field(pid_t, pid)
		__field(unsigned int, reason)
		__string(func, func ? func : "")
	),
	TP_fast_assign(
		memcpy(__entry->comm, task->comm, TASK_COMM_LEN);
		__entry->pid = task->pid;
		__entry->reason = reason;
		__assign_str(func);
	),
	TP_printk("comm=%s pid=%d reason=%s func=%s", __entry->comm, __entry->pid,
		  __print_symbolic(__entry->reason, { 0, "running" }, { 1, "unreliable-stack" },
				   { 2, "in-function" }, { 3, "not-at-safe-point" },
				   { 4, "in-module" }),
		  __get_str(func))
);

#endif

#undef TRACE_INCLUDE_PATH
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_PATH .
#define TRACE_INCLUDE_FILE trace
#include <trace/define_trace.h>
