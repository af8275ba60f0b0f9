#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Each allocation fails in turn, while a patch is enabled, reversed or disabled, and while a module
# comes that it changes: what can't be done is refused for want of memory, and leaves nothing behind.
# Those of the slab allocator, and where the kernel has CONFIG_FAIL_PAGE_ALLOC those of pages.
# Needs CONFIG_FAILSLAB=y
. ./functions.sh

# Those that may sleep, too; and not a word of each.
for kind in failslab fail_page_alloc; do
    faults=/sys/kernel/debug/$kind
    [[ -d $faults ]] || continue
    echo N >$faults/ignore-gfp-wait || exit 1
    echo 0 >$faults/verbose || exit 1
    # Single pages, too.
    [[ ! -e $faults/min-order ]] || echo 0 >$faults/min-order
done
ENABLED=/sys/kernel/debug/tracing/enabled_functions

load loop_target

begin "enabling a patch"
# Functions that it does not have itself, and must let run as they were.
load loop_patch
settled loop_patch || fail "the first patch does not settle"
before=$(wc -l <$ENABLED)
refused=0 came=0
for ((nth = 1; nth < 500; nth++)); do
    ((nth % 10)) || echo "allocation $nth" >/dev/console
    if said=$(insmod modules/failing_patch.ko nth=$nth 2>&1); then
        ((came += 1))
        left=$(of failing_patch left)
        settled failing_patch || fail "the patch does not settle"
        is_gone loop_patch || within 30 is_gone loop_patch || fail "the old patch does not go"
        within 30 unload loop_patch || fail "the old patch can't be removed"
        take_back failing_patch
        load loop_patch
        settled loop_patch || fail "the first patch does not settle again"
        ((left == 0)) || break
        continue
    fi
    ((refused += 1))
    [[ $said == *": Cannot allocate memory" ]] || fail "allocation $nth: refused with \`$said\`"
    [[ -e /sys/module/failing_patch || -e $PATCHES/failing_patch ]] &&
        fail "allocation $nth: something is left behind"
    [[ $(cat $PATCHES/loop_patch/{enabled,transition}) == $'1\n0' ]] ||
        fail "allocation $nth: the first patch is not as it was"
    (($(wc -l <$ENABLED) == before)) || fail "allocation $nth: functions stay diverted"
done
((left > 0)) || fail "there was no end to the allocations"
((refused >= 10)) || fail "only $refused allocations made a difference"
echo "FIGURE: enabling: of $((nth - 1)) allocations $refused were needed, and the patch was refused"
[[ -z $(cat /proc/cmdline) ]] && fail "the image stays patched"
finish

# Disables a patch while an allocation fails. Whether that was done; `left` says how many allocations were
# missing to that.
disable_without() {
    local done_=0
    # Nothing but the write itself comes after the fault is armed.
    exec 5>"$PATCHES/$2/enabled" 6<>/proc/$BASHPID/fail-nth 7>/tmp/said
    echo "$1" >&6
    echo 0 >&5 2>&7 && done_=1
    read -ru 6 left
    echo 0 >&6
    exec 5>&- 6>&- 7>&-
    ((done_))
}

begin "disabling a patch"
left=0 refused=0
for ((nth = 1; nth < 100; nth++)); do
    if ! disable_without $nth loop_patch; then
        # The file's own, before the core is asked.
        grep -q "Cannot allocate memory" /tmp/said || fail "allocation $nth: $(cat /tmp/said)"
        [[ $(cat $PATCHES/loop_patch/{enabled,transition}) == $'1\n0' ]] ||
            fail "allocation $nth: the patch is not as it was"
        ((refused += 1))
        continue
    fi
    within 30 is_gone loop_patch || fail "allocation $nth: the patch is not taken back"
    within 30 unload loop_patch || fail "allocation $nth: the patch can't be removed"
    grep -q loop_bar $ENABLED && fail "allocation $nth: the function stays diverted"
    load loop_patch
    settled loop_patch || fail "the patch does not settle again"
    ((left == 0)) || break
done
((left > 0)) || fail "there was no end to the allocations"
echo "FIGURE: disabling: of $((nth - 1)) allocations $refused were needed, and the patch stayed"
finish

begin "reversing a patch"
load stack_target
tell stack_target enter asleep
left=0 refused=0
for ((nth = 1; nth < 100; nth++)); do
    load stack_patch_1
    [[ $(cat $PATCHES/stack_patch_1/{enabled,transition}) == $'1\n1' ]] ||
        fail "allocation $nth: nothing waits"
    if ! disable_without $nth stack_patch_1; then
        grep -q "Cannot allocate memory" /tmp/said || fail "allocation $nth: $(cat /tmp/said)"
        [[ $(cat $PATCHES/stack_patch_1/{enabled,transition}) == $'1\n1' ]] ||
            fail "allocation $nth: the patch is not as it was"
        ((refused += 1))
        disable stack_patch_1
    fi
    within 30 is_gone stack_patch_1 || fail "allocation $nth: the patch is not taken back"
    within 30 unload stack_patch_1 || fail "allocation $nth: the patch can't be removed"
    grep -q stack_ $ENABLED && fail "allocation $nth: a function stays diverted"
    ((left == 0)) || break
done
((left > 0)) || fail "there was no end to the allocations"
echo "FIGURE: reversing: of $((nth - 1)) allocations $refused were needed, and the patch stayed"
tell stack_target opened 1
within 10 unload stack_target || fail "the target can't be removed"
finish

begin "a module comes that is patched"
# Of the patches the one that needs nothing of the module, which can be there before it.
take_back loop_patch
load failing_patch
settled failing_patch || fail "the patch does not settle"
unload loop_target || fail "the target can't be removed"
before=$(wc -l <$ENABLED)
said=$(./coming modules/loop_target.ko loop_target)
[[ $said == "loaded "*" refused "*" others 0" ]] || fail "${said//$'\n'/; }"
read -r _ _ _ refused _ untraced _ <<<"${said##*$'\n'}"
((untraced <= 4)) || fail "$untraced times it could not be patched"
((refused >= 50)) || fail "only $refused allocations made a difference"
echo "FIGURE: a module: ${said##*$'\n'}"
[[ -e /sys/module/loop_target ]] && fail "the module is left behind"
(($(wc -l <$ENABLED) == before)) || fail "functions stay diverted"
load loop_target
within 10 eval '(($(of loop_target new) > 0))' || fail "the module is not patched in the end"
take_back failing_patch
unload loop_target || fail "the target can't be removed"
finish

exit $status
