// SPDX-License-Identifier: GPL-2.0-only
/*
 * The C side of the Rust livepatch core: macros, inline functions, work items, attributes and
 * exports that Rust cannot express in this kernel. See shim.h.
 */
#define pr_fmt(fmt) "livepatch: " fmt

#include <linux/completion.h>
#include <linux/cpu.h>
#include <linux/export.h>
#include <linux/ftrace.h>
#include <linux/kobject.h>
#include <linux/kprobes.h>
#include <linux/kstrtox.h>
#include <linux/livepatch.h>
#include <linux/lockdep.h>
#include <linux/module.h>
#include <linux/moduleloader.h>
#include <linux/moduleparam.h>
#include <linux/mutex.h>
#include <linux/percpu.h>
#include <linux/pid.h>
#include <linux/pid_namespace.h>
#include <linux/preempt.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/sched/task_stack.h>
#include <linux/slab.h>
#include <linux/srcu.h>
#include <linux/stacktrace.h>
#include <linux/sysfs.h>
#include <linux/workqueue.h>

#include "shim.h"

#ifdef CONFIG_RUST_UNWINDER
#include <asm/stack_verdict.h>
#endif

EXPORT_SYMBOL_GPL(klp_enable_patch);
EXPORT_SYMBOL_GPL(klp_get_state);
EXPORT_SYMBOL_GPL(klp_get_prev_state);
EXPORT_SYMBOL_GPL(klp_shadow_get);
EXPORT_SYMBOL_GPL(klp_shadow_alloc);
EXPORT_SYMBOL_GPL(klp_shadow_get_or_alloc);
EXPORT_SYMBOL_GPL(klp_shadow_free);
EXPORT_SYMBOL_GPL(klp_shadow_free_all);

/* The lock. */

static DEFINE_MUTEX(klp_mutex);

void rust_klp_lock(void)
{
	mutex_lock(&klp_mutex);
}

bool rust_klp_try_lock(void)
{
	return mutex_trylock(&klp_mutex);
}

void rust_klp_unlock(void)
{
	mutex_unlock(&klp_mutex);
}

/* Work. */

static void tick(struct work_struct *work)
{
	rust_klp_tick();
}

static DECLARE_DELAYED_WORK(tick_work, tick);

void rust_klp_schedule_tick(void)
{
	schedule_delayed_work(&tick_work, round_jiffies_relative(HZ));
}

static void free_patch(struct work_struct *work)
{
	rust_klp_free(container_of(work, struct klp_patch, free_work));
}

void rust_klp_schedule_free(struct klp_patch *patch)
{
	queue_work(system_long_wq, &patch->free_work);
}

static void put_patch(struct work_struct *work)
{
	rust_klp_put(container_of(work, struct klp_patch, free_work));
}

/* Its other work has been done. */
void rust_klp_schedule_put(struct klp_patch *patch)
{
	INIT_WORK(&patch->free_work, put_patch);
	queue_work(system_long_wq, &patch->free_work);
}

static void nothing(struct work_struct *work)
{
}

/* Not schedule_on_each_cpu(), which takes memory and without it waits for nobody. */
static DEFINE_PER_CPU(struct work_struct, synchronize_work);

void rust_klp_synchronize(void)
{
	int cpu;

	lockdep_assert_held(&klp_mutex);
	cpus_read_lock();
	for_each_online_cpu(cpu) {
		struct work_struct *work = per_cpu_ptr(&synchronize_work, cpu);

		INIT_WORK(work, nothing);
		schedule_work_on(cpu, work);
	}
	for_each_online_cpu(cpu)
		flush_work(per_cpu_ptr(&synchronize_work, cpu));
	cpus_read_unlock();
}

/*
 * From before a task leaves the lists of tasks until it can do nothing more. RCU's grace period for
 * tasks is not for this: one that exits and sleeps is not waited for there. Without lockdep, which
 * would have a task that exits hold nothing.
 */
DEFINE_STATIC_SRCU(exits);

void klp_exit_begin(void)
{
	current->klp_exit = 1 + srcu_down_read(&exits);
}

/* From here on preemption is off. A task that has faulted may not have begun. */
void klp_exit_end(void)
{
	if (current->klp_exit)
		srcu_up_read(&exits, current->klp_exit - 1);
	current->klp_exit = 0;
}

void rust_klp_wait_for_unlisted(void)
{
	unsigned long cookie = start_poll_synchronize_srcu(&exits);

	/* A task may sleep there. Nothing hangs for that; so this sleeps as idle. */
	while (!poll_state_synchronize_srcu(&exits, cookie))
		schedule_timeout_idle(DIV_ROUND_UP(HZ, 100));

	/*
	 * A task that is preempted between the handler's choice and the function that was chosen shows no
	 * sign of it. The Rust unwinder calls no such stack reliable.
	 */
	if (!IS_ENABLED(CONFIG_RUST_UNWINDER))
		synchronize_rcu_tasks();

	/* What is left of exits, and idle tasks on their way out of do_idle(). */
	rust_klp_lock();
	rust_klp_synchronize();
	rust_klp_unlock();
}

/* Tasks. */

/*
 * livepatch.stack_check=0: no stack is looked at, as on an architecture that has none that can be
 * trusted. Not to be changed later, because functions that are safe to patch with it are not without.
 */
#undef MODULE_PARAM_PREFIX
#define MODULE_PARAM_PREFIX "livepatch."
static bool stack_check = true;
module_param(stack_check, bool, 0444);

bool rust_klp_checks_stacks(void)
{
	return stack_check;
}

EXPORT_SYMBOL_GPL(rust_klp_kthread_safe_point);

void rust_klp_lock_tasks(void)
{
	read_lock(&tasklist_lock);
}

void rust_klp_unlock_tasks(void)
{
	read_unlock(&tasklist_lock);
}

/* The task after another one, which is in the list; NULL at the end. Under RCU. */
static struct task_struct *next_in_list(struct task_struct *task)
{
	struct task_struct *next = __next_thread(task);
	struct task_struct *leader = task->group_leader;

	while (!next) {
		leader = next_task(leader);
		if (leader == &init_task)
			return NULL;
		/* Not the leader itself, which for a moment of exec(2) stands behind the old one. */
		next = list_first_or_null_rcu(&leader->signal->thread_head, struct task_struct,
					      thread_node);
	}
	return next;
}

/* The same for one that may have gone: then that with the next number. */
static struct task_struct *next_by_number(struct task_struct *task)
{
	int number = task_pid_nr(task);
	struct pid *pid;

	if (pid_alive(task) && pid_alive(task->group_leader))
		return next_in_list(task);
	while ((pid = find_ge_pid(++number, &init_pid_ns))) {
		number = pid_nr(pid);
		task = pid_task(pid, PIDTYPE_PID);
		if (task)
			return task;
	}
	return NULL;
}

/* Ends RCU's protection of tasks, lets others run, and begins it anew with the task after this one. */
struct task_struct *rust_klp_pause(struct task_struct *task)
{
	struct task_struct *next;

	get_task_struct(task);
	rcu_read_unlock();
	cond_resched();
	rcu_read_lock();
	next = next_by_number(task);
	put_task_struct(task);
	return next;
}

void rust_klp_each_idle(void (*each)(struct task_struct *task, bool online, void *data), void *data)
{
	int cpu;

	cpus_read_lock();
	for_each_possible_cpu(cpu)
		each(idle_task(cpu), cpu_online(cpu), data);
	cpus_read_unlock();
}

/* Calls a function while the task can neither begin nor end to run, or is the caller. */
void rust_klp_while_off_cpu(struct task_struct *task,
			    int (*call)(struct task_struct *task, void *data), void *data)
{
	if (task == current) {
		preempt_disable_notrace();
		call(task, data);
		preempt_enable_notrace();
	} else {
		task_call_func(task, call, data);
	}
}

/* Whether the stack is reliable and `goes_on` says so at each address; one that is gone holds none. */
bool rust_klp_walk(struct task_struct *task, bool (*goes_on)(void *data, unsigned long address),
		   void *data)
{
	bool is_good;

	if (!try_get_task_stack(task))
		return true;
	is_good = !arch_stack_walk_reliable(goes_on, data, task);
	put_task_stack(task);
	return is_good;
}

int rust_klp_doubt(struct task_struct *task)
{
#ifdef CONFIG_RUST_UNWINDER
	struct stack_verdict verdict;

	stack_verdict(task, NULL, NULL, &verdict);
	return verdict.reliable ? RUST_KLP_TOO_MANY_FRAMES : verdict.reason;
#else
	return -1;
#endif
}

/*
 * Without stacks a kernel thread must come to a safe point itself, also one that sleeps as idle, such
 * as a worker. One that sleeps uninterruptibly is left alone: it may not look what it was woken for.
 */
void rust_klp_nudge(struct task_struct *task)
{
	task->klp_nudged = rust_klp_attempt;
	if (!(task->flags & PF_KTHREAD))
		set_notify_signal(task);
	else if (stack_check)
		wake_up_state(task, TASK_INTERRUPTIBLE);
	else
		wake_up_state(task, TASK_INTERRUPTIBLE | TASK_NOLOAD);
}

void rust_klp_nudge_idle(struct task_struct *task)
{
	wake_up_if_idle(task_cpu(task));
}

void rust_klp_preempt_disable(void)
{
	preempt_disable_notrace();
}

void rust_klp_preempt_enable(void)
{
	preempt_enable_notrace();
}

void klp_copy_process(struct task_struct *child)
{
	child->klp_nudged = 0;
	rust_klp_fork(current, child);
}

void __klp_sched_try_switch(void)
{
	if (unlikely(klp_patch_pending(current)))
		rust_klp_switch_current(current);
}
EXPORT_SYMBOL(__klp_sched_try_switch);

#if defined(CONFIG_PREEMPT_DYNAMIC) && defined(CONFIG_HAVE_PREEMPT_DYNAMIC_CALL)
void rust_klp_watch_reschedules(bool on)
{
	if (on)
		sched_dynamic_klp_enable();
	else
		sched_dynamic_klp_disable();
}
#else
DEFINE_STATIC_KEY_FALSE(klp_sched_try_switch_key);
EXPORT_SYMBOL(klp_sched_try_switch_key);

void rust_klp_watch_reschedules(bool on)
{
	if (on)
		static_branch_enable(&klp_sched_try_switch_key);
	else
		static_branch_disable(&klp_sched_try_switch_key);
}
#endif

/* What is shown. */

static struct kobject *root;

static ssize_t enabled_show(struct kobject *kobj, struct kobj_attribute *attr, char *buf)
{
	struct klp_patch *patch = container_of(kobj, struct klp_patch, kobj);

	return sysfs_emit(buf, "%d\n", patch->enabled);
}

static ssize_t enabled_store(struct kobject *kobj, struct kobj_attribute *attr, const char *buf,
			     size_t count)
{
	bool enabled;
	int ret = kstrtobool(buf, &enabled);

	if (!ret)
		ret = rust_klp_set_enabled(container_of(kobj, struct klp_patch, kobj), enabled);
	return ret ?: count;
}

static ssize_t transition_show(struct kobject *kobj, struct kobj_attribute *attr, char *buf)
{
	struct klp_patch *patch = container_of(kobj, struct klp_patch, kobj);

	return sysfs_emit(buf, "%d\n", rust_klp_is_in_transition(patch));
}

static ssize_t force_store(struct kobject *kobj, struct kobj_attribute *attr, const char *buf,
			   size_t count)
{
	bool force;
	int ret = kstrtobool(buf, &force);

	if (!ret && force)
		ret = rust_klp_force(container_of(kobj, struct klp_patch, kobj));
	return ret ?: count;
}

static ssize_t replace_show(struct kobject *kobj, struct kobj_attribute *attr, char *buf)
{
	struct klp_patch *patch = container_of(kobj, struct klp_patch, kobj);

	return sysfs_emit(buf, "%d\n", patch->replace);
}

static ssize_t stack_order_show(struct kobject *kobj, struct kobj_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%d\n", rust_klp_order(container_of(kobj, struct klp_patch, kobj)));
}

static struct kobj_attribute enabled_attribute = __ATTR_RW(enabled);
static struct kobj_attribute transition_attribute = __ATTR_RO(transition);
static struct kobj_attribute force_attribute = __ATTR_WO(force);
static struct kobj_attribute replace_attribute = __ATTR_RO(replace);
static struct kobj_attribute stack_order_attribute = __ATTR_RO(stack_order);

static struct attribute *patch_attrs[] = {
	&enabled_attribute.attr,
	&transition_attribute.attr,
	&force_attribute.attr,
	&replace_attribute.attr,
	&stack_order_attribute.attr,
	NULL
};
ATTRIBUTE_GROUPS(patch);

static ssize_t patched_show(struct kobject *kobj, struct kobj_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%d\n", container_of(kobj, struct klp_object, kobj)->patched);
}

static struct kobj_attribute patched_attribute = __ATTR_RO(patched);

static struct attribute *object_attrs[] = {
	&patched_attribute.attr,
	NULL
};
ATTRIBUTE_GROUPS(object);

static void release_patch(struct kobject *kobj)
{
	complete(&container_of(kobj, struct klp_patch, kobj)->finish);
}

static void release_object(struct kobject *kobj)
{
	struct klp_object *obj = container_of(kobj, struct klp_object, kobj);

	if (obj->dynamic) {
		kfree(obj->name);
		kfree(obj);
	}
}

static void release_func(struct kobject *kobj)
{
	struct klp_func *func = container_of(kobj, struct klp_func, kobj);

	if (func->nop) {
		kfree(func->old_name);
		kfree(func);
	}
}

static const struct kobj_type patch_type = {
	.release = release_patch,
	.sysfs_ops = &kobj_sysfs_ops,
	.default_groups = patch_groups,
};

static const struct kobj_type object_type = {
	.release = release_object,
	.sysfs_ops = &kobj_sysfs_ops,
	.default_groups = object_groups,
};

static const struct kobj_type func_type = {
	.release = release_func,
	.sysfs_ops = &kobj_sysfs_ops,
};

bool rust_klp_is_ready(void)
{
	return root;
}

void rust_klp_init_patch(struct klp_patch *patch)
{
	kobject_init(&patch->kobj, &patch_type);
	INIT_WORK(&patch->free_work, free_patch);
	init_completion(&patch->finish);
}

void rust_klp_init_object(struct klp_object *obj)
{
	kobject_init(&obj->kobj, &object_type);
}

void rust_klp_init_func(struct klp_func *func)
{
	kobject_init(&func->kobj, &func_type);
}

int rust_klp_show_patch(struct klp_patch *patch)
{
	return kobject_add(&patch->kobj, root, "%s", patch->mod->name);
}

int rust_klp_show_object(struct klp_patch *patch, struct klp_object *obj)
{
	return kobject_add(&obj->kobj, &patch->kobj, "%s", obj->name ?: "vmlinux");
}

int rust_klp_show_func(struct klp_object *obj, struct klp_func *func)
{
	return kobject_add(&func->kobj, &obj->kobj, "%s,%lu", func->old_name,
			   func->old_sympos ?: 1);
}

void rust_klp_hide_patch(struct klp_patch *patch)
{
	kobject_put(&patch->kobj);
	wait_for_completion(&patch->finish);
}

struct klp_object *rust_klp_new_object(const char *name)
{
	struct klp_object *obj = kzalloc(sizeof(*obj), GFP_KERNEL);

	if (obj && name) {
		obj->name = kstrdup(name, GFP_KERNEL);
		if (!obj->name) {
			kfree(obj);
			obj = NULL;
		}
	}
	return obj;
}

struct klp_func *rust_klp_new_nop(const char *name)
{
	struct klp_func *func = kzalloc(sizeof(*func), GFP_KERNEL);

	if (func) {
		func->nop = true;
		func->old_name = kstrdup(name, GFP_KERNEL);
		if (!func->old_name) {
			kfree(func);
			func = NULL;
		}
	}
	return func;
}

static int __init rust_klp_init(void)
{
	root = kobject_create_and_add("livepatch", kernel_kobj);
	return root ? 0 : -ENOMEM;
}
module_init(rust_klp_init);

/* Modules. */

struct module *rust_klp_find_module(const char *name)
{
	struct module *mod;

	/* No reference is held: a module that goes says so, see klp_module_going(). */
	rcu_read_lock_sched();
	mod = find_module(name);
	if (mod && !mod->klp_alive)
		mod = NULL;
	rcu_read_unlock_sched();
	return mod;
}

bool rust_klp_is_livepatch(struct module *mod)
{
	return is_livepatch_module(mod);
}

bool rust_klp_get_module(struct module *mod)
{
	return try_module_get(mod);
}

void rust_klp_put_module(struct module *mod)
{
	module_put(mod);
}

void __weak clear_relocate_add(Elf_Shdr *sechdrs, const char *strtab, unsigned int symindex,
			       unsigned int relsec, struct module *me)
{
}

/* Sites. */

/*
 * Nothing here, nor in rust_klp_choose(), into which all of the choice is inlined, can be traced or
 * probed, so that it cannot come back to itself but by an interrupt or, once preemption is on again, by
 * what runs then; there it is as good as anywhere. So there is no lock against recursion, whose way out
 * would be to call the original where the replacement is to be. The exception is a warning, which is
 * given once. Where other tracers share a function, ftrace's loop over all handlers has such a lock.
 *
 * Preemption is off because synchronizing is waiting for all CPUs, see rust_klp_synchronize().
 */
static void notrace handler(unsigned long ip, unsigned long parent_ip, struct ftrace_ops *ops,
			    struct ftrace_regs *fregs)
{
	unsigned long to;

	preempt_disable_notrace();
	to = rust_klp_choose(container_of(ops, struct rust_klp_site, ops), current);
	if (likely(to))
		ftrace_regs_set_instruction_pointer(fregs, to);
	preempt_enable_notrace();
}
NOKPROBE_SYMBOL(handler);
NOKPROBE_SYMBOL(rust_klp_choose);

void rust_klp_warn_choice(bool empty)
{
	WARN_ONCE(1, "%s\n", empty ? "a site without a function" : "a task without a side");
}

struct rust_klp_site *rust_klp_new_site(unsigned long ip)
{
	struct rust_klp_site *site = kzalloc(sizeof(*site), GFP_KERNEL);

	if (site) {
		site->ip = ip;
		site->ops.func = handler;
		site->ops.flags = FTRACE_OPS_FL_DYNAMIC | FTRACE_OPS_FL_IPMODIFY |
				  FTRACE_OPS_FL_PERMANENT;
		if (!IS_ENABLED(CONFIG_HAVE_DYNAMIC_FTRACE_WITH_ARGS))
			site->ops.flags |= FTRACE_OPS_FL_SAVE_REGS;
	}
	return site;
}

void rust_klp_free_site(struct rust_klp_site *site)
{
	kfree(site);
}

int rust_klp_set_filter(struct rust_klp_site *site)
{
	return ftrace_set_filter_ip(&site->ops, site->ip, 0, 0);
}

/* Takes no memory, which removing the address from the filter would. */
void rust_klp_free_filter(struct rust_klp_site *site)
{
	ftrace_free_filter(&site->ops);
}

int rust_klp_register(struct rust_klp_site *site)
{
	return register_ftrace_function(&site->ops);
}

void rust_klp_unregister(struct rust_klp_site *site)
{
	WARN_ON(unregister_ftrace_function(&site->ops));
	rust_klp_free_filter(site);
}

/* Shadow variables. */

static DEFINE_SPINLOCK(shadow_lock);

unsigned long rust_klp_shadow_lock(void)
{
	unsigned long flags;

	spin_lock_irqsave(&shadow_lock, flags);
	return flags;
}

void rust_klp_shadow_unlock(unsigned long flags)
{
	spin_unlock_irqrestore(&shadow_lock, flags);
}

void rust_klp_rcu_lock(void)
{
	rcu_read_lock();
}

void rust_klp_rcu_unlock(void)
{
	rcu_read_unlock();
}

struct rust_klp_shadow *rust_klp_new_shadow(size_t size, gfp_t flags)
{
	return kzalloc(struct_size_t(struct rust_klp_shadow, data, size), flags);
}

void rust_klp_free_shadow(struct rust_klp_shadow *shadow, bool later)
{
	if (later)
		kfree_rcu(shadow, rcu);
	else
		kfree(shadow);
}

void rust_klp_warn_shadow(void *obj, unsigned long id)
{
	WARN(1, "Duplicate shadow variable <%p, %lx>\n", obj, id);
}

void rust_klp_say_shadow(void *obj, unsigned long id, int error)
{
	pr_err("Failed to construct shadow variable <%p, %lx> (%d)\n", obj, id, error);
}

/* States. */

void rust_klp_warn_no_transition(void)
{
	WARN_ONCE(1, "asked for previous states outside of a transition\n");
}
