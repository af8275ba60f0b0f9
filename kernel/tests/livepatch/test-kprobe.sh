#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Probes of functions that are patched. One that may change where the function goes on and a patch
# exclude each other; all others get along.
# Needs CONFIG_KPROBES=y
. ./functions.sh
TRACING=/sys/kernel/debug/tracing

load situation_target

is_hit() {
    local before
    before=$(of situation_probe hits)
    gives "$1" || fail "the call gives $(of situation_target value)"
    (($(of situation_probe hits) > before)) || fail "the probe is not hit"
}

begin "a probe before the patch, and after it"
load situation_probe
is_hit 1
load situation_patch
settled situation_patch || fail "the patch does not settle"
is_hit 2
unload situation_probe || fail "the probe can't be removed"
gives 2 || fail "the replacement is not called without the probe"
load situation_probe
is_hit 2
take_back situation_patch
is_hit 1
unload situation_probe || fail "the probe can't be removed"
finish

begin "a patch of a function whose probe may divert it"
load situation_probe after=1
is_hit 1
refused_with "Device or resource busy" situation_patch
is_hit 1
unload situation_probe || fail "the probe can't be removed"
load situation_patch
settled situation_patch || fail "the patch does not settle"
gives 2 || fail "the replacement is not called"
finish

begin "a probe that may divert a function that is patched"
refused_with "Device or resource busy" situation_probe after=1
gives 2 || fail "the replacement is not called"
take_back situation_patch
load situation_probe after=1
is_hit 1
unload situation_probe || fail "the probe can't be removed"
finish

# A task whose return address a return probe has put another one in the place of.
returning() {
    local pid
    cat /dev/situation_sleep >/tmp/said &
    pid=$!
    within 10 inside 1 || fail "nobody is in the function"
    load situation_patch
    open_for situation_patch 3 || fail "the patch does not wait for the task in its function"
    [[ $(</proc/$pid/patch_state) == 0 ]] || fail "the task is switched in the function"
    open_door 1
    wait $pid
    [[ $(</tmp/said) == 1 ]] || fail "the pass gave $(</tmp/said)"
    settled situation_patch || fail "the patch does not settle"
    gives 2 || fail "the replacement is not called"
    open_door 0
    take_back situation_patch
    grep -q situation_return $TRACING/trace || fail "no return was seen"
}

begin "a task asleep in the function under a return probe"
echo 'r:situation_return situation_target:situation_pass' >$TRACING/kprobe_events || fail "no probe"
echo 1 >$TRACING/events/kprobes/situation_return/enable || fail "it is not enabled"
returning
finish

begin "a task asleep in the function under a return probe and the graph tracer"
echo situation_pass >$TRACING/set_graph_function
echo situation_pass >$TRACING/set_ftrace_filter
echo function_graph >$TRACING/current_tracer
returning
echo nop >$TRACING/current_tracer
echo >$TRACING/set_graph_function
echo >$TRACING/set_ftrace_filter
echo 0 >$TRACING/events/kprobes/situation_return/enable
echo >$TRACING/kprobe_events
finish

unload situation_target || echo "the target can't be removed"
exit $status
