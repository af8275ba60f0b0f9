// SPDX-License-Identifier: GPL-2.0-only
// Enables, reverses, disables and replaces patches at random: `cycles SEED COUNT SECONDS TRACER PATCH…`
// until so much was done, for so long at the least. Between that it changes the tracer. Patches whose
// names hold `replace` are those that replace all others. Prints how often it did what, and says on the
// console how far it is.
//
// Whether a transition is to be reversed, and when, is drawn once, when it begins. Drawn at each look,
// it would be the more likely the longer transitions take, and on a slow machine none would end.
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define TRACER "/sys/kernel/debug/tracing/current_tracer"

static int is_one(const char *patch, const char *file)
{
	char path[200], byte = '0';
	int fd;

	snprintf(path, sizeof(path), "/sys/kernel/livepatch/%s/%s", patch, file);
	fd = open(path, O_RDONLY);
	if (fd < 0)
		return -1;
	if (read(fd, &byte, 1) != 1)
		byte = '0';
	close(fd);
	return byte == '1';
}

static int tell(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY), done;

	if (fd < 0)
		return 0;
	done = write(fd, text, strlen(text)) > 0;
	close(fd);
	return done;
}

static int load(const char *patch)
{
	char path[200];
	int fd, ret;

	snprintf(path, sizeof(path), "modules/%s.ko", patch);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0) {
		perror(path);
		exit(2);
	}
	ret = syscall(SYS_finit_module, fd, "", 0);
	if (ret && errno != EBUSY && errno != EEXIST) {
		perror(path);
		exit(1);
	}
	close(fd);
	return !ret;
}

static long long milliseconds(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

// When the transition that begins now is to be reversed, if it has not ended by then: two of five are,
// most of these early, some after the second in which the kernel looks at tasks again.
static long long draw_reversal(void)
{
	int most = 1 << random() % 12;

	if (random() % 5 >= 2)
		return LLONG_MAX;
	return milliseconds() + random() % most;
}

int main(int count, char **arguments)
{
	long wanted, enabled = 0, reversed = 0, disabled = 0, replaced = 0, traced = 0, said = 0;
	long long reverse_at = LLONG_MAX;
	FILE *console = fopen("/dev/console", "w");
	time_t end;
	char **patches = arguments + 5;
	int patch_count = count - 5, i;

	if (patch_count < 1)
		return 2;
	// All others always have something to do. What is done here is little, and need not wait for them.
	if (setpriority(PRIO_PROCESS, 0, -20))
		perror("setpriority");
	srandom(atoi(arguments[1]));
	wanted = atol(arguments[2]);
	end = time(NULL) + atol(arguments[3]);
	while (enabled + reversed + disabled + replaced < wanted || time(NULL) < end) {
		const char *patch = patches[random() % patch_count], *moving = NULL;
		int is_enabled, others = 0;
		char path[200];

		for (i = 0; i < patch_count; i++) {
			others |= is_one(patches[i], "enabled") == 1;
			if (is_one(patches[i], "transition") == 1) {
				moving = patches[i];
				// One that would be refused comes now and then.
				if (random() % 64)
					patch = patches[i];
			}
		}
		is_enabled = is_one(patch, "enabled");
		if (is_enabled < 0) {
			if (load(patch)) {
				if (others && strstr(patch, "replace"))
					replaced++;
				else
					enabled++;
				reverse_at = draw_reversal();
			}
		} else if (patch != moving || milliseconds() >= reverse_at) {
			snprintf(path, sizeof(path), "/sys/kernel/livepatch/%s/enabled", patch);
			if (tell(path, is_enabled ? "0" : "1")) {
				if (patch == moving)
					reversed++;
				else
					disabled++;
				reverse_at = draw_reversal();
			}
		}
		// That takes as long as a transition. It is looked at some hundred times while one lasts.
		if (random() % 512 == 0 && tell(TRACER, random() % 2 ? arguments[4] : "nop"))
			traced++;
		// Their modules stay a little longer.
		for (i = 0; i < patch_count; i++)
			if (is_one(patches[i], "enabled") < 0)
				syscall(SYS_delete_module, patches[i], O_NONBLOCK);
		if (console && enabled + reversed + disabled + replaced >= said + 100) {
			said += 100;
			fprintf(console, "cycles: %ld of %ld\n", said, wanted);
			fflush(console);
		}
		usleep(random() % 40000);
	}
	tell(TRACER, "nop");
	printf("enabled %ld reversed %ld disabled %ld replaced %ld traced %ld\n", enabled, reversed,
	       disabled, replaced, traced);
	return 0;
}
