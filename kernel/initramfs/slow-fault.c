// A page is read that never comes: it is registered with userfaultfd(2), and nobody serves it. The
// kernel reads it for this program, or the program itself if its argument is `user`. It prints its
// process number and then sleeps in the fault.

#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

int main(int count, char **words)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register area = { .mode = UFFDIO_REGISTER_MODE_MISSING };
	long size = sysconf(_SC_PAGESIZE);
	int fault = syscall(SYS_userfaultfd, O_CLOEXEC), ends[2];
	void *page;

	if (fault < 0)
		fail("userfaultfd");
	if (ioctl(fault, UFFDIO_API, &api))
		fail("UFFDIO_API");
	page = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (page == MAP_FAILED)
		fail("mmap");
	area.range.start = (unsigned long)page;
	area.range.len = size;
	if (ioctl(fault, UFFDIO_REGISTER, &area))
		fail("UFFDIO_REGISTER");
	if (pipe(ends))
		fail("pipe");
	printf("%d\n", getpid());
	fflush(stdout);
	if (count > 1 && !strcmp(words[1], "user"))
		return *(volatile char *)page;
	return write(ends[1], page, 8) == 8 ? 0 : 1;
}
