// SPDX-License-Identifier: GPL-2.0-only
/*
 * Who interrupts a task, or takes it to another stack: interrupts, soft interrupts, NMIs, page faults
 * that sleep; and where walks can start.
 */
#include <linux/anon_inodes.h>
#include <linux/bottom_half.h>
#include <linux/delay.h>
#include <linux/err.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/hrtimer.h>
#include <linux/interrupt.h>
#include <linux/kthread.h>
#include <linux/mm.h>
#include <linux/mman.h>
#include <linux/uaccess.h>
#include <asm/apic.h>
#include <asm/irq_regs.h>
#include <asm/nmi.h>
#include <asm/unwind.h>

#include "beside.h"
#include "test.h"

/* What interrupts record; one case runs at a time. */
static struct walk *interrupted_walk;
static struct task_struct *interrupted_task;
static bool was_interrupted;
static bool contradiction;

/* Interrupts: a timer, while the thread spins. */

struct addresses {
	unsigned int count;
	unsigned long at[MOST_FRAMES];
};

static bool store_address(void *cookie, unsigned long address)
{
	struct addresses *all = cookie;

	if (all->count == MOST_FRAMES)
		return false;
	all->at[all->count++] = address;
	return true;
}

static bool differ(const struct addresses *a, const struct addresses *b)
{
	return a->count != b->count || memcmp(a->at, b->at, a->count * sizeof(a->at[0]));
}

static void keep_addresses(struct walk *walk, const struct addresses *all)
{
	unsigned int i;

	for (i = 0; i < all->count; i++)
		walk->frames[i] = (struct stack_frame_seen){
			.address = all->at[i],
			.number = i,
			/* The first is that of the registers. */
			.registers = !i,
		};
	walk->count = all->count;
	walk->verdict = (struct stack_verdict){ .reliable = true };
	walk->c_result = contradiction ? 1 : 0;
	walk->c_count = 0;
	for (i = 0; i < all->count; i++)
		walk->c_addresses[walk->c_count++] = all->at[i];
	walk->done = true;
}

static noinline void spin_for_interrupt(struct victim *victim)
{
	interrupted_task = current;
	WRITE_ONCE(victim->ready, true);
	while (!READ_ONCE(was_interrupted) && !READ_ONCE(victim->stop))
		cpu_relax();
}

/* Whether these registers are of that function, and nothing has been seen of it yet. */
static bool in_spin(const struct pt_regs *regs)
{
	return current == interrupted_task && !was_interrupted && regs &&
	       regs->ip - (unsigned long)spin_for_interrupt < 0x80;
}

static enum hrtimer_restart look_from_timer(struct hrtimer *timer)
{
	if (in_spin(get_irq_regs())) {
		record(interrupted_walk, current);
		WRITE_ONCE(was_interrupted, true);
	}
	return HRTIMER_NORESTART;
}

static enum hrtimer_restart walk_from_timers_registers(struct hrtimer *timer)
{
	static struct addresses ours, theirs;

	if (in_spin(get_irq_regs())) {
		ours.count = theirs.count = 0;
		arch_stack_walk(store_address, &ours, current, get_irq_regs());
		c_arch_stack_walk(store_address, &theirs, current, get_irq_regs());
		contradiction = differ(&ours, &theirs);
		keep_addresses(interrupted_walk, &ours);
		WRITE_ONCE(was_interrupted, true);
	}
	return HRTIMER_NORESTART;
}

static void start_timer(void *data)
{
	hrtimer_start(data, ms_to_ktime(5), HRTIMER_MODE_REL_PINNED_HARD);
}

static int look_by_timer(struct walk *walk, enum hrtimer_restart (*look)(struct hrtimer *timer))
{
	struct victim victim = { .body = spin_for_interrupt };
	struct hrtimer timer;
	int error, i;

	interrupted_walk = walk;
	was_interrupted = false;
	contradiction = false;
	hrtimer_init(&timer, CLOCK_MONOTONIC, HRTIMER_MODE_REL_PINNED_HARD);
	timer.function = look;
	error = start_victim(&victim, THERE);
	if (error)
		return error;
	wait_until(&victim.ready);
	for (i = 0; i < 20 && !READ_ONCE(was_interrupted); i++) {
		smp_call_function_single(THERE, start_timer, &timer, 1);
		usleep_range(20000, 30000);
		hrtimer_cancel(&timer);
	}
	stop_victim(&victim);
	return 0;
}

static int look_from_interrupt(struct walk *walk)
{
	return look_by_timer(walk, look_from_timer);
}

static int walk_from_registers(struct walk *walk)
{
	return look_by_timer(walk, walk_from_timers_registers);
}

/* An NMI from this CPU. */

static int look_from_nmi(unsigned int kind, struct pt_regs *regs)
{
	if (!interrupted_walk || smp_processor_id() != THERE)
		return NMI_DONE;
	if (in_spin(regs)) {
		record(interrupted_walk, current);
		WRITE_ONCE(was_interrupted, true);
	}
	return NMI_HANDLED;
}

static int look_by_nmi(struct walk *walk)
{
	struct victim victim = { .body = spin_for_interrupt };
	int error, i;

	interrupted_walk = walk;
	was_interrupted = false;
	error = register_nmi_handler(NMI_LOCAL, look_from_nmi, 0, "unwind_test");
	if (error)
		return error;
	error = start_victim(&victim, THERE);
	if (!error) {
		wait_until(&victim.ready);
		for (i = 0; i < 20 && !READ_ONCE(was_interrupted); i++) {
			apic->send_IPI_mask(cpumask_of(THERE), NMI_VECTOR);
			usleep_range(20000, 30000);
		}
		stop_victim(&victim);
	}
	unregister_nmi_handler(NMI_LOCAL, "unwind_test");
	interrupted_walk = NULL;
	return error;
}

/* A soft interrupt on the interrupt stack, right where it was held off. */

static void look_from_soft_interrupt(struct tasklet_struct *tasklet)
{
	if (current == interrupted_task && !interrupted_walk->done)
		record(interrupted_walk, current);
}

static DECLARE_TASKLET(looking_tasklet, look_from_soft_interrupt);

static noinline void let_soft_interrupt_in(struct victim *victim)
{
	interrupted_task = current;
	local_bh_disable();
	tasklet_schedule(&looking_tasklet);
	local_bh_enable();
	WRITE_ONCE(victim->ready, true);
}

static int look_on_switched_stack(struct walk *walk)
{
	struct victim victim = { .body = let_soft_interrupt_in };
	int error;

	interrupted_walk = walk;
	error = start_victim(&victim, THERE);
	if (error)
		return error;
	wait_until(&victim.ready);
	stop_victim(&victim);
	tasklet_kill(&looking_tasklet);
	return 0;
}

/* Walks from a given first frame, and from nothing. */

static noinline void walk_from(struct victim *victim)
{
	static struct addresses ours, theirs;
	struct unwind_state state;
	unsigned long address, *first = victim->data;

	ours.count = theirs.count = 0;
	for (unwind_start(&state, current, NULL, first); !unwind_done(&state);
	     unwind_next_frame(&state)) {
		address = unwind_get_return_address(&state);
		if (!address || !store_address(&ours, address))
			break;
	}
	c_walk_from(store_address, &theirs, current, NULL, first);
	/* From nothing each begins in its own caller, so C's may begin further in. */
	if (!first && theirs.count > ours.count) {
		memmove(theirs.at, theirs.at + theirs.count - ours.count,
			ours.count * sizeof(ours.at[0]));
		theirs.count = ours.count;
	}
	contradiction = differ(&ours, &theirs);
	keep_addresses(victim->walk, &ours);
	victim->walk->frames[0].registers = 0;
	WRITE_ONCE(victim->ready, true);
}

static noinline void walk_from_here(struct victim *victim)
{
	if (victim->data)
		victim->data = __builtin_frame_address(0);
	walk_from(victim);
	barrier();
}

static int walk_by(struct walk *walk, void *data)
{
	struct victim victim = { .body = walk_from_here, .walk = walk, .data = data };
	int error;

	contradiction = false;
	error = start_victim(&victim, THERE);
	if (error)
		return error;
	wait_until(&victim.ready);
	stop_victim(&victim);
	return 0;
}

static int walk_from_first_frame(struct walk *walk)
{
	return walk_by(walk, walk);
}

static int walk_from_nothing(struct walk *walk)
{
	return walk_by(walk, NULL);
}

/* A page fault of the kernel's that sleeps: a page of a file that takes its time. */

static bool page_may_come, page_is_awaited;
static struct page *slow_page;

static noinline vm_fault_t slow_fault(struct vm_fault *fault)
{
	WRITE_ONCE(page_is_awaited, true);
	while (!READ_ONCE(page_may_come))
		schedule_timeout_idle(1000);
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

static int look_at_reader(void *data)
{
	struct victim *victim = data;

	if (wait_until(&page_is_awaited) && wait_asleep(victim->task))
		record_resting(victim->walk, victim->task);
	WRITE_ONCE(page_may_come, true);
	wake_up_process(victim->task);
	while (!kthread_should_stop())
		schedule_timeout_idle(1);
	return 0;
}

static noinline int read_slow_page(const u64 __user *address)
{
	u64 word;

	return get_user(word, address);
}

/* The reader is the task that loads this module: the others have no user space. */
static int look_in_page_fault(struct walk *walk)
{
	struct victim victim = { .task = current, .walk = walk };
	struct task_struct *looker;
	unsigned long address;
	struct file *file;
	int error = -ENOMEM;

	page_may_come = page_is_awaited = false;
	slow_page = alloc_page(GFP_KERNEL | __GFP_ZERO);
	if (!slow_page)
		return -ENOMEM;
	file = anon_inode_getfile("[slow]", &slow_file, NULL, O_RDONLY);
	if (IS_ERR(file)) {
		error = PTR_ERR(file);
		goto no_file;
	}
	address = vm_mmap(file, 0, PAGE_SIZE, PROT_READ, MAP_PRIVATE, 0);
	if (IS_ERR_VALUE(address)) {
		error = (long)address;
		goto no_area;
	}
	looker = kthread_run(look_at_reader, &victim, "unwind_looker");
	if (IS_ERR(looker)) {
		error = PTR_ERR(looker);
	} else {
		error = read_slow_page((const u64 __user *)address);
		kthread_stop(looker);
	}
	vm_munmap(address, PAGE_SIZE);
no_area:
	fput(file);
no_file:
	put_page(slow_page);
	return error;
}

#define INTERRUPTED "interrupted in the kernel by an interrupt"

const struct test_case context_cases[] = {
	{ "in an interrupt", look_from_interrupt,
	  { "record look_from_timer ...",
	    "record look_from_timer ... asm_sysvec_apic_timer_interrupt *spin_for_interrupt "
	    THREAD_END },
	  { INTERRUPTED, NULL } },
	{ "in an NMI", look_by_nmi,
	  { "record look_from_nmi ...",
	    "record look_from_nmi ... asm_exc_nmi *spin_for_interrupt " THREAD_END },
	  { "interrupted in the kernel by an interrupt that cannot be masked", NULL } },
	{ "on a switched stack", look_on_switched_stack,
	  BOTH("record look_from_soft_interrupt ... do_softirq __local_bh_enable_ip "
	       "let_soft_interrupt_in " THREAD_END) },
	{ "in a page fault that sleeps", look_in_page_fault,
	  { "__schedule schedule ... slow_fault ...",
	    "__schedule schedule ... slow_fault ... asm_exc_page_fault *__get_user_8 "
	    "read_slow_page look_in_page_fault ... entry_SYSCALL_64_after_hwframe" },
	  { "interrupted in the kernel by a page fault", NULL } },
	{ "from registers, by the best effort", walk_from_registers,
	  BOTH("*spin_for_interrupt " THREAD_END) },
	{ "from a first frame, by the best effort", walk_from_first_frame, BOTH(THREAD_END) },
	{ "from nothing, by the best effort", walk_from_nothing,
	  BOTH("walk_from_here " THREAD_END) },
	{}
};
