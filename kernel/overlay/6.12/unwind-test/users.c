// SPDX-License-Identifier: GPL-2.0-only
/*
 * User tasks: in a system call, in user mode when they are interrupted or preempted there, before
 * they have ever been in user mode, at their end.
 */
#include <linux/delay.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/sched/task_stack.h>
#include <linux/umh.h>

#include "test.h"
#include "users.h"

/* A program that stays in user mode, on the CPU of those that are looked at. */

static int prepare_program(struct subprocess_info *info, struct cred *new)
{
	struct victim *victim = info->data;

	if (victim->body) {
		victim->body(victim);
		return -ECANCELED;
	}
	get_task_struct(current);
	set_cpus_allowed_ptr(current, cpumask_of(THERE));
	victim->task = current;
	return 0;
}

static int start_program(struct victim *victim)
{
	static char *argv[] = { "/bin/sh", "-c", "while :; do :; done", NULL };
	static char *envp[] = { "PATH=/usr/bin", NULL };
	struct subprocess_info *info = call_usermodehelper_setup(argv[0], argv, envp, GFP_KERNEL,
								 prepare_program, NULL, victim);

	return info ? call_usermodehelper_exec(info, UMH_WAIT_EXEC) : -ENOMEM;
}

int start_user(struct victim *victim)
{
	int error;

	victim->body = NULL;
	victim->task = NULL;
	error = start_program(victim);
	/* It is to be past its own beginning. */
	if (!error)
		msleep(500);
	return error;
}

void stop_user(struct victim *victim)
{
	int i;

	send_sig(SIGKILL, victim->task, 1);
	for (i = 0; i < 2000 && !READ_ONCE(victim->task->exit_state); i++)
		usleep_range(1000, 5000);
	put_task_struct(victim->task);
}

/* The first process: it waits for a child. */
static int look_at_init(struct walk *walk)
{
	struct task_struct *task;
	int error = -ESRCH;

	rcu_read_lock();
	task = pid_task(find_pid_ns(1, &init_pid_ns), PIDTYPE_PID);
	if (task)
		get_task_struct(task);
	rcu_read_unlock();
	if (task) {
		error = wait_asleep(task) && record_resting(walk, task) ? 0 : -EBUSY;
		put_task_struct(task);
	}
	return error;
}

/* The task that loads this module. */

static noinline void act_in_system_call(struct victim *victim)
{
	victim->action(victim);
	barrier();
}

static int look_in_system_call(struct walk *walk)
{
	return look_at_this_task(walk, act_in_system_call);
}

static bool holds_registers(const struct walk *walk)
{
	unsigned int i;

	for (i = 0; i < walk->count; i++) {
		if (walk->frames[i].registers)
			return true;
	}
	return false;
}

/*
 * Runs in front of the program, which it preempts when its own sleep is over. Now and then the
 * program is in the kernel then, on its way out of an interrupt.
 */
static void look_at_user(void *data)
{
	struct victim *victim = data;
	struct walk *walk = victim->walk;
	int i;

	for (i = 0; i < 100 && !(walk->verdict.reliable && !holds_registers(walk)); i++) {
		usleep_range(3000, 5000);
		record_resting(walk, victim->task);
	}
}

static int look_at_preempted_user(struct walk *walk)
{
	struct victim victim = { .walk = walk };
	int error = start_user(&victim);

	if (error)
		return error;
	error = run_before_others(THERE, look_at_user, &victim);
	stop_user(&victim);
	return error;
}

static int look_at_running_user(struct walk *walk)
{
	struct victim victim = { .walk = walk };
	int error = start_user(&victim), i;

	if (error)
		return error;
	for (i = 0; i < 100 && !READ_ONCE(victim.task->on_cpu); i++)
		usleep_range(1000, 5000);
	record(walk, victim.task);
	stop_user(&victim);
	return 0;
}

static noinline void look_before_exec(struct victim *victim)
{
	record(victim->walk, current);
	barrier();
}

static int look_at_unborn(struct walk *walk)
{
	struct victim victim = { .walk = walk, .body = look_before_exec };
	int error = start_program(&victim);

	return error == -ECANCELED ? 0 : error ?: -EINVAL;
}

/* Of one that is being born, and of some that end. */

static int make_process(void)
{
	char *argv[] = { "/bin/sh", "-c", "/bin/true; /bin/true", NULL };
	char *envp[] = { "PATH=/usr/bin", NULL };

	return call_usermodehelper(argv[0], argv, envp, UMH_WAIT_PROC);
}

static int kill_process(void)
{
	struct victim victim = {};
	int error = start_user(&victim);

	if (!error)
		stop_user(&victim);
	return error;
}

static void new_process(void *walk, struct task_struct *task, unsigned long flags)
{
	if (!(current->flags & PF_KTHREAD) && !((struct walk *)walk)->done)
		record(walk, task);
	barrier();
}

static void end_of_process(void *walk, struct task_struct *task)
{
	if (!strcmp(task->comm, "true") && !((struct walk *)walk)->done)
		record(walk, current);
	barrier();
}

static void end_of_killed(void *walk, struct task_struct *task)
{
	if (!strcmp(task->comm, "sh") && !((struct walk *)walk)->done)
		record(walk, current);
	barrier();
}

static int look_at_new_process(struct walk *walk)
{
	return with_probe("task_newtask", new_process, walk, make_process);
}

static int look_at_ending_process(struct walk *walk)
{
	return with_probe("sched_process_exit", end_of_process, walk, make_process);
}

static int look_at_killed_process(struct walk *walk)
{
	return with_probe("sched_process_exit", end_of_killed, walk, kill_process);
}

#define SYSTEM_CALL "do_syscall_64 entry_SYSCALL_64_after_hwframe"
#define HERE_IN "act_in_system_call look_at_this_task ... " SYSTEM_CALL

const struct test_case user_cases[] = {
	{ "current, a user task", look_in_system_call, BOTH(LOOKS HERE_IN) },
	{ "sleeping, a user task", look_in_system_call, BOTH(NAPS HERE_IN), .state = SLEEPING },
	{ "sleeping, the first process", look_at_init, BOTH("__schedule schedule ... " SYSTEM_CALL) },
	{ "preempted by an interrupt, a user task", look_in_system_call,
	  { PREEMPTED_FRAMES, SPINS HERE_IN }, { INTERRUPTED, NULL }, .state = PREEMPTED },
	{ "preempted in user mode", look_at_preempted_user,
	  BOTH("__schedule schedule ... irqentry_exit_to_user_mode ... asm_sysvec_*") },
	{ "running on another CPU, in user mode", look_at_running_user, BOTH(""),
	  BOTH("the stack is being used by a CPU") },
	{ "just forked, a user task", look_at_new_process, BOTH("ret_from_fork_asm") },
	{ "current, a user task before its program", look_at_unborn,
	  BOTH("record look_before_exec prepare_program call_usermodehelper_exec_async "
	       "ret_from_fork ret_from_fork_asm") },
	{ "exiting, a user task", look_at_ending_process,
	  BOTH("record end_of_process ... do_exit do_group_exit ... " SYSTEM_CALL) },
	{ "exiting, killed in user mode", look_at_killed_process,
	  BOTH("record end_of_killed ... do_exit do_group_exit get_signal ... "
	       "irqentry_exit_to_user_mode ... asm_sysvec_*") },
	{}
};
