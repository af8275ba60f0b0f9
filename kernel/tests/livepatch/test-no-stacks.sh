#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# No stack is looked at, as on an architecture that has none that can be trusted: tasks switch on their
# way out of the kernel, kernel threads where they say that they can, idle tasks in their loop.
# What the C core does not pass: it has no such way.
# Boot with livepatch.stack_check=0
. ./functions.sh

load loop_target
load safe_point_target
sleep 1000 &
sleeper=$!
# One that has yet to become what it is to be switches on its way.
is_asleep() { [[ $(</proc/$sleeper/stat) == *" (sleep) S "* ]]; }
within 30 is_asleep || echo "nobody sleeps"

# Those who are waited for, without the time.
waited_for() { sed 's/, for .*//; s/^[0-9]* //' $BLOCKERS | sort; }
only_one() { [[ $(waited_for) == "no-safe-point: kernel thread not at a safe point" ]]; }

looks_at_none() { [[ $(cat /sys/module/livepatch/parameters/stack_check) == N ]]; }

begin "a transition waits for a kernel thread that does not say where it can switch"
looks_at_none || fail "stacks are looked at"
start_ring
load loop_patch
# Nobody was woken yet: all that sleep are waited for, whatever their stacks are.
waited_for | grep -q "kworker.*: kernel thread not at a safe point" || fail "no worker is waited for"
waited_for | grep -q "^sleep: not at a safe point" || fail "no user task is waited for"
within 60 only_one || fail "others are waited for: $(waited_for | tr '\n' ';')"
open_for loop_patch 5 || fail "it is not waited for"
[[ $(</proc/$sleeper/patch_state) == 1 ]] || fail "the user task that sleeps has not switched"
threads_of_ring 1
finish

begin "it says so, and the transition ends"
looks_at_none || fail "stacks are looked at"
tell safe_point_target says 1
settled loop_patch || fail "the patch does not settle"
[[ $(of loop_target mixed) == 0 ]] || fail "a pass saw two functions"
(($(of loop_target new) > 0)) || fail "the replacement is not called"
grep -q . $BLOCKERS && fail "somebody is waited for"
[[ $(</proc/$sleeper/comm) == sleep ]] || fail "the user task sleeps no longer"
finish

begin "the patch is taken back, reversed on its way"
looks_at_none || fail "stacks are looked at"
disable loop_patch
echo 1 >$PATCHES/loop_patch/enabled || fail "it is not reversed"
settled loop_patch 60 || fail "the reversed patch does not settle"
take_back loop_patch 60
[[ $(of loop_target mixed) == 0 ]] || fail "a pass saw two functions"
finish

begin "who was forced is remembered until it comes to where it can switch, and no longer"
looks_at_none || fail "stacks are looked at"
load loop_patch
settled loop_patch 60 || fail "the patch does not settle"
tell safe_point_target says 0
disable loop_patch
within 60 only_one || fail "others are waited for: $(waited_for | tr '\n' ';')"
force loop_patch
within 30 is_gone loop_patch || fail "the patch is not forced back"
sleep 3
unload loop_patch && fail "it is removed although it is not known that the thread has left it"
tell safe_point_target says 1
within 60 unload loop_patch || fail "the thread is remembered for good"
finish

kill $sleeper $ring
unload safe_point_target
unload loop_target || echo "the target can't be removed"
exit $status
