// SPDX-License-Identifier: GPL-2.0-only
// The first process of a boot, which does nothing that could go wrong: runs /init as a child of its own.
// When that ends, which it is not to, it says how, with the end of the kernel's log; without it, the
// kernel would panic and say nothing more.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/klog.h>
#include <sys/wait.h>
#include <unistd.h>

// The last so many bytes of the kernel's log.
#define LAST 8192
#define READ_ALL 3

int main(int count, char **arguments)
{
	static char log[LAST + 1];
	pid_t child, ended;
	int status, length;

	(void)count;
	child = fork();
	if (child == 0) {
		execv("/init", arguments);
		perror("/init");
		_exit(127);
	}
	// Those who lose their parents come here, too.
	do {
		ended = wait(&status);
	} while (child > 0 && ended != child);
	length = klogctl(READ_ALL, log, LAST);
	if (length > 0)
		puts(log);
	if (child < 0)
		puts("objtool-rs: died before it began");
	else if (WIFSIGNALED(status))
		printf("objtool-rs: died of signal %d, %s\n", WTERMSIG(status), strsignal(WTERMSIG(status)));
	else
		printf("objtool-rs: died with status %d\n", WEXITSTATUS(status));
	puts("objtool-rs: end");
	fflush(stdout);
	for (;;)
		pause();
}
