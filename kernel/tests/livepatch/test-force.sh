#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# What the C core does not pass: force forgets whom it forced.
#
# A task that was forced is still in a function that was replaced. A later patch of the same function
# must find it there, however many patches have come since, or it switches a task that is in an older
# variant than the one it looks for.
. ./functions.sh

load stack_target

inside() { (($(of stack_target inside) == $1)); }

# The same for the other target.
at_door() { (($(of situation_target inside) == $1)); }

# What the kernel's log says.
is_said() { dmesg | grep -qF "livepatch: $1"; }

# Opens the doors of the first so many threads.
let_go() { tell stack_target opened "$1"; }

forced() {
    open_for "$1" 2 || fail "$1 does not wait for the task that is in its function"
    force "$1"
    settled "$1" || fail "$1 is not forced"
}

begin "two patches forced, a task asleep in the first: the third waits"
tell stack_target enter original
load stack_patch_1
forced stack_patch_1
tell stack_target enter first
load stack_patch_2
forced stack_patch_2
load stack_patch_3
open_for stack_patch_3 5 || fail "the third patch did not wait for anybody"
let_go 1
within 10 inside 1 || fail "the task in the original did not go"
open_for stack_patch_3 5 || fail "the third patch did not wait for the task in the first"
let_go 2
within 10 inside 0 || fail "the task in the first patch did not go"
settled stack_patch_3 || fail "the third patch waits for nobody"
finish

for patch in stack_patch_3 stack_patch_2 stack_patch_1; do
    disable $patch
    within 30 is_gone $patch || echo "$patch is not taken back"
done

begin "the first patch forced and disabled, a task asleep in it: the second waits"
load stack_patch_4
settled stack_patch_4 || fail "nobody is in the function, but it does not settle"
tell stack_target enter disabled
disable stack_patch_4
open_for stack_patch_4 2 || fail "it is taken back though a task is in it"
force stack_patch_4
within 30 is_gone stack_patch_4 || fail "it is not forced back"
# Nobody takes its code away from under the task, and the log says why.
within 10 is_said "'stack_patch_4': stays loaded" || fail "the log does not say that it stays"
unload stack_patch_4 && fail "its module is removed from under the task"
is_said "'stack_patch_4': may be unloaded" && fail "the log lets it go too early"
load stack_patch_5
open_for stack_patch_5 5 || fail "the second patch did not wait for the task in the first"
let_go 3
within 10 inside 0 || fail "the task did not go"
settled stack_patch_5 || fail "the second patch waits for nobody"
disable stack_patch_5
within 30 is_gone stack_patch_5 || fail "the second patch is not taken back"
finish

begin "the module of a patch that was forced away goes when nobody can be in it"
within 30 unload stack_patch_4 || fail "it can't be removed"
is_said "'stack_patch_4': may be unloaded" || fail "the log does not say that it may go"
finish

# As the first case, but that the first patch is disabled before the third comes.
begin "two patches forced, a task asleep in the first, which is disabled: the third waits"
tell stack_target enter original
load stack_patch_6
forced stack_patch_6
tell stack_target enter first
load stack_patch_7
forced stack_patch_7
disable stack_patch_6
open_for stack_patch_6 2 || fail "the first is taken back though a task is in it"
force stack_patch_6
within 30 is_gone stack_patch_6 || fail "the first is not forced back"
load stack_patch_8
open_for stack_patch_8 5 || fail "the third patch did not wait for anybody"
let_go 4
within 10 inside 1 || fail "the task in the original did not go"
open_for stack_patch_8 5 || fail "the third patch did not wait for the task in the first"
unload stack_patch_6 && fail "the first is removed from under the task"
let_go 5
within 10 inside 0 || fail "the task in the first patch did not go"
settled stack_patch_8 || fail "the third patch waits for nobody"
within 30 unload stack_patch_6 || fail "the first can't be removed"
for patch in stack_patch_8 stack_patch_7; do
    disable $patch
    within 30 is_gone $patch || fail "$patch is not taken back"
done
finish

begin "a task that was forced and never sleeps again is not remembered for good"
load situation_target
load situation_patch
settled situation_patch || fail "the patch does not settle"
./spin &
spinner=$!
within 10 at_door 1 || fail "nobody is in the function"
disable situation_patch
open_for situation_patch 1 || fail "it is taken back though a task is in it"
force situation_patch
within 30 is_gone situation_patch || fail "it is not forced back"
sleep 3
unload situation_patch && fail "it is removed from under the task"
open_door 1
within 10 at_door 0 || fail "the task did not go"
within 30 unload situation_patch || fail "the task is remembered for good"
[[ $(ps -o stat= -p $spinner) == R* ]] || fail "it does not run any more"
kill $spinner
wait $spinner 2>/dev/null
unload situation_target
finish

# The next script takes the target anew.
for patch in /sys/module/stack_patch_*; do
    [[ -e $patch ]] && within 5 unload "${patch##*/}"
done
unload stack_target
exit $status
