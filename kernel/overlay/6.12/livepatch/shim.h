/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the Rust livepatch core asks the C side for, and what the C side calls there. Each function
 * is a few lines around a macro, an inline function or a variadic one; none decides anything.
 */
#ifndef _RUST_KLP_SHIM_H
#define _RUST_KLP_SHIM_H

#include <linux/ftrace.h>
#include <linux/livepatch.h>
#include <linux/types.h>

/* A function that is redirected. Rust knows what stands before the tracer's part. */
struct rust_klp_site {
	struct list_head node;
	struct list_head stack;
	unsigned long ip;
	struct ftrace_ops ops;
};

/* A shadow variable. */
struct rust_klp_shadow {
	struct rust_klp_shadow *next;
	struct rcu_head rcu;
	void *obj;
	unsigned long id;
	char data[] __aligned(16);
};

/* What is said; the numbers are the Rust side's. */
enum rust_klp_message {
	RUST_KLP_ENABLING,
	RUST_KLP_NOT_ENABLED,
	RUST_KLP_INCOMPATIBLE,
	RUST_KLP_UNMARKED,
	RUST_KLP_NO_RELIABLE_STACKS,
	RUST_KLP_PREPARING,
	RUST_KLP_STARTING,
	RUST_KLP_REVERSING,
	RUST_KLP_CANCELLING,
	RUST_KLP_FORCING,
	RUST_KLP_NUDGING,
	RUST_KLP_COMPLETING,
	RUST_KLP_COMPLETE,
	RUST_KLP_PRE_PATCH_FAILED,
	RUST_KLP_NOT_PATCHED,
	RUST_KLP_APPLYING,
	RUST_KLP_REVERTING,
	RUST_KLP_NOT_RESOLVED,
	RUST_KLP_NOT_APPLIED,
	RUST_KLP_REFUSING_MODULE,
	RUST_KLP_PINNED,
	RUST_KLP_RELEASED,
	RUST_KLP_NO_LOCATION,
	RUST_KLP_NO_FILTER,
	RUST_KLP_NO_HANDLER,
	RUST_KLP_NO_SYMBOL,
	RUST_KLP_AMBIGUOUS_SYMBOL,
	RUST_KLP_NO_SUCH_POSITION,
	RUST_KLP_NO_SIZE,
	RUST_KLP_NO_REPLACEMENT_SIZE,
	RUST_KLP_SYMBOL_UNMARKED,
	RUST_KLP_SYMBOL_MISNAMED,
	RUST_KLP_SYMBOL_OF_IMAGE,
	RUST_KLP_SECTION_MISNAMED,
	RUST_KLP_MODULE_MISNAMED,
};

/* Why a task is not switched; the numbers are the Rust side's. */
enum rust_klp_blocker {
	RUST_KLP_RUNNING,
	RUST_KLP_UNRELIABLE,
	RUST_KLP_INSIDE,
	RUST_KLP_NOT_AT_SAFE_POINT,
	RUST_KLP_IN_MODULE,
	RUST_KLP_CLEARED,
	RUST_KLP_NOTHING,
};

/* messages.c */
extern u64 rust_klp_started; /* by ktime_get_ns() */
extern unsigned long rust_klp_attempt; /* the how-manieth transition this is, reversed ones counted anew */
void rust_klp_say(enum rust_klp_message message, const char *first, const char *second, long number);
void rust_klp_say_task(struct task_struct *task, enum rust_klp_blocker blocker, const char *func);
void rust_klp_trace_switch(struct task_struct *task, bool patching, unsigned int how);

/* blockers.c */
void rust_klp_show_blocker(void *seq, struct task_struct *task, enum rust_klp_blocker blocker,
			   const char *func, unsigned long variant, const char *patch, int number);
void rust_klp_show_forced(void *seq, const char *patch);
void rust_klp_show_end(void *seq);

/* The unwinder found nothing wrong, but there are more frames than are looked at. */
#define RUST_KLP_TOO_MANY_FRAMES (-2)

/* shim.c */
void rust_klp_lock(void);
bool rust_klp_try_lock(void);
void rust_klp_unlock(void);
void rust_klp_schedule_tick(void);
void rust_klp_schedule_free(struct klp_patch *patch);
void rust_klp_schedule_put(struct klp_patch *patch);
void rust_klp_synchronize(void);
void rust_klp_wait_for_unlisted(void);
void rust_klp_lock_tasks(void);
void rust_klp_unlock_tasks(void);
struct task_struct *rust_klp_pause(struct task_struct *task);
void rust_klp_each_idle(void (*each)(struct task_struct *task, bool online, void *data),
			void *data);
bool rust_klp_checks_stacks(void);
void rust_klp_while_off_cpu(struct task_struct *task,
			    int (*call)(struct task_struct *task, void *data), void *data);
bool rust_klp_walk(struct task_struct *task, bool (*goes_on)(void *data, unsigned long address),
		   void *data);
int rust_klp_doubt(struct task_struct *task);
void rust_klp_nudge(struct task_struct *task);
void rust_klp_nudge_idle(struct task_struct *task);
void rust_klp_preempt_disable(void);
void rust_klp_preempt_enable(void);
void rust_klp_watch_reschedules(bool on);
bool rust_klp_is_ready(void);
void rust_klp_init_patch(struct klp_patch *patch);
void rust_klp_init_object(struct klp_object *obj);
void rust_klp_init_func(struct klp_func *func);
int rust_klp_show_patch(struct klp_patch *patch);
int rust_klp_show_object(struct klp_patch *patch, struct klp_object *obj);
int rust_klp_show_func(struct klp_object *obj, struct klp_func *func);
void rust_klp_hide_patch(struct klp_patch *patch);
struct klp_object *rust_klp_new_object(const char *name);
struct klp_func *rust_klp_new_nop(const char *name);
struct module *rust_klp_find_module(const char *name);
bool rust_klp_is_livepatch(struct module *mod);
bool rust_klp_get_module(struct module *mod);
void rust_klp_put_module(struct module *mod);
void rust_klp_warn_choice(bool empty);
struct rust_klp_site *rust_klp_new_site(unsigned long ip);
void rust_klp_free_site(struct rust_klp_site *site);
int rust_klp_set_filter(struct rust_klp_site *site);
void rust_klp_free_filter(struct rust_klp_site *site);
int rust_klp_register(struct rust_klp_site *site);
void rust_klp_unregister(struct rust_klp_site *site);
unsigned long rust_klp_shadow_lock(void);
void rust_klp_shadow_unlock(unsigned long flags);
void rust_klp_rcu_lock(void);
void rust_klp_rcu_unlock(void);
struct rust_klp_shadow *rust_klp_new_shadow(size_t size, gfp_t flags);
void rust_klp_free_shadow(struct rust_klp_shadow *shadow, bool later);
void rust_klp_warn_shadow(void *obj, unsigned long id);
void rust_klp_say_shadow(void *obj, unsigned long id, int error);
void rust_klp_warn_no_transition(void);

/* Rust */
void rust_klp_tick(void);
void rust_klp_blockers(void *seq);
void rust_klp_free(struct klp_patch *patch);
void rust_klp_put(struct klp_patch *patch);
int rust_klp_set_enabled(struct klp_patch *patch, bool enabled);
int rust_klp_force(struct klp_patch *patch);
bool rust_klp_is_in_transition(struct klp_patch *patch);
int rust_klp_order(struct klp_patch *patch);
void rust_klp_switch_current(struct task_struct *task);
void rust_klp_fork(struct task_struct *parent, struct task_struct *child);
unsigned long rust_klp_choose(struct rust_klp_site *site, struct task_struct *task);

#endif
