// SPDX-License-Identifier: GPL-2.0-only
/*
 * Tests of the unwinder in Rust. Loading the module runs them and prints the results in KTAP;
 * parameters say how much of what is long.
 */
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>
#include <asm/orc_types.h>
#include <asm/unwind.h>

#include "test.h"

static unsigned long walks;
module_param(walks, ulong, 0);
MODULE_PARM_DESC(walks, "Walks by both unwinders; 0 for none");

static unsigned long damaged;
module_param(damaged, ulong, 0);
MODULE_PARM_DESC(damaged, "Walks over damaged stacks; 0 for none");

static unsigned long rounds;
module_param(rounds, ulong, 0);
MODULE_PARM_DESC(rounds, "Rounds of measuring; 0 for none");

static bool cases = true;
module_param(cases, bool, 0);
MODULE_PARM_DESC(cases, "Whether the cases are run");

static unsigned int number;

static void result(const char *name, const char *error)
{
	pr_info("%s %u %s%s%s\n", error ? "not ok" : "ok", ++number, name, error ? " # " : "",
		error ?: "");
}

/* What is wrong with a walk; NULL for nothing. */
static const char *judge(const struct test_case *test, const struct walk *walk)
{
	const char *why = test->why[UNWINDER];

	if (!walk->done)
		return "the state did not come about";
	if (!why && !walk->verdict.reliable)
		return "not reliable";
	if (why && walk->verdict.reliable)
		return "reliable";
	if (why && (strlen(why) != walk->verdict.why.length ||
		    strncmp(why, walk->verdict.why.text, walk->verdict.why.length)))
		return "another reason";
	if (!matches(walk, test->frames[UNWINDER]))
		return "other frames";
	return compare_with_c(walk, test->c_says[UNWINDER]);
}

/* What wrong expectation of a walk passes, which is right otherwise; NULL for none. */
static const char *doubt(const struct test_case *test, struct walk *walk)
{
	struct test_case wrong = *test;
	char *frames = kasprintf(GFP_KERNEL, "%s no_such_frame", test->frames[UNWINDER]);
	const char *passed;

	if (!frames)
		return "no memory";
	wrong.frames[UNWINDER] = frames;
	passed = judge(&wrong, walk) ? NULL : "a missing frame is not noticed";
	kfree(frames);
	wrong = *test;
	wrong.why[UNWINDER] = test->why[UNWINDER] ? NULL : "no such reason";
	if (!judge(&wrong, walk))
		passed = "another verdict is not noticed";
	wrong.why[UNWINDER] = "no such reason";
	if (!judge(&wrong, walk))
		passed = "another reason is not noticed";
	if (walk->verdict.reliable && test->c_says[UNWINDER] == C_AGREES &&
	    !comparison_can_fail(walk))
		passed = "a contradiction to C is not noticed";
	return passed;
}

static void run_case(const struct test_case *test, struct walk *walk)
{
	const char *wrong;
	int error;

	memset(walk, 0, sizeof(*walk));
	walk->state = test->state;
	error = test->run(walk);
	if (error)
		pr_info("# error %d\n", error);
	wrong = error ? "the state could not be brought about" : judge(test, walk);
	if (!wrong)
		wrong = doubt(test, walk);
	result(test->name, wrong);
	if (wrong && walk->done) {
		pr_info("# expected: %s: %s\n", test->frames[UNWINDER],
			test->why[UNWINDER] ?: "reliable");
		show_walk(walk);
	}
}

/* A module's ORC table that cannot be brought into order is not taken, and one that can is. */
static const char *take_tables(void)
{
	const char *wrong = NULL;
#ifdef CONFIG_UNWINDER_ORC
	/* Distances from where each lies: the second, moved to the front, would not fit. */
	int too_far[] = { 0, INT_MAX }, near[] = { 64, 0 };
	struct orc_entry entries[ARRAY_SIZE(near)] = {};
	struct module *module = kzalloc(sizeof(*module), GFP_KERNEL);

	if (!module)
		return "no memory";
	strscpy(module->name, "unwind_unsorted");
	unwind_module_init(module, too_far, sizeof(too_far), entries, sizeof(entries));
	if (module->arch.num_orcs)
		wrong = "one that cannot be sorted is taken";
	unwind_module_init(module, near, sizeof(near), entries, sizeof(entries));
	if (module->arch.num_orcs != ARRAY_SIZE(near) || near[0] != 4 || near[1] != 60)
		wrong = "one that can be sorted is not taken";
	kfree(module);
#endif
	return wrong;
}

static noinline __init void act_in_init_text(struct victim *victim)
{
	victim->action(victim);
	barrier();
}

static noinline __init int look_at_init_text(struct walk *walk)
{
	return look_at_this_task(walk, act_in_init_text);
}

static const struct test_case *const all_cases[] = {
	thread_cases, user_cases, leaving_cases, hook_cases, context_cases, fault_cases,
	breakpoint_cases, start_cases, last_cases
};

#define INIT_TEXT_CASES 3

static unsigned int __init count_cases(void)
{
	const struct test_case *test;
	unsigned int count = INIT_TEXT_CASES + 1, i;

	for (i = 0; i < ARRAY_SIZE(all_cases); i++) {
		for (test = all_cases[i]; test->name; test++)
			count++;
	}
	return count;
}

static int __init unwind_test_init(void)
{
#define INIT_TEXT "act_in_init_text look_at_this_task ... do_one_initcall ... " \
		  "do_syscall_64 entry_SYSCALL_64_after_hwframe"
	const struct test_case in_init_text[INIT_TEXT_CASES] = {
		{ "in a module's init text", look_at_init_text, BOTH(LOOKS INIT_TEXT) },
		{ "in a module's init text, sleeping", look_at_init_text, BOTH(NAPS INIT_TEXT),
		  .state = SLEEPING },
		{ "in a module's init text, preempted", look_at_init_text,
		  { PREEMPTED_FRAMES, SPINS INIT_TEXT }, { INTERRUPTED, NULL },
		  .state = PREEMPTED },
	};
	const struct test_case *test;
	struct walk *walk;
	unsigned int i;

	walk = kzalloc(sizeof(*walk), GFP_KERNEL);
	if (!walk)
		return -ENOMEM;
	/* Those that are looked at are on the other CPU. */
	set_cpus_allowed_ptr(current, cpumask_of(HERE));
	pr_info("KTAP version 1\n");
	pr_info("1..%u\n", (cases ? count_cases() : 0) + !!walks + !!damaged + !!rounds);
	if (cases) {
		result("a module's ORC table", take_tables());
		for (i = 0; i < INIT_TEXT_CASES; i++)
			run_case(&in_init_text[i], walk);
		for (i = 0; i < ARRAY_SIZE(all_cases); i++) {
			for (test = all_cases[i]; test->name; test++)
				run_case(test, walk);
		}
	}
	if (walks)
		result("both unwinders", walk_with_both(walks) ? "they differ" : NULL);
	if (damaged)
		result("damaged stacks", walk_damaged(damaged) ? "not all is told" : NULL);
	if (rounds)
		result("cost", measure_cost(rounds) ? "it could not be measured" : NULL);
	pr_info("# end\n");
	kfree(walk);
	return 0;
}

static void __exit unwind_test_exit(void)
{
}

module_init(unwind_test_init);
module_exit(unwind_test_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Tests of the unwinder in Rust");
