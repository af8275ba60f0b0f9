// SPDX-License-Identifier: GPL-2.0-only
/*
 * Who interrupts a task, or takes it to another stack: interrupts, soft interrupts and NMIs, in a
 * thread, in user mode, in an idle task and in each other.
 */
#include <linux/bottom_half.h>
#include <linux/delay.h>
#include <linux/hrtimer.h>
#include <linux/interrupt.h>
#include <linux/preempt.h>
#include <linux/sched/task.h>
#include <asm/apic.h>
#include <asm/irq_regs.h>
#include <asm/nmi.h>

#include "contexts.h"
#include "users.h"

struct interrupted interrupted;

noinline void spin_for_interrupt(struct victim *victim)
{
	interrupted.task = current;
	WRITE_ONCE(victim->ready, true);
	while (!READ_ONCE(interrupted.seen) && !READ_ONCE(victim->stop))
		cpu_relax();
}

/* Places at which an interrupt is to come. */

bool in_spin(const struct pt_regs *regs)
{
	return current == interrupted.task &&
	       regs->ip - (unsigned long)spin_for_interrupt < 0x80;
}

bool in_user_mode(const struct pt_regs *regs)
{
	return current == interrupted.task && user_mode((struct pt_regs *)regs);
}

static bool in_idle(const struct pt_regs *regs)
{
	return is_idle_task(current);
}

/* Interrupts: a timer. */

static enum hrtimer_restart timer_comes(struct hrtimer *timer)
{
	const struct pt_regs *regs = get_irq_regs();

	if (regs && !interrupted.seen && interrupted.is_place(regs)) {
		interrupted.look(interrupted.walk, regs);
		WRITE_ONCE(interrupted.seen, true);
	}
	return HRTIMER_NORESTART;
}

static void start_timer(void *data)
{
	hrtimer_start(data, ms_to_ktime(5), HRTIMER_MODE_REL_PINNED_HARD);
}

int interrupt_by_timer(void)
{
	struct hrtimer timer;
	int i;

	hrtimer_init(&timer, CLOCK_MONOTONIC, HRTIMER_MODE_REL_PINNED_HARD);
	timer.function = timer_comes;
	for (i = 0; i < 50 && !READ_ONCE(interrupted.seen); i++) {
		smp_call_function_single(THERE, start_timer, &timer, 1);
		usleep_range(20000, 30000);
		hrtimer_cancel(&timer);
	}
	return 0;
}

/* NMIs, from this CPU. */

static int nmi_comes(unsigned int kind, struct pt_regs *regs)
{
	if (smp_processor_id() != THERE)
		return NMI_DONE;
	if (!interrupted.seen && interrupted.is_place(regs)) {
		interrupted.look(interrupted.walk, regs);
		WRITE_ONCE(interrupted.seen, true);
	}
	return NMI_HANDLED;
}

int interrupt_by_nmi(void)
{
	int error = register_nmi_handler(NMI_LOCAL, nmi_comes, 0, "unwind_test"), i;

	if (error)
		return error;
	for (i = 0; i < 50 && !READ_ONCE(interrupted.seen); i++) {
		apic->send_IPI_mask(cpumask_of(THERE), NMI_VECTOR);
		usleep_range(20000, 30000);
	}
	unregister_nmi_handler(NMI_LOCAL, "unwind_test");
	return 0;
}

/* Who is interrupted. */

static void look_here(struct walk *walk, const struct pt_regs *regs)
{
	record(walk, current);
	barrier();
}

void expect_interrupt(struct walk *walk, bool (*is_place)(const struct pt_regs *regs),
		      void (*look)(struct walk *walk, const struct pt_regs *regs))
{
	interrupted = (struct interrupted){
		.walk = walk, .is_place = is_place, .look = look ?: look_here,
	};
}

int interrupt_thread(void (*body)(struct victim *victim), int (*interrupt)(void))
{
	struct victim victim = { .body = body };
	int error = start_victim(&victim, THERE);

	if (error)
		return error;
	wait_until(&victim.ready);
	error = interrupt();
	stop_victim(&victim);
	return error;
}

int interrupt_user(int (*interrupt)(void))
{
	struct victim victim = {};
	int error = start_user(&victim);

	if (error)
		return error;
	interrupted.task = victim.task;
	error = interrupt();
	stop_user(&victim);
	return error;
}

/* A soft interrupt on the interrupt stack, right where it was held off; it is interrupted itself. */

static struct victim *held_off;

static noinline void look_from_soft_interrupt(struct tasklet_struct *tasklet)
{
	if (held_off && current == held_off->task)
		record(held_off->walk, current);
	barrier();
}

static noinline void spin_in_soft_interrupt(struct tasklet_struct *tasklet)
{
	if (!held_off || current != held_off->task)
		return;
	interrupted.task = current;
	WRITE_ONCE(held_off->ready, true);
	while (!READ_ONCE(interrupted.seen) && !READ_ONCE(held_off->stop))
		cpu_relax();
}

static bool in_soft_interrupt(const struct pt_regs *regs)
{
	return current == interrupted.task &&
	       regs->ip - (unsigned long)spin_in_soft_interrupt < 0x80;
}

static DECLARE_TASKLET(looking_tasklet, look_from_soft_interrupt);
static DECLARE_TASKLET(spinning_tasklet, spin_in_soft_interrupt);

static __always_inline void let_tasklet_in(struct tasklet_struct *tasklet, struct victim *victim)
{
	held_off = victim;
	local_bh_disable();
	tasklet_schedule(tasklet);
	local_bh_enable();
	held_off = NULL;
	WRITE_ONCE(victim->ready, true);
}

static noinline void let_soft_interrupt_in(struct victim *victim)
{
	let_tasklet_in(&looking_tasklet, victim);
}

static noinline void let_long_soft_interrupt_in(struct victim *victim)
{
	let_tasklet_in(&spinning_tasklet, victim);
}

static int look_on_switched_stack(struct walk *walk)
{
	int error = look_at_thread(walk, let_soft_interrupt_in);

	tasklet_kill(&looking_tasklet);
	return error;
}

static int interrupt_soft_interrupt(int (*interrupt)(void))
{
	int error = interrupt_thread(let_long_soft_interrupt_in, interrupt);

	tasklet_kill(&spinning_tasklet);
	return error;
}

/* Cases. */

static int look_from_interrupt(struct walk *walk)
{
	expect_interrupt(walk, in_spin, NULL);
	return interrupt_thread(spin_for_interrupt, interrupt_by_timer);
}

static int look_from_nmi(struct walk *walk)
{
	expect_interrupt(walk, in_spin, NULL);
	return interrupt_thread(spin_for_interrupt, interrupt_by_nmi);
}

static int look_from_interrupt_of_user(struct walk *walk)
{
	expect_interrupt(walk, in_user_mode, NULL);
	return interrupt_user(interrupt_by_timer);
}

static int look_from_nmi_of_user(struct walk *walk)
{
	expect_interrupt(walk, in_user_mode, NULL);
	return interrupt_user(interrupt_by_nmi);
}

static int look_from_interrupt_of_idle(struct walk *walk)
{
	expect_interrupt(walk, in_idle, NULL);
	return interrupt_by_timer();
}

static int look_from_nmi_of_idle(struct walk *walk)
{
	expect_interrupt(walk, in_idle, NULL);
	return interrupt_by_nmi();
}

static int look_from_interrupt_of_soft(struct walk *walk)
{
	expect_interrupt(walk, in_soft_interrupt, NULL);
	return interrupt_soft_interrupt(interrupt_by_timer);
}

static int look_from_nmi_of_soft(struct walk *walk)
{
	expect_interrupt(walk, in_soft_interrupt, NULL);
	return interrupt_soft_interrupt(interrupt_by_nmi);
}

#define BY_TIMER "record look_here timer_comes ... asm_sysvec_apic_timer_interrupt "
#define BY_NMI "record look_here nmi_comes ... exc_nmi end_repeat_nmi "
#define BY_NMI_OF_USER "record look_here nmi_comes ... exc_nmi asm_exc_nmi"
#define IN_IDLE "do_idle cpu_startup_entry start_secondary common_startup_64"
#define IN_SOFT "*spin_in_soft_interrupt ... do_softirq __local_bh_enable_ip " \
		"let_long_soft_interrupt_in " THREAD_END
#define BY_INTERRUPT { INTERRUPTED, NULL }
#define BY_UNMASKED { "interrupted in the kernel by an interrupt that cannot be masked", NULL }

const struct test_case context_cases[] = {
	{ "in an interrupt", look_from_interrupt,
	  { "record look_here timer_comes ...", BY_TIMER "*spin_for_interrupt " THREAD_END },
	  BY_INTERRUPT },
	{ "in an interrupt of user mode", look_from_interrupt_of_user,
	  BOTH("record look_here timer_comes ... asm_sysvec_apic_timer_interrupt") },
	{ "in an interrupt, idle", look_from_interrupt_of_idle,
	  { "record look_here timer_comes ...", BY_TIMER "... " IN_IDLE }, BY_INTERRUPT },
	{ "in an NMI", look_from_nmi,
	  { "record look_here nmi_comes ...", BY_NMI "*spin_for_interrupt " THREAD_END },
	  BY_UNMASKED },
	{ "in an NMI of user mode", look_from_nmi_of_user, BOTH(BY_NMI_OF_USER) },
	{ "in an NMI, idle", look_from_nmi_of_idle,
	  { "record look_here nmi_comes ...", BY_NMI "... " IN_IDLE }, BY_UNMASKED },
	{ "on a switched stack", look_on_switched_stack,
	  BOTH("record look_from_soft_interrupt ... do_softirq __local_bh_enable_ip "
	       "let_soft_interrupt_in " THREAD_END) },
	{ "in an interrupt on a switched stack", look_from_interrupt_of_soft,
	  { "record look_here timer_comes ...", BY_TIMER IN_SOFT }, BY_INTERRUPT },
	{ "in an NMI on a switched stack", look_from_nmi_of_soft,
	  { "record look_here nmi_comes ...", BY_NMI IN_SOFT }, BY_UNMASKED },
	{}
};
