#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Functions that are traced are patched, and the other way round; who else wants to say where a call
# goes is refused, or the patch is.
. ./functions.sh
TRACING=/sys/kernel/debug/tracing

load situation_target
load loop_target
echo situation_pass >$TRACING/set_ftrace_filter || exit 1

# Whether a call is seen by the tracer.
is_seen() {
    echo >$TRACING/trace
    gives "$1" || fail "the call gives $(of situation_target value)"
    grep -q situation_pass $TRACING/trace || fail "the call is not traced"
}

begin "a function that is traced is patched"
for tracer in function function_graph; do
    echo $tracer >$TRACING/current_tracer || fail "there is no $tracer"
    is_seen 1
    load situation_patch
    settled situation_patch || fail "the patch does not settle"
    is_seen 2
    take_back situation_patch
    is_seen 1
    echo nop >$TRACING/current_tracer
done
finish

begin "a function that is patched is traced"
load situation_patch
settled situation_patch || fail "the patch does not settle"
for tracer in function function_graph; do
    echo $tracer >$TRACING/current_tracer || fail "there is no $tracer"
    is_seen 2
    echo nop >$TRACING/current_tracer
    gives 2 || fail "the replacement is not called without the tracer"
done
take_back situation_patch
echo >$TRACING/trace
gives 1
grep -q situation_pass $TRACING/trace && fail "a call is traced without a tracer"
finish

begin "a function that somebody else diverts is not patched"
load loop_at_once
refused_with "Device or resource busy" loop_patch
unload loop_at_once || fail "the diversion can't be removed"
load loop_patch
settled loop_patch || fail "the patch does not settle"
take_back loop_patch
finish

begin "a function that is patched is not diverted by somebody else"
load loop_patch
settled loop_patch || fail "the patch does not settle"
refused_with "Device or resource busy" loop_at_once
take_back loop_patch
load loop_at_once
unload loop_at_once || fail "the diversion can't be removed"
finish

echo >$TRACING/set_ftrace_filter
unload loop_target
unload situation_target || echo "the target can't be removed"
exit $status
