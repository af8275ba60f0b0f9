// SPDX-License-Identifier: GPL-2.0-only
// Loads a module again and again, each time with the next of its allocations failing, until there is
// none left to fail. Prints how often it was loaded all the same, how often it was refused for want of
// memory, how often as one that can't be patched because the tracer had no memory for its functions
// (EINVAL, as from the C core), and each other error.
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

// Arms the failure of this thread's nth allocation from here on.
static int arm(int nth)
{
	char text[16];
	int file = open("/proc/thread-self/fail-nth", O_RDWR);

	snprintf(text, sizeof(text), "%d", nth);
	if (file < 0 || write(file, text, strlen(text)) < 0) {
		perror("/proc/thread-self/fail-nth");
		return -1;
	}
	return file;
}

int main(int count, char **arguments)
{
	int nth, loaded = 0, refused = 0, untraced = 0, others = 0;

	if (count != 3)
		return 2;
	for (nth = 1; nth < 5000; nth++) {
		char left[16] = "";
		int module = open(arguments[1], O_RDONLY | O_CLOEXEC), file = arm(nth), error = 0;

		if (module < 0 || file < 0)
			return 2;
		if (syscall(SYS_finit_module, module, "", 0))
			error = errno;
		if (read(file, left, sizeof(left) - 1) < 0 || write(file, "0", 1) < 0)
			return 2;
		close(file);
		close(module);
		if (!error) {
			loaded++;
			while (syscall(SYS_delete_module, arguments[2], O_NONBLOCK))
				usleep(10000);
		} else if (error == ENOMEM) {
			refused++;
		} else if (error == EINVAL) {
			untraced++;
		} else {
			printf("allocation %d: %s\n", nth, strerror(error));
			others++;
		}
		if (left[0] != '0')
			break;
	}
	printf("loaded %d refused %d untraced %d others %d\n", loaded, refused, untraced, others);
	return 0;
}
