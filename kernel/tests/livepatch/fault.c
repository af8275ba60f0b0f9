// SPDX-License-Identifier: GPL-2.0-only
// Has the kernel read a page that takes its time to come, in the function that is patched. Prints what
// the function gave.
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

int main(void)
{
	int file = open("/dev/situation_page", O_RDWR);
	void *page = mmap(NULL, 4096, PROT_READ, MAP_SHARED, file, 0);

	if (file < 0 || page == MAP_FAILED) {
		perror("/dev/situation_page");
		return 1;
	}
	printf("%zd\n", write(file, page, 1));
	return 0;
}
