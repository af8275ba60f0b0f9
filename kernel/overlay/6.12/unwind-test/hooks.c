// SPDX-License-Identifier: GPL-2.0-only
/*
 * Code that others have put something into: tracers, probes, return hooks, static calls, BPF; and
 * code that keeps no frame.
 */
#include <linux/err.h>
#include <linux/filter.h>
#include <linux/ftrace.h>
#include <linux/kprobes.h>
#include <linux/objtool.h>
#include <linux/static_call.h>

#include "test.h"

/* What hooks record; one case runs at a time. */
static struct walk *hooked_walk;

/* A function that is traced, and one that is not, with a probe on its first byte. */

static noinline void traced(struct victim *victim)
{
	barrier();
}

static noinline notrace void probed(struct victim *victim)
{
	barrier();
}

static noinline void call_traced(struct victim *victim)
{
	traced(victim);
	WRITE_ONCE(victim->ready, true);
}

static noinline void call_probed(struct victim *victim)
{
	probed(victim);
	WRITE_ONCE(victim->ready, true);
}

/* Runs a thread with this body to its end. */
static int run_body(struct walk *walk, void (*body)(struct victim *victim))
{
	struct victim victim = { .body = body, .walk = walk };
	int error;

	hooked_walk = walk;
	error = start_victim(&victim, THERE);
	if (error)
		return error;
	wait_until(&victim.ready);
	stop_victim(&victim);
	return 0;
}

/* Looks at a thread that sleeps with this body. */
static int look_asleep(struct walk *walk, void (*body)(struct victim *victim))
{
	struct victim victim = { .body = body, .walk = walk };
	int error = start_victim(&victim, THERE);

	if (error)
		return error;
	if (wait_until(&victim.ready) && wait_asleep(victim.task))
		record_resting(walk, victim.task);
	stop_victim(&victim);
	return 0;
}

/* Function tracer. */

static void trace_handler(unsigned long ip, unsigned long parent, struct ftrace_ops *ops,
			  struct ftrace_regs *regs)
{
	if (hooked_walk && !hooked_walk->done)
		record(hooked_walk, current);
	barrier();
}

static int look_from_tracer(struct walk *walk, unsigned long flags)
{
	struct ftrace_ops ops = { .func = trace_handler, .flags = flags };
	unsigned long at = ftrace_location((unsigned long)traced);
	int error;

	if (!at)
		return -ENOENT;
	error = ftrace_set_filter_ip(&ops, at, 0, 0);
	if (error)
		return error;
	error = register_ftrace_function(&ops);
	if (!error) {
		error = run_body(walk, call_traced);
		unregister_ftrace_function(&ops);
	}
	ftrace_free_filter(&ops);
	return error;
}

static int look_from_plain_tracer(struct walk *walk)
{
	return look_from_tracer(walk, 0);
}

static int look_from_tracer_with_registers(struct walk *walk)
{
	return look_from_tracer(walk, FTRACE_OPS_FL_SAVE_REGS);
}

/* Graph tracer: rewrites return addresses. */

static int graph_entry(struct ftrace_graph_ent *entry, struct fgraph_ops *ops)
{
	return 1;
}

static void graph_return(struct ftrace_graph_ret *ret, struct fgraph_ops *ops)
{
}

static struct fgraph_ops graph_ops = {
	.entryfunc = graph_entry,
	.retfunc = graph_return,
};

static int with_graph_tracer(struct walk *walk,
			     int (*look)(struct walk *walk, void (*body)(struct victim *victim)),
			     void (*body)(struct victim *victim))
{
	void *functions[] = { inner, outer, body };
	int error = 0, i;

	for (i = 0; i < ARRAY_SIZE(functions) && !error; i++)
		error = ftrace_set_filter_ip(&graph_ops.ops,
					     ftrace_location((unsigned long)functions[i]), 0, !i);
	if (!error)
		error = register_ftrace_graph(&graph_ops);
	if (!error) {
		error = look(walk, body);
		unregister_ftrace_graph(&graph_ops);
	}
	return error;
}

static int look_under_graph_tracer(struct walk *walk)
{
	return with_graph_tracer(walk, run_body, look_at_itself);
}

static int look_asleep_under_graph_tracer(struct walk *walk)
{
	return with_graph_tracer(walk, look_asleep, nap);
}

/* Return probes: rewrite return addresses too. */

static int probe_return(struct kretprobe_instance *instance, struct pt_regs *regs)
{
	return 0;
}

static int with_return_probes(struct walk *walk,
			      int (*look)(struct walk *walk, void (*body)(struct victim *victim)),
			      void (*body)(struct victim *victim))
{
	struct kretprobe first = {
		.handler = probe_return, .maxactive = 8, .kp.addr = (void *)inner,
	};
	struct kretprobe second = {
		.handler = probe_return, .maxactive = 8, .kp.addr = (void *)outer,
	};
	int error = register_kretprobe(&first);

	if (error)
		return error;
	error = register_kretprobe(&second);
	if (!error) {
		error = look(walk, body);
		unregister_kretprobe(&second);
	}
	unregister_kretprobe(&first);
	return error;
}

static int look_under_return_probes(struct walk *walk)
{
	return with_return_probes(walk, run_body, look_at_itself);
}

static int look_asleep_under_return_probes(struct walk *walk)
{
	return with_return_probes(walk, look_asleep, nap);
}

static int look_asleep_under_probes_and_graph(struct walk *walk,
					      void (*body)(struct victim *victim))
{
	return with_graph_tracer(walk, look_asleep, body);
}

static int look_asleep_under_both(struct walk *walk)
{
	return with_return_probes(walk, look_asleep_under_probes_and_graph, nap);
}

/* The handler of a return probe: the function has returned, and its caller waits. */
/* Not merged with the other handler that does the same. */
#define KEPT __attribute__((no_icf))

static KEPT int look_from_return(struct kretprobe_instance *instance, struct pt_regs *regs)
{
	if (!hooked_walk->done)
		record(hooked_walk, current);
	return 0;
}

static int look_from_return_probe(struct walk *walk)
{
	struct kretprobe probe = {
		.handler = look_from_return, .maxactive = 8, .kp.addr = (void *)traced,
	};
	int error = register_kretprobe(&probe);

	if (error)
		return error;
	error = run_body(walk, call_traced);
	unregister_kretprobe(&probe);
	return error;
}

/* Breakpoints. */

static KEPT int probe_before(struct kprobe *probe, struct pt_regs *regs)
{
	if (!hooked_walk->done)
		record(hooked_walk, current);
	return 0;
}

/* Because of it the breakpoint is not made a jump. */
static void probe_after(struct kprobe *probe, struct pt_regs *regs, unsigned long flags)
{
}

/* Where in the function: behind endbr64, if there is one. The validator is not to see a reference. */
static unsigned int probe_offset = IS_ENABLED(CONFIG_X86_KERNEL_IBT) ? 4 : 0;

/* The instruction there pushes the frame pointer, or returns. */
static int look_from_breakpoint(struct walk *walk)
{
	struct kprobe probe = {
		.addr = (void *)probed + READ_ONCE(probe_offset),
		.pre_handler = probe_before,
		.post_handler = probe_after,
	};
	int error = register_kprobe(&probe);

	if (error)
		return error;
	error = run_body(walk, call_probed);
	unregister_kprobe(&probe);
	return error;
}

/* Static calls. */

static noinline void other_body(struct victim *victim)
{
	barrier();
}

DEFINE_STATIC_CALL(looks, look_at_itself);
DEFINE_STATIC_CALL(naps, nap);

static noinline void call_static(struct victim *victim)
{
	static_call(looks)(victim);
	barrier();
}

static noinline void nap_static(struct victim *victim)
{
	static_call_cond(naps)(victim);
	barrier();
}

static int look_through_static_call(struct walk *walk)
{
	return run_body(walk, call_static);
}

static int look_through_changed_static_call(struct walk *walk)
{
	struct victim victim = { .body = nap_static, .walk = walk };
	int error = start_victim(&victim, THERE);

	if (error)
		return error;
	if (wait_until(&victim.ready) && wait_asleep(victim.task)) {
		/* It returns behind what is then another call, and at last none. */
		static_call_update(naps, other_body);
		static_call_update(naps, (typeof(&nap))NULL);
		record_resting(walk, victim.task);
	}
	stop_victim(&victim);
	static_call_update(naps, nap);
	return 0;
}

/* BPF: a program that calls a function of the kernel. */

static struct bpf_prog *program;

static noinline u64 called_by_program(u64 a, u64 b, u64 c, u64 d, u64 e)
{
	struct victim *victim = (struct victim *)a;

	if (victim->data)
		nap(victim);
	else
		look_at_itself(victim);
	barrier();
	return 0;
}

static noinline void run_program(struct victim *victim)
{
	program->bpf_func(victim, program->insnsi);
	barrier();
}

static noinline void sleep_in_program(struct victim *victim)
{
	victim->data = victim;
	program->bpf_func(victim, program->insnsi);
	barrier();
}

static int with_program(struct walk *walk,
			int (*look)(struct walk *walk, void (*body)(struct victim *victim)),
			void (*body)(struct victim *victim))
{
	struct bpf_insn instructions[] = {
		BPF_EMIT_CALL(called_by_program),
		BPF_MOV64_IMM(BPF_REG_0, 0),
		BPF_EXIT_INSN(),
	};
	int error = 0;

	program = bpf_prog_alloc(bpf_prog_size(ARRAY_SIZE(instructions)), 0);
	if (!program)
		return -ENOMEM;
	program->len = ARRAY_SIZE(instructions);
	program->type = BPF_PROG_TYPE_SOCKET_FILTER;
	memcpy(program->insnsi, instructions, sizeof(instructions));
	program = bpf_prog_select_runtime(program, &error);
	if (!error && !program->jited)
		error = -EOPNOTSUPP;
	if (!error) {
		/* Makes its text known. */
		bpf_prog_kallsyms_add(program);
		error = look(walk, body);
		bpf_prog_kallsyms_del(program);
	}
	bpf_prog_free(program);
	return error;
}

static int look_from_program(struct walk *walk)
{
	return with_program(walk, run_body, run_program);
}

static int look_at_sleeping_program(struct walk *walk)
{
	return with_program(walk, look_asleep, sleep_in_program);
}

/* A function without a frame, which the validator's table holds. */

void keep_no_frame(struct victim *victim);

noinline void called_without_frame(struct victim *victim);
noinline __used void called_without_frame(struct victim *victim)
{
	look_at_itself(victim);
	barrier();
}

asm(".pushsection .text\n"
    ".type keep_no_frame, @function\n"
    "keep_no_frame:\n"
    ASM_ENDBR
    "	sub $8, %rsp\n"
    "	call called_without_frame\n"
    "	add $8, %rsp\n"
    ASM_RET
    ".size keep_no_frame, . - keep_no_frame\n"
    ".popsection\n");
STACK_FRAME_NON_STANDARD_FP(keep_no_frame);

static int look_without_frame(struct walk *walk)
{
	return run_body(walk, keep_no_frame);
}

#define NO_FRAME { "text that keeps no frame, says the validator", NULL }
#define GENERATED BOTH("code that was made at run time")

const struct test_case hook_cases[] = {
	/* With frame pointers the tracer's entry makes records for others, but none of its own. */
	{ "in an ftrace handler", look_from_plain_tracer,
	  { "record trace_handler",
	    "record trace_handler ftrace_trampoline traced call_traced " THREAD_END },
	  NO_FRAME },
	{ "in an ftrace handler with registers", look_from_tracer_with_registers,
	  { "record trace_handler",
	    "record trace_handler ftrace_trampoline traced call_traced " THREAD_END },
	  NO_FRAME },
	{ "under the graph tracer", look_under_graph_tracer,
	  BOTH("record look_at_itself " THREAD_END) },
	{ "sleeping under the graph tracer", look_asleep_under_graph_tracer,
	  BOTH("__schedule schedule nap " THREAD_END) },
	{ "under return probes", look_under_return_probes,
	  BOTH("record look_at_itself " THREAD_END) },
	{ "sleeping under return probes", look_asleep_under_return_probes,
	  BOTH("__schedule schedule nap " THREAD_END) },
	{ "sleeping under return probes and the graph tracer", look_asleep_under_both,
	  BOTH("__schedule schedule nap " THREAD_END), BOTH(NULL), BOTH(C_IS_WRONG) },
	{ "in the handler of a return probe", look_from_return_probe,
	  { "record look_from_return ... arch_rethook_trampoline_callback",
	    "record look_from_return ... arch_rethook_trampoline_callback "
	    "arch_rethook_trampoline call_traced " THREAD_END },
	  NO_FRAME },
	{ "in the handler of a breakpoint", look_from_breakpoint,
	  { "record probe_before ...",
	    "record probe_before ... asm_exc_int3 *probed call_probed " THREAD_END },
	  { "interrupted in the kernel by a breakpoint", NULL } },
	{ "through a static call", look_through_static_call,
	  BOTH("record look_at_itself call_static " THREAD_END) },
	{ "sleeping in a static call that has changed", look_through_changed_static_call,
	  BOTH("__schedule schedule nap nap_static " THREAD_END) },
	{ "in a BPF program", look_from_program,
	  BOTH("record look_at_itself called_by_program"), GENERATED },
	{ "sleeping in a BPF program", look_at_sleeping_program,
	  BOTH("__schedule schedule nap called_by_program"), GENERATED },
	{ "through text that keeps no frame", look_without_frame,
	  { "record look_at_itself called_without_frame",
	    "record look_at_itself called_without_frame keep_no_frame " THREAD_END },
	  NO_FRAME },
	{}
};
