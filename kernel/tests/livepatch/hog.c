// SPDX-License-Identifier: GPL-2.0-only
// Takes memory until only so many MB are available, says `full`, and keeps it.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static long available(void)
{
	char line[100];
	long kilobytes = -1;
	FILE *file = fopen("/proc/meminfo", "r");

	if (!file)
		return -1;
	while (fgets(line, sizeof(line), file))
		if (sscanf(line, "MemAvailable: %ld", &kilobytes) == 1)
			break;
	fclose(file);
	return kilobytes / 1024;
}

int main(int count, char **arguments)
{
	long left = count > 1 ? atol(arguments[1]) : 32;

	while (available() > left) {
		char *block = malloc(1 << 20);

		if (!block)
			break;
		memset(block, 1, 1 << 20);
	}
	puts("full");
	fflush(stdout);
	pause();
	return 0;
}
