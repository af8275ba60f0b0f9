#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Tasks in the function that is patched, in one situation or another: the patch waits for as long as
# they are in it, they get what they came for, and what comes later is the replacement.
. ./functions.sh
TRACING=/sys/kernel/debug/tracing

load situation_target

# Has a command enter the function. It must say the old value in the end, and be waited for; `meanwhile` is
# done while it is.
held() {
    local pid
    "$@" >/tmp/said 2>&1 &
    pid=$!
    within 10 inside 1 || fail "nobody is in the function"
    load situation_patch
    open_for situation_patch 3 || fail "the patch does not wait for the task in its function"
    [[ $(</proc/$pid/patch_state) == 0 ]] || fail "the task is switched in the function"
    $meanwhile
    [[ ! -e $BLOCKERS ]] || grep -q "^$pid " $BLOCKERS || fail "the task is not among the blockers"
    open_door 1
    wait $pid
    [[ $(</tmp/said) == 1 ]] || fail "the pass gave $(</tmp/said)"
    settled situation_patch || fail "the patch does not settle"
    gives 2 || fail "the replacement is not called"
    open_door 0
    take_back situation_patch
    gives 1 || fail "the replacement is still called"
}

begin "a user task asleep in the function"
held cat /dev/situation_sleep
finish

begin "a user task in a page fault in the function"
held ./fault
finish

begin "a user task that runs and is preempted in the function"
spinners=()
for i in 1 2 3; do
    while :; do :; done &
    spinners+=($!)
done
held cat /dev/situation_spin
kill "${spinners[@]}"
wait 2>/dev/null
finish

begin "a user task asleep in the function while the graph of its calls is traced"
echo situation_pass >$TRACING/set_graph_function || fail "the tracer does not know the function"
echo situation_pass >$TRACING/set_ftrace_filter
echo function_graph >$TRACING/current_tracer
held cat /dev/situation_sleep
grep -q situation_pass $TRACING/trace || fail "nothing was traced"
echo nop >$TRACING/current_tracer
echo >$TRACING/set_graph_function
echo >$TRACING/set_ftrace_filter
finish

begin "a worker asleep in the function"
tell situation_target work 1
within 10 inside 1 || fail "no worker is in the function"
load situation_patch
open_for situation_patch 3 || fail "the patch does not wait for the worker"
[[ ! -e $BLOCKERS ]] || grep -q "^[0-9]* kworker.*in situation_pass" $BLOCKERS ||
    fail "the worker is not among the blockers"
open_door 1
settled situation_patch || fail "the patch does not settle"
gives 2 || fail "the replacement is not called"
open_door 0
take_back situation_patch
finish

begin "a kernel thread that is always busy and calls the function"
tell situation_target busy 1
for i in 1 2 3; do
    old=$(of situation_target old)
    load situation_patch
    settled situation_patch 60 || fail "the patch does not settle"
    new=$(of situation_target new)
    sleep 1
    (($(of situation_target new) > new)) || fail "it does not call the replacement"
    (($(of situation_target old) >= old)) || fail "it lost count"
    take_back situation_patch 60
    old=$(of situation_target old)
    sleep 1
    (($(of situation_target old) > old)) || fail "it does not call the original again"
done
tell situation_target busy 0
finish

begin "threads that the kernel runs for a program, beside a task in the function"
start_ring
meanwhile="threads_of_ring 1" held cat /dev/situation_sleep
[[ -z $ring ]] || kill $ring
finish

unload situation_target || echo "the target can't be removed"
exit $status
