#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# What the C core does not pass: it looks for functions alone, and takes the rest of a module's code away
# from under a task; and it lets what tasks stay in at a safe point be patched.
. ./functions.sh

load stack_target
# Where forced patches can't be removed it is still there, with doors that are open.
opened=$(of stack_target opened)
let_go() { tell stack_target opened $((++opened)); }
asleep() { (($(of stack_target inside) == $1)); }

# A thread asleep in what the replacement calls at its end. The replacement itself is not on its stack.
enter() {
    local stack
    load tail_patch
    settled tail_patch || fail "the patch does not settle"
    tell stack_target enter in-helper
    thread=$(pgrep -n -x in-helper) || fail "there is no thread"
    stack=$(</proc/$thread/stack)
    [[ $stack == *tail_helper* ]] || fail "it is not in the helper"
    [[ $stack != *tail_replacement* ]] || fail "the replacement is on the stack as well"
}

# With it the module may not go: only where the core has waited is that tried.
removed() { [[ -z $why ]] && { within 30 unload "${1:-tail_patch}" || fail "it can't be removed"; }; }

begin "a patch is taken back while a task is in what its replacement calls at its end"
enter
disable tail_patch
open_for tail_patch 3 || fail "it does not wait for the task"
grep -q "^$thread in-helper: in code of tail_patch at frame [0-9]*, " $BLOCKERS ||
    fail "it is not said where the task is: $(grep "^$thread " $BLOCKERS)"
let_go
within 30 is_gone tail_patch || fail "it is not taken back"
removed
finish

begin "a patch is replaced while a task is in what its replacement calls at its end"
enter
load tail_replacement
open_for tail_replacement 3 || fail "it does not wait for the task"
let_go
settled tail_replacement || fail "it does not settle"
within 30 is_gone tail_patch || fail "the replaced one is not gone"
[[ $(</proc/cmdline) == replaced ]] || fail "the other function is not replaced"
take_back tail_replacement
removed
finish

begin "a patch is forced away while a task is in what its replacement calls at its end"
enter
disable tail_patch
open_for tail_patch 2 || fail "it does not wait for the task"
[[ -n $why ]] || force tail_patch
within 30 is_gone tail_patch || fail "it is not forced back"
sleep 3
[[ -n $why ]] || { unload tail_patch && fail "it is removed from under the task"; }
let_go
removed
finish

begin "a patch is taken back while a task exits in it, which is in no list any more"
load exit_patch
settled exit_patch || fail "the patch does not settle"
# The thread does not sleep where it begins, but where it exits.
let_go
tell stack_target enter unlisted
within 10 asleep 1 || fail "it is not in the replacement"
pgrep -x unlisted >/dev/null && fail "it is in a list"
disable exit_patch
within 30 is_gone exit_patch || fail "it is not taken back, though nobody can see the task"
sleep 5
(($(</sys/module/exit_patch/refcnt) > 0)) || fail "it may be removed from under the task"
let_go
within 10 asleep 0 || fail "the task does not go"
removed exit_patch
finish

begin "what tasks stay in at a safe point is not patched"
traced=/sys/kernel/debug/tracing/available_filter_functions
for function in cpu_startup_entry ret_from_fork ret_from_fork_asm start_secondary do_syscall_64 \
    syscall_exit_to_user_mode irqentry_exit irqentry_exit_to_user_mode exit_to_user_mode_loop; do
    grep -qx $function $traced && fail "$function can be traced"
done
grep -qx do_idle $traced || fail "do_idle, which is left and entered anew, can't be traced"
if [[ -z $why ]]; then
    for kind in idle-loop task-start; do
        refused_with "Invalid parameters" bad_patch kind=$kind
    done
fi
finish

tell stack_target opened 100
unload stack_target || echo "the target can't be removed"
exit $status
