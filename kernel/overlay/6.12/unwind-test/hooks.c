// SPDX-License-Identifier: GPL-2.0-only
/*
 * Code that others have put something into: tracers, probes, return hooks, static calls, BPF; and
 * code that keeps no frame.
 */
#include <linux/delay.h>
#include <linux/err.h>
#include <linux/filter.h>
#include <linux/ftrace.h>
#include <linux/kallsyms.h>
#include <linux/kprobes.h>
#include <linux/objtool.h>
#include <linux/static_call.h>
#include <asm/text-patching.h>

#include "test.h"

/* In whom a hook is to act, once; one case runs at a time. */
static struct victim *hooked;

static __always_inline void act_if_hooked(void)
{
	struct victim *victim = READ_ONCE(hooked);

	if (!victim || victim->task != current)
		return;
	WRITE_ONCE(hooked, NULL);
	victim->action(victim);
	barrier();
}

/* A function that is traced, and some that are not, with a probe at their beginning. */

static noinline void traced(struct victim *victim)
{
	barrier();
}

static noinline notrace void probed(struct victim *victim)
{
	barrier();
}

/* Of instructions that may run elsewhere, so that the breakpoint is made a jump. */
static noinline notrace void jumped_from(struct victim *victim)
{
	asm volatile("mov %%rax, %%rax\n\tmov %%rax, %%rax\n\t"
		     "mov %%rax, %%rax\n\tmov %%rax, %%rax" : : : "memory");
}

static noinline void call_traced(struct victim *victim)
{
	WRITE_ONCE(hooked, victim);
	traced(victim);
	WRITE_ONCE(victim->ready, true);
}

static noinline void call_probed(struct victim *victim)
{
	WRITE_ONCE(hooked, victim);
	probed(victim);
	WRITE_ONCE(victim->ready, true);
}

static noinline void call_jumped_from(struct victim *victim)
{
	WRITE_ONCE(hooked, victim);
	jumped_from(victim);
	WRITE_ONCE(victim->ready, true);
}

static noinline void act(struct victim *victim)
{
	victim->action(victim);
	barrier();
}

/* Who is looked at: a thread, or a user task in its system call. */
static int (*look_at)(struct walk *walk, void (*body)(struct victim *victim)) = look_at_thread;

static int look_at_user(struct walk *walk, int (*look)(struct walk *walk))
{
	int error;

	look_at = look_at_this_task;
	error = look(walk);
	look_at = look_at_thread;
	return error;
}

/* Function tracer. */

static void trace_handler(unsigned long ip, unsigned long parent, struct ftrace_ops *ops,
			  struct ftrace_regs *regs)
{
	act_if_hooked();
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
		error = look_at(walk, call_traced);
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

/* Whether one was: without, a case would show nothing. */
static bool rewritten;

static int graph_entry(struct ftrace_graph_ent *entry, struct fgraph_ops *ops)
{
	WRITE_ONCE(rewritten, true);
	return 1;
}

static void graph_return(struct ftrace_graph_ret *ret, struct fgraph_ops *ops)
{
}

static struct fgraph_ops graph_ops = {
	.entryfunc = graph_entry,
	.retfunc = graph_return,
};

static int look_plainly(struct walk *walk)
{
	return look_at(walk, look_at == look_at_thread ? NULL : act);
}

static int look_with_graph_tracer(struct walk *walk, struct fgraph_ops *tracer, void *const *functions,
				  int (*look)(struct walk *walk))
{
	int error = 0, i;

	for (i = 0; functions[i] && !error; i++)
		error = ftrace_set_filter_ip(&tracer->ops,
					     ftrace_location((unsigned long)functions[i]), 0, !i);
	rewritten = false;
	if (!error)
		error = register_ftrace_graph(tracer);
	if (!error) {
		error = look(walk);
		unregister_ftrace_graph(tracer);
	}
	return error ?: rewritten ? 0 : -ENODATA;
}

static int with_graph_tracer(struct walk *walk, int (*look)(struct walk *walk))
{
	void *const functions[] = { inner, outer, act, look_at_itself, nap, spin, leave, NULL };

	return look_with_graph_tracer(walk, &graph_ops, functions, look);
}

static int look_under_graph_tracer(struct walk *walk)
{
	return with_graph_tracer(walk, look_plainly);
}

static int look_at_leaver_under_graph_tracer(struct walk *walk)
{
	return with_graph_tracer(walk, look_at_leaver);
}

/* An idle task calls do_idle() anew each time that it has had its CPU taken. */

static int idle_entry(struct ftrace_graph_ent *entry, struct fgraph_ops *ops)
{
	return is_idle_task(current) && smp_processor_id() == THERE ? graph_entry(entry, ops) : 0;
}

static int look_at_traced_idle(struct walk *walk)
{
	int error = 0, i;

	for (i = 0; i < 20 && !error && !READ_ONCE(rewritten); i++)
		error = look_at_idle(walk);
	return error ?: look_at_idle(walk);
}

static int look_at_idle_under_graph_tracer(struct walk *walk)
{
	static struct fgraph_ops ops = { .entryfunc = idle_entry, .retfunc = graph_return };
	void *const functions[] = { (void *)kallsyms_lookup_name("do_idle"), NULL };

	return functions[0] ? look_with_graph_tracer(walk, &ops, functions, look_at_traced_idle) :
			      -ENOENT;
}

/* The graph tracer's own handlers, when a function begins and when it has returned. */

static int act_at_entry(struct ftrace_graph_ent *entry, struct fgraph_ops *ops)
{
	act_if_hooked();
	return graph_entry(entry, ops);
}

static void act_at_return(struct ftrace_graph_ret *ret, struct fgraph_ops *ops)
{
	act_if_hooked();
}

static int look_at_calls(struct walk *walk)
{
	return look_at(walk, call_traced);
}

static int look_from_graph_entry(struct walk *walk)
{
	static struct fgraph_ops ops = { .entryfunc = act_at_entry, .retfunc = graph_return };
	void *const functions[] = { traced, NULL };

	return look_with_graph_tracer(walk, &ops, functions, look_at_calls);
}

static int look_from_graph_return(struct walk *walk)
{
	static struct fgraph_ops ops = { .entryfunc = graph_entry, .retfunc = act_at_return };
	void *const functions[] = { traced, NULL };

	return look_with_graph_tracer(walk, &ops, functions, look_at_calls);
}

/* Return probes: rewrite return addresses too. */

static int probe_return(struct kretprobe_instance *instance, struct pt_regs *regs)
{
	return 0;
}

static bool probed_entry;

static int probe_entry(struct kretprobe_instance *instance, struct pt_regs *regs)
{
	WRITE_ONCE(probed_entry, true);
	return 0;
}

static int with_return_probes(struct walk *walk, int (*look)(struct walk *walk))
{
	struct kretprobe first = {
		.handler = probe_return, .maxactive = 8,
		.kp.addr = look_at == look_at_thread ? (void *)inner : (void *)act,
		.entry_handler = probe_entry,
	};
	struct kretprobe second = {
		.handler = probe_return, .maxactive = 8, .kp.addr = (void *)outer,
	};
	int error;

	probed_entry = false;
	error = register_kretprobe(&first);
	if (error)
		return error;
	error = register_kretprobe(&second);
	if (!error) {
		error = look(walk);
		unregister_kretprobe(&second);
	}
	unregister_kretprobe(&first);
	return error ?: probed_entry ? 0 : -ENODATA;
}

static int look_under_return_probes(struct walk *walk)
{
	return with_return_probes(walk, look_plainly);
}

static int look_at_user_in_tracer(struct walk *walk)
{
	return look_at_user(walk, look_from_plain_tracer);
}

static int look_at_user_under_graph_tracer(struct walk *walk)
{
	return look_at_user(walk, look_under_graph_tracer);
}

static int look_at_user_under_return_probes(struct walk *walk)
{
	return look_at_user(walk, look_under_return_probes);
}

static int look_at_leaver_under_return_probes(struct walk *walk)
{
	return with_return_probes(walk, look_at_leaver);
}

static int look_under_both(struct walk *walk)
{
	return with_return_probes(walk, look_under_graph_tracer);
}

/* The handler of a return probe: the function has returned, and its caller waits. */
/* Not merged with the other handler that does the same. */
#define KEPT __attribute__((no_icf))

static KEPT int look_from_return(struct kretprobe_instance *instance, struct pt_regs *regs)
{
	act_if_hooked();
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
	error = look_at(walk, call_traced);
	unregister_kretprobe(&probe);
	return error;
}

/* Breakpoints. */

static KEPT int probe_before(struct kprobe *probe, struct pt_regs *regs)
{
	act_if_hooked();
	return 0;
}

/* Because of it the breakpoint is not made a jump. */
static void probe_after(struct kprobe *probe, struct pt_regs *regs, unsigned long flags)
{
}

/* Where in the function: behind endbr64, if there is one. The validator is not to see a reference. */
static unsigned int probe_offset = IS_ENABLED(CONFIG_X86_KERNEL_IBT) ? 4 : 0;

/* A probe on a function that can be traced is a handler of the tracer's. */
static int look_from_probe_by_tracer(struct walk *walk)
{
	struct kprobe probe = { .addr = (void *)traced, .pre_handler = probe_before };
	int error = register_kprobe(&probe);

	if (error)
		return error;
	error = look_at(walk, call_traced);
	unregister_kprobe(&probe);
	return error;
}

/* The kernel makes the breakpoint a jump when it has the time. */
static int look_from_jump(struct walk *walk)
{
	struct kprobe probe = {
		.addr = (void *)jumped_from + READ_ONCE(probe_offset), .pre_handler = probe_before,
	};
	int error = register_kprobe(&probe), i;

	if (error)
		return error;
	error = -ETIMEDOUT;
	for (i = 0; i < 4000 && *(volatile u8 *)probe.addr != JMP32_INSN_OPCODE; i++)
		usleep_range(2000, 5000);
	if (*(volatile u8 *)probe.addr == JMP32_INSN_OPCODE)
		error = look_at(walk, call_jumped_from);
	unregister_kprobe(&probe);
	return error;
}

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
	error = look_at(walk, call_probed);
	unregister_kprobe(&probe);
	return error;
}

static int look_at_user_in_breakpoint(struct walk *walk)
{
	return look_at_user(walk, look_from_breakpoint);
}

/* Static calls. */

static noinline void other_body(struct victim *victim)
{
	barrier();
}

DEFINE_STATIC_CALL(acts, act);
DEFINE_STATIC_CALL(naps, nap);

static noinline void call_static(struct victim *victim)
{
	static_call(acts)(victim);
	barrier();
}

static noinline void nap_static(struct victim *victim)
{
	static_call_cond(naps)(victim);
	barrier();
}

static int look_through_static_call(struct walk *walk)
{
	return look_at(walk, call_static);
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

	victim->action(victim);
	barrier();
	return 0;
}

static noinline void run_program(struct victim *victim)
{
	program->bpf_func(victim, program->insnsi);
	barrier();
}

static int look_from_program(struct walk *walk)
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
		error = look_at(walk, run_program);
		bpf_prog_kallsyms_del(program);
	}
	bpf_prog_free(program);
	return error;
}

/* A function without a frame, which the validator's table holds. */

void keep_no_frame(struct victim *victim);

noinline void called_without_frame(struct victim *victim);
noinline __used void called_without_frame(struct victim *victim)
{
	victim->action(victim);
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
	return look_at(walk, keep_no_frame);
}

#define NO_FRAME { "text that keeps no frame, says the validator", NULL }
#define TRACED "the function tracer's entry, which may go on elsewhere"
#define GENERATED "code that was made at run time"
#define LOST "a rewritten return address cannot be recovered"
#define PREEMPTED_THERE { INTERRUPTED, NULL }
#define UNFRAMED "called_without_frame keep_no_frame " THREAD_END
#define BY_PROGRAM "called_by_program"
#define USER_END "look_at_this_task ... do_syscall_64 entry_SYSCALL_64_after_hwframe"

const struct test_case hook_cases[] = {
	/* Where the tracer's entry goes on, its handlers may choose. */
	{ "in an ftrace handler", look_from_plain_tracer, BOTH(LOOKS "trace_handler"),
	  BOTH(TRACED) },
	{ "in an ftrace handler, sleeping", look_from_plain_tracer, BOTH(NAPS "trace_handler"),
	  BOTH(TRACED), .state = SLEEPING },
	{ "in an ftrace handler, preempted", look_from_plain_tracer,
	  { PREEMPTED_FRAMES, SPINS "trace_handler" }, { INTERRUPTED, TRACED },
	  .state = PREEMPTED },
	{ "in an ftrace handler with registers", look_from_tracer_with_registers,
	  BOTH(LOOKS "trace_handler"), BOTH(TRACED) },
	{ "under the graph tracer", look_under_graph_tracer, BOTH(LOOKS THREAD_END) },
	{ "under the graph tracer, sleeping", look_under_graph_tracer, BOTH(NAPS THREAD_END),
	  .state = SLEEPING },
	{ "under the graph tracer, preempted", look_under_graph_tracer,
	  { PREEMPTED_FRAMES, SPINS THREAD_END }, PREEMPTED_THERE, .state = PREEMPTED },
	{ "under the graph tracer, exiting", look_at_leaver_under_graph_tracer,
	  BOTH("record end_of_victim ... do_exit ... leave " THREAD_END) },
	{ "under the graph tracer, idle", look_at_idle_under_graph_tracer,
	  BOTH("__schedule schedule_idle do_idle cpu_startup_entry start_secondary "
	       "common_startup_64") },
	{ "in the graph tracer's handler of a call", look_from_graph_entry,
	  BOTH(LOOKS "act_at_entry ..."), BOTH(TRACED) },
	{ "in the graph tracer's handler of a return", look_from_graph_return,
	  { LOOKS "act_at_return ...",
	    LOOKS "act_at_return ... return_to_handler call_traced " THREAD_END }, NO_FRAME },
	{ "in the graph tracer's handler of a return, sleeping", look_from_graph_return,
	  { NAPS "act_at_return ...",
	    NAPS "act_at_return ... return_to_handler call_traced " THREAD_END },
	  NO_FRAME, .state = SLEEPING },
	{ "in the graph tracer's handler of a return, preempted", look_from_graph_return,
	  { PREEMPTED_FRAMES,
	    SPINS "act_at_return ... return_to_handler call_traced " THREAD_END },
	  PREEMPTED_THERE, .state = PREEMPTED },
	{ "under return probes", look_under_return_probes, BOTH(LOOKS THREAD_END) },
	{ "under return probes, sleeping", look_under_return_probes, BOTH(NAPS THREAD_END),
	  .state = SLEEPING },
	/* The kernel looks for the original of a task only that sleeps. */
	{ "under return probes, preempted", look_under_return_probes,
	  { PREEMPTED_FRAMES, SPINS "inner" }, { INTERRUPTED, LOST }, .state = PREEMPTED },
	{ "under return probes, exiting", look_at_leaver_under_return_probes,
	  BOTH("record end_of_victim ... do_exit ... leave " THREAD_END) },
	{ "under return probes and the graph tracer", look_under_both, BOTH(LOOKS THREAD_END),
	  BOTH(NULL), BOTH(C_IS_WRONG) },
	{ "under return probes and the graph tracer, sleeping", look_under_both,
	  BOTH(NAPS THREAD_END), BOTH(NULL), BOTH(C_IS_WRONG), .state = SLEEPING },
	{ "under return probes and the graph tracer, preempted", look_under_both,
	  { PREEMPTED_FRAMES, SPINS "inner" }, { INTERRUPTED, LOST }, .state = PREEMPTED },
	{ "in the handler of a return probe", look_from_return_probe,
	  { LOOKS "look_from_return ... arch_rethook_trampoline_callback",
	    LOOKS "look_from_return ... arch_rethook_trampoline_callback "
	    "arch_rethook_trampoline call_traced " THREAD_END },
	  NO_FRAME },
	{ "in the handler of a breakpoint", look_from_breakpoint,
	  { LOOKS "probe_before ...",
	    LOOKS "probe_before ... asm_exc_int3 *probed call_probed " THREAD_END },
	  { "interrupted in the kernel by a breakpoint", NULL } },
	{ "in the handler of a probe by the tracer", look_from_probe_by_tracer,
	  BOTH(LOOKS "probe_before ..."), BOTH(TRACED) },
	{ "in the handler of a probe by a jump", look_from_jump,
	  BOTH(LOOKS "probe_before ... optimized_callback"), BOTH(GENERATED) },
	{ "in an ftrace handler, a user task", look_at_user_in_tracer,
	  BOTH(LOOKS "trace_handler"), BOTH(TRACED) },
	{ "in an ftrace handler, a user task, sleeping", look_at_user_in_tracer,
	  BOTH(NAPS "trace_handler"), BOTH(TRACED), .state = SLEEPING },
	{ "under the graph tracer, a user task", look_at_user_under_graph_tracer,
	  BOTH(LOOKS "act " USER_END) },
	{ "under the graph tracer, a user task, sleeping", look_at_user_under_graph_tracer,
	  BOTH(NAPS "act " USER_END), .state = SLEEPING },
	{ "under the graph tracer, a user task, preempted", look_at_user_under_graph_tracer,
	  { PREEMPTED_FRAMES, SPINS "act " USER_END }, PREEMPTED_THERE, .state = PREEMPTED },
	{ "under return probes, a user task", look_at_user_under_return_probes,
	  BOTH(LOOKS "act " USER_END) },
	{ "under return probes, a user task, sleeping", look_at_user_under_return_probes,
	  BOTH(NAPS "act " USER_END), .state = SLEEPING },
	{ "in the handler of a breakpoint, a user task", look_at_user_in_breakpoint,
	  { LOOKS "probe_before ...",
	    LOOKS "probe_before ... asm_exc_int3 *probed call_probed " USER_END },
	  { "interrupted in the kernel by a breakpoint", NULL } },
	{ "through a static call", look_through_static_call,
	  BOTH(LOOKS "act call_static " THREAD_END) },
	{ "through a static call, sleeping", look_through_static_call,
	  BOTH(NAPS "act call_static " THREAD_END), .state = SLEEPING },
	{ "through a static call, preempted", look_through_static_call,
	  { PREEMPTED_FRAMES, SPINS "act call_static " THREAD_END }, PREEMPTED_THERE,
	  .state = PREEMPTED },
	{ "sleeping in a static call that has changed", look_through_changed_static_call,
	  BOTH("__schedule schedule nap nap_static " THREAD_END) },
	{ "in a BPF program", look_from_program, BOTH(LOOKS BY_PROGRAM), BOTH(GENERATED) },
	{ "in a BPF program, sleeping", look_from_program, BOTH(NAPS BY_PROGRAM), BOTH(GENERATED),
	  .state = SLEEPING },
	{ "in a BPF program, preempted", look_from_program,
	  { PREEMPTED_FRAMES, SPINS BY_PROGRAM }, { INTERRUPTED, GENERATED },
	  .state = PREEMPTED },
	{ "through text that keeps no frame", look_without_frame,
	  { LOOKS "called_without_frame", LOOKS UNFRAMED }, NO_FRAME },
	{ "through text that keeps no frame, sleeping", look_without_frame,
	  { NAPS "called_without_frame", NAPS UNFRAMED }, NO_FRAME, .state = SLEEPING },
	{ "through text that keeps no frame, preempted", look_without_frame,
	  { PREEMPTED_FRAMES, SPINS UNFRAMED }, PREEMPTED_THERE, .state = PREEMPTED },
	{}
};
