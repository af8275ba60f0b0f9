// A system call by the door of 32-bit programs, which 64-bit ones may take as well: pause(2). It prints
// its process number and then sleeps.

#include <stdio.h>
#include <unistd.h>

/* __NR_pause of asm/unistd_32.h. */
#define PAUSE 29

int main(void)
{
	long result = PAUSE;

	printf("%d\n", getpid());
	fflush(stdout);
	asm volatile("int $0x80" : "+a"(result) : : "memory", "r8", "r9", "r10", "r11");
	/* Only a signal that is handled brings it back. */
	return result ? 1 : 0;
}
