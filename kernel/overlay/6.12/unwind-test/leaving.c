// SPDX-License-Identifier: GPL-2.0-only
/*
 * User tasks that are held up at their end: by a file that takes its time to be closed.
 */
#include <linux/anon_inodes.h>
#include <linux/delay.h>
#include <linux/fs.h>
#include <linux/module.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/umh.h>

#include "test.h"

static noinline int release_slowly(struct inode *inode, struct file *file)
{
	struct victim *victim = file->private_data;

	victim->action(victim);
	barrier();
	return 0;
}

static const struct file_operations slow_to_close = {
	.owner = THIS_MODULE, .release = release_slowly,
};

/* In the task that is to become the program, which inherits the file. */
static int give_file(struct subprocess_info *info, struct cred *new)
{
	struct victim *victim = info->data;
	int number = anon_inode_getfd("[slow to close]", &slow_to_close, victim, 0);

	if (number < 0)
		return number;
	set_cpus_allowed_ptr(current, cpumask_of(THERE));
	victim->task = get_task_struct(current);
	return 0;
}

static int look_at_leaving_process(struct walk *walk)
{
	static char *argv[] = { "/bin/true", NULL };
	static char *envp[] = { "PATH=/usr/bin", NULL };
	struct victim victim = { .action = actions[walk->state], .walk = walk };
	struct subprocess_info *info = call_usermodehelper_setup(argv[0], argv, envp, GFP_KERNEL,
								 give_file, NULL, &victim);
	int error = info ? call_usermodehelper_exec(info, UMH_WAIT_EXEC) : -ENOMEM, i;

	if (!error)
		error = look_from_outside(&victim);
	if (victim.task) {
		WRITE_ONCE(victim.stop, true);
		/* The file is closed before that. */
		for (i = 0; i < 4000 && !READ_ONCE(victim.task->exit_state); i++) {
			wake_up_process(victim.task);
			usleep_range(1000, 5000);
		}
		put_task_struct(victim.task);
	}
	return error;
}

#define LEAVING "release_slowly __fput ... task_work_run do_exit do_group_exit ... " \
		"do_syscall_64 entry_SYSCALL_64_after_hwframe"

const struct test_case leaving_cases[] = {
	{ "exiting, in the release of a file", look_at_leaving_process, BOTH(LOOKS LEAVING) },
	{ "exiting, in the release of a file, sleeping", look_at_leaving_process,
	  BOTH(NAPS LEAVING), .state = SLEEPING },
	{ "exiting, in the release of a file, preempted", look_at_leaving_process,
	  { PREEMPTED_FRAMES, SPINS LEAVING }, { INTERRUPTED, NULL }, .state = PREEMPTED },
	{}
};
