// SPDX-License-Identifier: GPL-2.0-only
/*
 * Functions and data that are exported to nobody, and that a patch uses all the same.
 */
#include <linux/module.h>

#include "relocations.h"
#include "opaque.h"

/* Written by none but the parameter, so that they are not folded. */
static int relocations_secret = 7;
module_param_named(secret, relocations_secret, int, 0444);
static int relocations_other = 20;
module_param_named(other, relocations_other, int, 0444);

static noinline __noclone int relocations_hidden(void)
{
	barrier();
	return relocations_secret;
}

/* There is another one of this name. */
static noinline __noclone int relocations_number(void)
{
	return opaque(1);
}

noinline int relocations_value(void)
{
	return opaque(0);
}

static int get_value(char *buffer, const struct kernel_param *kp)
{
	return sysfs_emit(buffer, "%d\n", relocations_value());
}

static const struct kernel_param_ops value_ops = { .get = get_value };

module_param_cb(value, &value_ops, NULL, 0444);

static int __init relocations_target_init(void)
{
	return relocations_hidden() + relocations_number() + relocations_twin() > 0 ? 0 : -EINVAL;
}

static void __exit relocations_target_exit(void)
{
}

module_init(relocations_target_init);
module_exit(relocations_target_exit);
MODULE_DESCRIPTION("What is exported to nobody");
MODULE_LICENSE("GPL");
