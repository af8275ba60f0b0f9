// SPDX-License-Identifier: GPL-2.0-only
// Is in the function that is patched until the door is open, and then runs without ever entering the
// kernel by itself again.
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

int main(void)
{
	char byte;
	int file = open("/dev/situation_sleep", O_RDONLY);

	if (file < 0 || read(file, &byte, 1) != 1) {
		perror("/dev/situation_sleep");
		return 1;
	}
	for (;;)
		__asm__ volatile("");
}
