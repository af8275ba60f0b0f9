#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Patches come, are reversed, disabled and replaced at random, while tasks fork, sleep, spin, and the
# patched functions are traced. No pass of foo() may see two functions, and nothing may stay behind.
. ./functions.sh

# Steps are taken for so long, and so many at the least.
TIME=${TIME:-60}
STEPS=${STEPS:-20}
RANDOM=${SEED:-1}
ALL=(loop_patch loop_patch_3 loop_replace_4 loop_replace_5)
TRACING=/sys/kernel/debug/tracing

modules_before=$(lsmod | sort)
load loop_target

# All functions would be too many to trace. The one that changes return addresses is worth more.
echo 'loop_*' >$TRACING/set_ftrace_filter || exit 1
tracer=function
grep -q function_graph $TRACING/available_tracers && tracer=function_graph

[[ -p /tmp/pipe ]] || mkfifo /tmp/pipe
load_of() {
    # Forks one after the other, a crowd that sleeps for a moment, and a task that never sleeps.
    while :; do /bin/true; done &
    while :; do for i in {1..20}; do (read -rt 0.05 <>/tmp/pipe) & done; wait; done &
    while :; do :; done &
}
load_of 2>/dev/null
load_pids=$(jobs -p)

begin "patches come and go at random under load"
done_=()
end=$((SECONDS + TIME))
for ((step = 0; step < STEPS || SECONDS < end; step++)); do
    patch=${ALL[RANDOM % ${#ALL[@]}]}
    case $((RANDOM % 8)) in
    0 | 1 | 2)
        # Refused while it is there, or while another one is in transition.
        insmod "modules/$patch.ko" 2>/dev/null && ((done_[0] += 1))
        ;;
    3 | 4)
        # Disables it, or reverses its transition.
        if [[ -e $PATCHES/$patch ]]; then
            enabled=$(cat "$PATCHES/$patch/enabled" 2>/dev/null)
            echo $((1 - ${enabled:-0})) 2>/dev/null >"$PATCHES/$patch/enabled" && ((done_[1] += 1))
        fi
        ;;
    5) echo "$tracer" >$TRACING/current_tracer ;;
    6) echo nop >$TRACING/current_tracer ;;
    7) sleep 0.05 ;;
    esac
    for patch in "${ALL[@]}"; do
        [[ -e $PATCHES/$patch ]] || unload "$patch"
    done
done
echo nop >$TRACING/current_tracer
((done_[0] >= step / 20)) || fail "only ${done_[0]} patches came"
((done_[1] >= step / 40)) || fail "only ${done_[1]} were disabled or reversed"
mixed=$(of loop_target mixed)
((mixed == 0)) || fail "$mixed passes saw two functions"
finish

begin "all of them go, and nothing stays"
for patch in "${ALL[@]}"; do
    [[ -e $PATCHES/$patch ]] || continue
    settled "$patch" 60 || fail "$patch does not settle"
done
for patch in "${ALL[@]}"; do
    [[ -e $PATCHES/$patch ]] || continue
    disable "$patch"
    within 60 is_gone "$patch" || fail "$patch is not taken back"
done
kill $load_pids
wait 2>/dev/null
for patch in "${ALL[@]}"; do
    [[ -e /sys/module/$patch ]] || continue
    within 30 unload "$patch" || fail "$patch can't be removed"
done
[[ -z $(ls -A $PATCHES) ]] || fail "a patch is left: $(ls -A $PATCHES)"
mixed=$(of loop_target mixed)
((mixed == 0)) || fail "$mixed passes saw two functions"
unload loop_target || fail "the target can't be removed"
[[ $(lsmod | sort) == "$modules_before" ]] || fail "modules are left: $(lsmod)"
finish

exit $status
