// SPDX-License-Identifier: GPL-2.0-only
/*
 * A module whose functions are patched while a task sleeps in them. Writing to
 * /sys/kernel/debug/klp_victim/enter sleeps in victim_outer() until something is written to
 * .../wake; then victim_outer() calls victim_inner() and says which variants of the two it was.
 */
#include <linux/debugfs.h>
#include <linux/fs.h>
#include <linux/module.h>
#include <linux/wait.h>

#include "klp_victim.h"

static DECLARE_WAIT_QUEUE_HEAD(queue);
static atomic_t wakes;
static struct dentry *folder;
/* Never written to, which the compiler must not know. */
static int original_variant;

void victim_wait(void)
{
	int before = atomic_read(&wakes);

	wait_event(queue, atomic_read(&wakes) != before);
}
EXPORT_SYMBOL_GPL(victim_wait);

noinline int victim_inner(void)
{
	return READ_ONCE(original_variant);
}
EXPORT_SYMBOL_GPL(victim_inner);

static noinline void victim_outer(void)
{
	victim_wait();
	pr_info("klp_victim: outer 0, inner %d\n", victim_inner());
}

static ssize_t enter(struct file *file, const char __user *from, size_t size, loff_t *place)
{
	victim_outer();
	return size;
}

static ssize_t wake(struct file *file, const char __user *from, size_t size, loff_t *place)
{
	atomic_inc(&wakes);
	wake_up_all(&queue);
	return size;
}

static const struct file_operations enter_file = { .owner = THIS_MODULE, .write = enter };
static const struct file_operations wake_file = { .owner = THIS_MODULE, .write = wake };

static int __init victim_init(void)
{
	folder = debugfs_create_dir("klp_victim", NULL);
	debugfs_create_file("enter", 0200, folder, NULL, &enter_file);
	debugfs_create_file("wake", 0200, folder, NULL, &wake_file);
	return 0;
}

static void __exit victim_exit(void)
{
	debugfs_remove(folder);
}

module_init(victim_init);
module_exit(victim_exit);
MODULE_DESCRIPTION("Functions to be patched while a task sleeps in them");
MODULE_LICENSE("GPL");
