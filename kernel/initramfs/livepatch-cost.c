// What a boot that measures live patching does beside its script:
//
//   livepatch-cost crowd N          starts N processes that sleep, and says when all of them do
//   livepatch-cost write PATH TEXT  writes, and says how many cycles that took

#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

// Bytes of a sleeper's stack.
#define STACK 8192

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

static int ends[2];

static int asleep(void *unused)
{
	// What the parent reads to its end is open for as long as one has not come here.
	close(ends[1]);
	while (pause())
		;
	return 0;
}

static int crowd(int count)
{
	int i;
	char byte;

	if (pipe(ends))
		fail("pipe");
	for (i = 0; i < count; i++) {
		// Their memory is the same, which makes them smaller.
		char *stack = malloc(STACK);

		if (!stack || clone(asleep, stack + STACK, CLONE_VM | SIGCHLD, NULL) < 0)
			fail("clone");
	}
	close(ends[1]);
	if (read(ends[0], &byte, 1) != 0)
		fail("read");
	// The last one has a few instructions left to go.
	sleep(1);
	printf("%d\n", count);
	return 0;
}

// What waits for ticks of the clock waits as long each time when it begins at the same part of one, and
// for nobody else when those who were woken by it have gone to sleep again.
static void tick(void)
{
	struct timespec first, now;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &first);
	do
		clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
	while (now.tv_sec == first.tv_sec && now.tv_nsec == first.tv_nsec);
	usleep(1500);
}

static int timed_write(const char *path, const char *text)
{
	int file = open(path, O_WRONLY);
	unsigned long long start, end;
	ssize_t written;

	if (file < 0)
		fail(path);
	tick();
	start = __rdtsc();
	written = write(file, text, strlen(text));
	end = __rdtsc();
	if (written < 0)
		fail(path);
	printf("%llu\n", end - start);
	return 0;
}

int main(int count, char **words)
{
	if (count == 3 && !strcmp(words[1], "crowd"))
		return crowd(atoi(words[2]));
	if (count == 4 && !strcmp(words[1], "write"))
		return timed_write(words[2], words[3]);
	fprintf(stderr, "usage: livepatch-cost crowd N | write PATH TEXT\n");
	return 2;
}
