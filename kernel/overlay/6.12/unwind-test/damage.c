// SPDX-License-Identifier: GPL-2.0-only
/*
 * Copies of stacks with a word replaced: nothing else is read, every walk ends, and what can be told
 * is told. What no unwinder can tell, an address in the place of another that is as plausible, is
 * counted apart.
 */
#include <linux/kallsyms.h>
#include <linux/prandom.h>
#include <linux/sched/task.h>
#include <linux/sched/task_stack.h>
#include <linux/slab.h>

#include "test.h"

/* What a word is replaced with. */
enum damage {
	DAMAGE_BIT,
	DAMAGE_RANDOM,
	DAMAGE_ZERO,
	DAMAGE_USER,
	DAMAGE_STACK,
	DAMAGE_DATA,
	DAMAGE_FUNCTION,
	DAMAGE_RETURN,
	DAMAGES,
};

static const char * const names[DAMAGES] = {
	"a bit", "random", "zero", "a user address", "a stack address", "a data address",
	"a function's address", "a return address",
};

struct counts {
	unsigned long same, told, not_told;
};

struct sample {
	const char *name;
	struct task_struct *task;
	struct stack_copy copy;
	u64 *words;
	struct walk intact;
};

static u64 damaged_word(enum damage damage, struct rnd_state *random, const struct sample *sample,
			u64 old)
{
	const struct walk *intact = &sample->intact;
	u64 number = prandom_u32_state(random);

	switch (damage) {
	case DAMAGE_BIT:
		return old ^ BIT_ULL(number % 64);
	case DAMAGE_RANDOM:
		return number << 32 | prandom_u32_state(random);
	case DAMAGE_ZERO:
		return 0;
	case DAMAGE_USER:
		return 0x555500000000 + (number & 0xffffff);
	case DAMAGE_STACK:
		return sample->copy.sp - 512 +
		       number % (sample->copy.begin + sample->copy.count * 8 - sample->copy.sp);
	case DAMAGE_DATA:
		return (unsigned long)&names + (number & 0x38);
	case DAMAGE_FUNCTION:
		return number & 1 ? (unsigned long)nap : (unsigned long)wake_up_process;
	default:
		return intact->frames[number % intact->count].address;
	}
}

static u64 word_at(const struct sample *sample, unsigned long address)
{
	unsigned long index = (address - sample->copy.begin) / 8;

	return index < sample->copy.count ? sample->words[index] : 0;
}

/*
 * Whether a walk that was called reliable shows what is on the stack: rising places, and at each of
 * them the address that it says. With frame pointers, each record leads to the next.
 */
static bool is_on_stack(const struct sample *sample, const struct walk *walk)
{
	unsigned long last = 0, slot;
	unsigned int i;

	for (i = 0; i < walk->count; i++) {
		slot = walk->frames[i].slot;
		if (slot <= last || word_at(sample, slot) != walk->frames[i].address)
			return false;
		if (UNWINDER == FRAME_POINTERS && last && word_at(sample, last - 8) != slot - 8)
			return false;
		last = slot;
	}
	return true;
}

static bool is_return_slot(const struct sample *sample, unsigned long address)
{
	unsigned int i;

	for (i = 0; i < sample->intact.count; i++) {
		if (sample->intact.frames[i].slot == address)
			return true;
	}
	return false;
}

static bool has_same_frames(const struct walk *a, const struct walk *b)
{
	unsigned int i;

	if (a->count != b->count)
		return false;
	for (i = 0; i < a->count; i++) {
		if (a->frames[i].address != b->frames[i].address)
			return false;
	}
	return true;
}

static int copy_stack(struct task_struct *task, void *data)
{
	struct sample *sample = data;
	struct stack_copy *copy = &sample->copy;

	if (task->on_cpu)
		return -EBUSY;
	copy->begin = (unsigned long)task_stack_page(task);
	copy->count = THREAD_SIZE / 8;
	copy->sp = task->thread.sp;
	copy->words = sample->words;
	memcpy(sample->words, (void *)copy->begin, copy->count * 8);
	record(&sample->intact, task);
	return 0;
}

/* One walk: 1 for a good one, 0 for none, -1 if something is wrong with it. */
static int walk_one(struct sample *sample, struct rnd_state *random, struct walk *walk,
		    struct counts counts[DAMAGES])
{
	enum damage damage = prandom_u32_state(random) % DAMAGES;
	struct stack_copy *copy = &sample->copy;
	unsigned long index, address;
	const char *wrong = NULL;
	u64 old, new;

	/* Half of the time a word that matters: a return address, or what lies below it. */
	index = prandom_u32_state(random);
	if (index & 1) {
		struct stack_frame_seen *frame;

		frame = &sample->intact.frames[(index >> 2) % sample->intact.count];
		address = frame->slot - (index & 2 ? 8 : 0);
	} else {
		unsigned long used = copy->begin + copy->count * 8 - copy->sp;

		address = copy->sp + (index >> 1) % (used / 8) * 8;
	}
	index = (address - copy->begin) / 8;
	if (index >= copy->count)
		return 0;
	old = sample->words[index];
	new = damaged_word(damage, random, sample, old);
	if (new == old)
		return 0;
	sample->words[index] = new;

	walk->count = 0;
	stack_verdict_copied(sample->task, copy, keep_frame, walk, &walk->verdict);
	if (copy->outside)
		wrong = "it read elsewhere";
	else if (copy->reads > 8 * copy->count)
		wrong = "it read too much";
	else if (!walk->verdict.reliable)
		counts[damage].told++;
	else if (!is_on_stack(sample, walk))
		wrong = "reliable, but this is not on the stack";
	else if (has_same_frames(walk, &sample->intact))
		counts[damage].same++;
	else
		counts[damage].not_told++;
	/* An address that is none of text can always be told. */
	if (!wrong && walk->verdict.reliable && is_return_slot(sample, address) &&
	    damage != DAMAGE_RETURN && damage != DAMAGE_BIT && damage != DAMAGE_FUNCTION)
		wrong = "a damaged return address was not told";
	sample->words[index] = old;
	if (wrong) {
		pr_info("# %s: %s: %s: word %lu is %llx in place of %llx\n", sample->name, wrong,
			names[damage], index, new, old);
		show_walk(walk);
	}
	return wrong ? -1 : 1;
}

int walk_damaged(unsigned long walks)
{
	struct victim victim = { .body = nap };
	struct counts counts[DAMAGES] = {};
	struct sample *samples;
	struct rnd_state random;
	unsigned long i, done = 0, failures = 0;
	struct walk *walk;
	int error = -ENOMEM, n;

	samples = kcalloc(2, sizeof(*samples), GFP_KERNEL);
	walk = kzalloc(sizeof(*walk), GFP_KERNEL);
	if (!samples || !walk)
		goto free;
	for (n = 0; n < 2; n++) {
		samples[n].words = kzalloc(THREAD_SIZE, GFP_KERNEL);
		if (!samples[n].words)
			goto free;
	}
	error = start_victim(&victim, 1);
	if (error)
		goto free;
	samples[0].name = "a kernel thread";
	samples[0].task = victim.task;
	samples[1].name = "a user task";
	rcu_read_lock();
	samples[1].task = pid_task(find_pid_ns(1, &init_pid_ns), PIDTYPE_PID);
	get_task_struct(samples[1].task);
	rcu_read_unlock();
	for (n = 0; n < 2; n++) {
		error = -EBUSY;
		if (!wait_asleep(samples[n].task) ||
		    task_call_func(samples[n].task, copy_stack, &samples[n]) ||
		    !samples[n].intact.verdict.reliable)
			goto stop;
	}
	error = 0;
	prandom_seed_state(&random, 20260101);
	for (i = 0; done < walks && failures < 5; i++) {
		int result = walk_one(&samples[i & 1], &random, walk, counts);

		done += result > 0;
		failures += result < 0;
		cond_resched();
	}
	for (i = 0; i < DAMAGES; i++)
		pr_info("# %s: told %lu, of no matter %lu, cannot be told %lu\n", names[i],
			counts[i].told, counts[i].same, counts[i].not_told);
	if (failures)
		error = -EINVAL;
stop:
	put_task_struct(samples[1].task);
	stop_victim(&victim);
free:
	if (samples) {
		for (n = 0; n < 2; n++)
			kfree(samples[n].words);
	}
	kfree(walk);
	kfree(samples);
	return error;
}
