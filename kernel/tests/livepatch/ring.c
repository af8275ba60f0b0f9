// SPDX-License-Identifier: GPL-2.0-only
// Has the kernel run both kinds of threads that it has for io_uring: one that polls for requests, and a
// worker that has done one. Says so, and sleeps until it is killed.
#include <linux/io_uring.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

static int setup(struct io_uring_params *params)
{
	return syscall(__NR_io_uring_setup, 1, params);
}

static void *map(int ring, size_t size, off_t at)
{
	return mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, ring, at);
}

int main(void)
{
	struct io_uring_params params = { 0 };
	struct io_uring_params polled = { .flags = IORING_SETUP_SQPOLL, .sq_thread_idle = 100 };
	struct io_uring_sqe *request;
	char *queue;
	int ring = setup(&params);

	if (ring < 0 || setup(&polled) < 0) {
		perror("io_uring_setup");
		return 1;
	}
	queue = map(ring, params.sq_off.array + params.sq_entries * sizeof(unsigned int),
		    IORING_OFF_SQ_RING);
	request = map(ring, params.sq_entries * sizeof(*request), IORING_OFF_SQES);
	if (queue == MAP_FAILED || request == MAP_FAILED) {
		perror("mmap");
		return 1;
	}
	memset(request, 0, sizeof(*request));
	request->opcode = IORING_OP_NOP;
	request->flags = IOSQE_ASYNC;
	*(unsigned int *)(queue + params.sq_off.array) = 0;
	__atomic_store_n((unsigned int *)(queue + params.sq_off.tail), 1, __ATOMIC_RELEASE);
	if (syscall(__NR_io_uring_enter, ring, 1, 1, IORING_ENTER_GETEVENTS, NULL, 0) != 1) {
		perror("io_uring_enter");
		return 1;
	}
	puts("there");
	fflush(stdout);
	for (;;)
		pause();
}
