/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Tests of the unwinder: what the files of the module share.
 */
#ifndef _RUST_UNWIND_TEST_H
#define _RUST_UNWIND_TEST_H

#include <linux/completion.h>
#include <linux/ptrace.h>
#include <linux/sched.h>
#include <linux/types.h>
#include <asm/stack_verdict.h>

/* The CPU of those that are looked at, and the one of those that look. */
#define THERE 1
#define HERE 0

/* The most frames that are kept of a walk. */
#define MOST_FRAMES 96

/* What the task is doing that is looked at. */
enum state {
	/* It looks itself. */
	CURRENT,
	/* It sleeps, and another looks. */
	SLEEPING,
	/* An interrupt has taken its CPU from it, and who got it looks. */
	PREEMPTED,
};

/* What one walk showed, and what the C unwinder said of the same stack. */
struct walk {
	/* Set before: the state that is asked for, and how it is looked at; NULL for record(). */
	enum state state;
	void (*look)(struct walk *walk, struct task_struct *task);
	bool done;
	unsigned int count;
	struct stack_frame_seen frames[MOST_FRAMES];
	struct stack_verdict verdict;
	/* The C unwinder's: 0 if it calls the stack reliable. */
	int c_result;
	unsigned int c_count;
	unsigned long c_addresses[MOST_FRAMES];
};

/* walks.c */
void record(struct walk *walk, struct task_struct *task);
bool keep_frame(void *cookie, const struct stack_frame_seen *frame);
bool record_resting(struct walk *walk, struct task_struct *task);
/* What is known of the C unwinder, where ours is reliable. */
enum c_says {
	/* It shows the same frames. */
	C_AGREES,
	/* It refuses, and the case shows that it need not. */
	C_REFUSES,
	/* It shows other frames, and the case shows that they are wrong; see the overlay's README. */
	C_IS_WRONG,
};

const char *compare_with_c(const struct walk *walk, enum c_says c_says);
bool comparison_can_fail(struct walk *walk);

/* Addresses alone, as those get them who take what they can. */
struct addresses {
	unsigned int count;
	unsigned long at[MOST_FRAMES];
};

bool store_address(void *cookie, unsigned long address);
void keep_addresses(struct walk *walk, const struct addresses *ours, const struct addresses *theirs,
		    bool first_is_interrupted);
bool matches(const struct walk *walk, const char *pattern);
void show_walk(const struct walk *walk);

/* A copy of a task's whole stack, and what a walk over it read. */
struct stack_copy {
	unsigned long begin;
	const u64 *words;
	unsigned int count;
	unsigned long sp;
	unsigned long reads, outside;
};

void stack_verdict_copied(struct task_struct *task, struct stack_copy *copy,
			  bool (*visit)(void *cookie, const struct stack_frame_seen *frame),
			  void *cookie, struct stack_verdict *verdict);

/* A thread that gets into the state that a case is about. */
struct victim {
	struct task_struct *task;
	/* What it does, called by inner() and that by outer(). */
	void (*body)(struct victim *victim);
	/* What it does there where the body gets it to. */
	void (*action)(struct victim *victim);
	struct walk *walk;
	void *data;
	bool ready;
	bool stop;
};

/* threads.c */
void outer(struct victim *victim);
void inner(struct victim *victim);
int start_victim(struct victim *victim, int cpu);
void stop_victim(struct victim *victim);
bool wait_until(const bool *flag);
bool wait_asleep(struct task_struct *task);
void nap(struct victim *victim);
void spin(struct victim *victim);
void look_at_itself(struct victim *victim);
void leave(struct victim *victim);
/* Gets a thread, or the task that loads this module, to where the body leads, and looks at it there. */
int look_at_thread(struct walk *walk, void (*body)(struct victim *victim));
int look_at_this_task(struct walk *walk, void (*body)(struct victim *victim));
/* What one does for a state; looks at one that is getting where it does that. */
extern void (*const actions[])(struct victim *victim);
int look_from_outside(struct victim *victim);
int look_at_leaver(struct walk *walk);
int look_at_idle(struct walk *walk);
/* Lets a probe see what the action does at a tracepoint; the probe gets the walk. */
int with_probe(const char *name, void *probe, struct walk *walk, int (*action)(void));
/* deep.c, built in: calls itself as often, and then body(). */
void descend(struct victim *victim, unsigned long depth, void (*body)(struct victim *victim));
/* Runs look() on a CPU in front of everything else that is there. */
int run_before_others(int cpu, void (*look)(void *cookie), void *cookie);

/* A test. Patterns and reasons are those of a kernel with frame pointers and with ORC. */
struct test_case {
	const char *name;
	/* Returns 0, or an error if the state could not be brought about. */
	int (*run)(struct walk *walk);
	/*
	 * The functions of all frames, from the innermost: "*" in front of those that were
	 * interrupted, "..." for any number of frames that are the kernel's affair, "x*" for one
	 * whose name begins with x.
	 */
	const char *frames[2];
	/* Why it is not reliable; NULL if it is. */
	const char *why[2];
	enum c_says c_says[2];
	enum state state;
};

/* Those of each file, with an empty one at the end. */
extern const struct test_case thread_cases[], user_cases[], leaving_cases[], hook_cases[],
	context_cases[], fault_cases[], breakpoint_cases[], start_cases[], last_cases[];

/* Longer ones, which print what came of them; 0 if all is well. */
int walk_with_both(unsigned long walks);
int walk_damaged(unsigned long walks);
int measure_cost(unsigned long rounds);

#define FRAME_POINTERS 0
#define ORC 1
#define UNWINDER (IS_ENABLED(CONFIG_UNWINDER_ORC) ? ORC : FRAME_POINTERS)

/* The way down of each victim. */
#define THREAD_END "inner outer victim_thread kthread ret_from_fork ret_from_fork_asm"
#define BOTH(x) { x, x }
/* Where the innermost frames are, by state; and why a preempted task is refused with frame pointers. */
#define LOOKS "record look_at_itself "
#define NAPS "__schedule schedule nap "
#define SPINS "__schedule preempt_schedule_irq ... *spin "
#define PREEMPTED_FRAMES "__schedule preempt_schedule_irq ..."
#define INTERRUPTED "interrupted in the kernel by an interrupt"

#endif
