// SPDX-License-Identifier: GPL-2.0-only
/*
 * A page fault of the kernel's for a page that takes its time: of a file whose pages come when the
 * test wants them to. That a page of userfaultfd(2) does the same is looked at from outside, through
 * /proc.
 */
#include <linux/anon_inodes.h>
#include <linux/err.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/uaccess.h>

#include "test.h"

static struct victim *faulting;
static struct page *slow_page;

static noinline vm_fault_t slow_fault(struct vm_fault *fault)
{
	faulting->action(faulting);
	get_page(slow_page);
	fault->page = slow_page;
	return 0;
}

static const struct vm_operations_struct slow_operations = { .fault = slow_fault };

static int map_slow_file(struct file *file, struct vm_area_struct *area)
{
	area->vm_ops = &slow_operations;
	return 0;
}

static const struct file_operations slow_file = { .mmap = map_slow_file };

static noinline void read_slow_page(struct victim *victim)
{
	const u64 __user *address = victim->data;
	u64 word;

	victim->data = get_user(word, address) ? NULL : victim;
}

static noinline void map_and_read(struct victim *victim)
{
	struct file *file = anon_inode_getfile("[slow]", &slow_file, NULL, O_RDONLY);
	unsigned long address;

	if (IS_ERR(file))
		return;
	address = vm_mmap(file, 0, PAGE_SIZE, PROT_READ, MAP_PRIVATE, 0);
	if (!IS_ERR_VALUE(address)) {
		faulting = victim;
		victim->data = (void *)address;
		read_slow_page(victim);
		vm_munmap(address, PAGE_SIZE);
	}
	fput(file);
}

/* The reader is the task that loads this module: the others have no user space. */
static int look_in_page_fault(struct walk *walk)
{
	int error;

	slow_page = alloc_page(GFP_KERNEL | __GFP_ZERO);
	if (!slow_page)
		return -ENOMEM;
	error = look_at_this_task(walk, map_and_read);
	put_page(slow_page);
	return error;
}

#define FAULT "slow_fault ... asm_exc_page_fault *__get_user_8 read_slow_page map_and_read " \
	      "look_at_this_task ... entry_SYSCALL_64_after_hwframe"
#define IN_FAULT { "interrupted in the kernel by a page fault", NULL }

const struct test_case fault_cases[] = {
	{ "in a page fault", look_in_page_fault, { LOOKS "slow_fault ...", LOOKS FAULT }, IN_FAULT },
	{ "in a page fault that sleeps", look_in_page_fault,
	  { NAPS "slow_fault ...", NAPS FAULT }, IN_FAULT, .state = SLEEPING },
	{ "in a page fault, preempted", look_in_page_fault,
	  { PREEMPTED_FRAMES, SPINS FAULT }, { INTERRUPTED, NULL }, .state = PREEMPTED },
	{}
};
