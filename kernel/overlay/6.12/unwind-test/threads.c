// SPDX-License-Identifier: GPL-2.0-only
/*
 * What a task can be doing: running, sleeping, preempted, being born, dying, idling; here or on
 * another CPU. Threads of the kernel's only; user tasks are in users.c.
 */
#include <linux/delay.h>
#include <linux/kthread.h>
#include <linux/sched/task.h>
#include <linux/sched/task_stack.h>
#include <linux/slab.h>
#include <linux/tracepoint.h>

#include "test.h"

noinline void inner(struct victim *victim)
{
	victim->body(victim);
	barrier();
}

noinline void outer(struct victim *victim)
{
	inner(victim);
	barrier();
}

static int victim_thread(void *data)
{
	outer(data);
	barrier();
	while (!kthread_should_stop())
		schedule_timeout_idle(1);
	return 0;
}

int start_victim(struct victim *victim, int cpu)
{
	victim->ready = false;
	victim->stop = false;
	victim->task = kthread_create(victim_thread, victim, "unwind_victim");
	if (IS_ERR(victim->task))
		return PTR_ERR(victim->task);
	kthread_bind(victim->task, cpu);
	get_task_struct(victim->task);
	wake_up_process(victim->task);
	return 0;
}

void stop_victim(struct victim *victim)
{
	WRITE_ONCE(victim->stop, true);
	wake_up_process(victim->task);
	kthread_stop(victim->task);
	put_task_struct(victim->task);
}

/* Waits at most some seconds. */
bool wait_until(const bool *flag)
{
	int i;

	for (i = 0; i < 2000 && !READ_ONCE(*flag); i++)
		usleep_range(1000, 5000);
	return READ_ONCE(*flag);
}

bool wait_asleep(struct task_struct *task)
{
	int i;

	for (i = 0; i < 2000; i++) {
		if (READ_ONCE(task->__state) && !READ_ONCE(task->on_cpu))
			return true;
		usleep_range(1000, 5000);
	}
	return false;
}

/* Bodies. */

noinline void nap(struct victim *victim)
{
	WRITE_ONCE(victim->ready, true);
	for (;;) {
		set_current_state(TASK_IDLE);
		if (READ_ONCE(victim->stop))
			break;
		schedule();
	}
	__set_current_state(TASK_RUNNING);
}

noinline void spin(struct victim *victim)
{
	WRITE_ONCE(victim->ready, true);
	while (!READ_ONCE(victim->stop))
		cpu_relax();
}

noinline void look_at_itself(struct victim *victim)
{
	record(victim->walk, current);
	WRITE_ONCE(victim->ready, true);
}

static noinline void spin_and_let_go(struct victim *victim)
{
	bool *go = victim->data;

	preempt_disable();
	WRITE_ONCE(victim->ready, true);
	while (!READ_ONCE(*go))
		cpu_relax();
	preempt_enable();
	barrier();
}

/* Runs a thread that nothing is in front of. */

struct look {
	void (*look)(void *cookie);
	void *cookie;
	struct completion go, done;
};

static int look_thread(void *data)
{
	struct look *look = data;

	wait_for_completion(&look->go);
	look->look(look->cookie);
	complete(&look->done);
	while (!kthread_should_stop())
		schedule_timeout_idle(1);
	return 0;
}

static int begin_looking(struct look *look, int cpu, struct task_struct **task)
{
	init_completion(&look->go);
	init_completion(&look->done);
	*task = kthread_create(look_thread, look, "unwind_looker");
	if (IS_ERR(*task))
		return PTR_ERR(*task);
	kthread_bind(*task, cpu);
	sched_set_fifo(*task);
	wake_up_process(*task);
	return wait_asleep(*task) ? 0 : -ETIMEDOUT;
}

int run_before_others(int cpu, void (*look)(void *cookie), void *cookie)
{
	struct look looker = { .look = look, .cookie = cookie };
	struct task_struct *task;
	int error = begin_looking(&looker, cpu, &task);

	if (error)
		return error;
	complete(&looker.go);
	wait_for_completion(&looker.done);
	kthread_stop(task);
	return 0;
}

/* Cases. */

static void look_at_victim(void *data)
{
	struct victim *victim = data;

	record_resting(victim->walk, victim->task);
}

int look_from_outside(struct victim *victim)
{
	if (!wait_until(&victim->ready))
		return -ETIMEDOUT;
	switch (victim->walk->state) {
	case CURRENT:
		return 0;
	case SLEEPING:
		if (!wait_asleep(victim->task))
			return -ETIMEDOUT;
		return record_resting(victim->walk, victim->task) ? 0 : -EBUSY;
	case PREEMPTED:
		return run_before_others(task_cpu(victim->task), look_at_victim, victim);
	}
	return -EINVAL;
}

void (*const actions[])(struct victim *victim) = {
	[CURRENT] = look_at_itself, [SLEEPING] = nap, [PREEMPTED] = spin,
};

int look_at_thread(struct walk *walk, void (*body)(struct victim *victim))
{
	struct victim victim = { .action = actions[walk->state], .walk = walk };
	int error;

	victim.body = body ?: victim.action;
	error = start_victim(&victim, THERE);
	if (error)
		return error;
	error = look_from_outside(&victim);
	stop_victim(&victim);
	return error;
}

static int look_from_outside_thread(void *data)
{
	struct victim *victim = data;
	int error = look_from_outside(victim);

	WRITE_ONCE(victim->stop, true);
	wake_up_process(victim->task);
	while (!kthread_should_stop())
		schedule_timeout_idle(1);
	return error;
}

int look_at_this_task(struct walk *walk, void (*body)(struct victim *victim))
{
	struct victim victim = {
		.task = current, .body = body, .action = actions[walk->state], .walk = walk,
	};
	struct task_struct *looker;

	if (walk->state == CURRENT) {
		body(&victim);
		return 0;
	}
	looker = kthread_create(look_from_outside_thread, &victim, "unwind_looker");
	if (IS_ERR(looker))
		return PTR_ERR(looker);
	kthread_bind(looker, THERE);
	wake_up_process(looker);
	body(&victim);
	/* If it did not get there, nobody is to wait for that. */
	WRITE_ONCE(victim.ready, true);
	return kthread_stop(looker);
}

static int look_plainly(struct walk *walk)
{
	return look_at_thread(walk, NULL);
}

static int look_at_running(struct walk *walk)
{
	struct victim victim = { .body = spin };
	int error = start_victim(&victim, THERE);

	if (error)
		return error;
	if (wait_until(&victim.ready) && task_cpu(victim.task) != get_cpu())
		record(walk, victim.task);
	put_cpu();
	stop_victim(&victim);
	return 0;
}

/* Preempted by its own preempt_enable(), for which somebody waits already. */
static int look_at_yielding(struct walk *walk)
{
	bool go = false;
	struct victim victim = { .body = spin_and_let_go, .walk = walk, .data = &go };
	struct look looker = { .look = look_at_victim, .cookie = &victim };
	struct task_struct *task;
	int error = begin_looking(&looker, THERE, &task);

	if (error)
		return error;
	error = start_victim(&victim, THERE);
	if (error)
		return error;
	wait_until(&victim.ready);
	complete(&looker.go);
	usleep_range(20000, 30000);
	WRITE_ONCE(go, true);
	wait_for_completion(&looker.done);
	kthread_stop(task);
	stop_victim(&victim);
	return 0;
}

struct idle_look {
	struct walk *walk;
	int cpu;
};

static void look_at_idle_task(void *data)
{
	struct idle_look *look = data;

	record_resting(look->walk, idle_task(look->cpu));
}

int look_at_idle(struct walk *walk)
{
	struct idle_look look = { walk, THERE };

	return run_before_others(THERE, look_at_idle_task, &look);
}

static int look_at_first_idle(struct walk *walk)
{
	struct idle_look look = { walk, HERE };

	return run_before_others(HERE, look_at_idle_task, &look);
}

/* Tracepoints, which no header declares for modules. */

struct point {
	const char *name;
	struct tracepoint *found;
};

static void find_point(struct tracepoint *tracepoint, void *data)
{
	struct point *point = data;

	if (!strcmp(tracepoint->name, point->name))
		point->found = tracepoint;
}

int with_probe(const char *name, void *probe, struct walk *walk, int (*action)(void))
{
	struct point point = { .name = name };
	int error;

	for_each_kernel_tracepoint(find_point, &point);
	if (!point.found)
		return -ENOENT;
	error = tracepoint_probe_register(point.found, probe, walk);
	if (error)
		return error;
	error = action();
	tracepoint_probe_unregister(point.found, probe, walk);
	tracepoint_synchronize_unregister();
	return error;
}

static int nothing_thread(void *data)
{
	return 0;
}

static int make_thread(void)
{
	struct task_struct *task = kthread_run(nothing_thread, NULL, "unwind_nothing");

	if (IS_ERR(task))
		return PTR_ERR(task);
	msleep(50);
	return 0;
}

static void new_thread(void *walk, struct task_struct *task, unsigned long flags)
{
	if ((task->flags & PF_KTHREAD) && !((struct walk *)walk)->done)
		record(walk, task);
	barrier();
}

static void end_of_thread(void *walk, struct task_struct *task)
{
	if (!strcmp(task->comm, "unwind_nothing") && !((struct walk *)walk)->done)
		record(walk, current);
	barrier();
}

static int look_at_new_thread(struct walk *walk)
{
	return with_probe("task_newtask", new_thread, walk, make_thread);
}

static int look_at_ending_thread(struct walk *walk)
{
	return with_probe("sched_process_exit", end_of_thread, walk, make_thread);
}

/* A thread that ends where it is, with all that is on its stack. */

noinline void leave(struct victim *victim)
{
	WRITE_ONCE(victim->ready, true);
	kthread_exit(0);
}

static int make_leaver(void)
{
	struct victim victim = { .body = leave };
	int error = start_victim(&victim, THERE);

	if (error)
		return error;
	wait_until(&victim.ready);
	stop_victim(&victim);
	return 0;
}

static void end_of_victim(void *walk, struct task_struct *task)
{
	if (!strcmp(task->comm, "unwind_victim") && !((struct walk *)walk)->done)
		record(walk, current);
	barrier();
}

int look_at_leaver(struct walk *walk)
{
	return with_probe("sched_process_exit", end_of_victim, walk, make_leaver);
}

/* One that has ended, but whose stack is held. */
static int look_at_dead(struct walk *walk)
{
	struct task_struct *task = kthread_create(nothing_thread, NULL, "unwind_nothing");
	int i;

	if (IS_ERR(task))
		return PTR_ERR(task);
	get_task_struct(task);
	try_get_task_stack(task);
	wake_up_process(task);
	for (i = 0; i < 2000 && READ_ONCE(task->__state) != TASK_DEAD; i++)
		usleep_range(1000, 5000);
	if (READ_ONCE(task->__state) == TASK_DEAD) {
		while (READ_ONCE(task->on_cpu))
			cpu_relax();
		record(walk, task);
	}
	put_task_stack(task);
	put_task_struct(task);
	return 0;
}

/* A thread that dies of a mistake: what it had on its stack is thrown away. */
static noinline void make_a_mistake(struct victim *victim)
{
	WRITE_ONCE(victim->ready, true);
	BUG();
}

static int make_oops(void)
{
	static struct victim victim = { .body = make_a_mistake };
	int error = start_victim(&victim, THERE);

	if (error)
		return error;
	wait_until(&victim.ready);
	msleep(500);
	put_task_struct(victim.task);
	return 0;
}

static int look_at_oopsing_thread(struct walk *walk)
{
	return with_probe("sched_process_exit", end_of_victim, walk, make_oops);
}

const struct test_case thread_cases[] = {
	{ "current, a kernel thread", look_plainly, BOTH(LOOKS THREAD_END) },
	{ "sleeping, a kernel thread", look_plainly, BOTH(NAPS THREAD_END), .state = SLEEPING },
	{ "preempted by an interrupt", look_plainly,
	  { PREEMPTED_FRAMES, SPINS THREAD_END }, { INTERRUPTED, NULL }, .state = PREEMPTED },
	{ "preempted by itself", look_at_yielding,
	  BOTH("__schedule ... preempt_schedule_thunk spin_and_let_go " THREAD_END) },
	{ "running on another CPU", look_at_running, BOTH(""),
	  BOTH("the stack is being used by a CPU") },
	{ "just forked, a kernel thread", look_at_new_thread, BOTH("ret_from_fork_asm") },
	{ "exiting, a kernel thread", look_at_ending_thread,
	  BOTH("record end_of_thread ... do_exit ... kthread ret_from_fork ret_from_fork_asm") },
	{ "exiting, in the middle", look_at_leaver,
	  BOTH("record end_of_victim ... do_exit ... leave " THREAD_END) },
	{ "exited, with its stack held", look_at_dead,
	  BOTH("__schedule do_task_dead do_exit ... kthread ret_from_fork ret_from_fork_asm") },
	{ "idle", look_at_idle,
	  BOTH("__schedule schedule_idle do_idle cpu_startup_entry start_secondary "
	       "common_startup_64") },
	{ "idle, the first CPU's", look_at_first_idle,
	  BOTH("__schedule schedule_idle do_idle cpu_startup_entry rest_init start_kernel "
	       "x86_64_start_reservations x86_64_start_kernel common_startup_64") },
	{}
};

/* The kernel speaks on its console from here on. */
const struct test_case last_cases[] = {
	{ "exiting, because of a mistake", look_at_oopsing_thread,
	  BOTH("record end_of_victim ... do_exit make_task_dead rewind_stack_and_make_dead"),
	  BOTH(NULL), { C_AGREES, C_REFUSES } },
	{}
};
