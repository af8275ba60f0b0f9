#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Patches are enabled, reversed, disabled and replaced at random, while tasks fork, sleep, spin and take
# nearly all memory, and the patched functions are traced and probed. No pass of foo() may see two
# functions, and nothing may stay behind.
# Takes a seed
. ./functions.sh

# So much is done, for so many seconds at the least. Where it is told how much, time goes by the
# instructions that are run: whatever works takes time from all others, and what waits takes none.
counts_instructions=$((${#STEPS} > 0))
STEPS=${STEPS:-60}
TIME=${TIME:-30}
SEED=${SEED:-1}
ALL=(loop_patch loop_patch_3 loop_replace_4 loop_replace_5)
TRACING=/sys/kernel/debug/tracing

[[ -p /tmp/pipe ]] || mkfifo /tmp/pipe

# The objects of each of the kernel's caches, and how many a slab has; where it does not count them, the
# memory of all, in kB.
# kmemleak has a record for each object of all of them, so that what breathes in each adds up there.
objects() {
    sync
    echo 3 >/proc/sys/vm/drop_caches
    # What is free but lies with a CPU counts as used until it is given back.
    for cache in /sys/kernel/slab/*/shrink; do
        [[ ! -e $cache ]] || echo 1 >"$cache"
    done
    if [[ -e /proc/slabinfo ]]; then
        awk 'NR > 2 && !/^kmemleak_/ { print $1, $2, $5 }' /proc/slabinfo
    else
        awk '/^SUnreclaim:/ { print "SUnreclaim", $2 }' /proc/meminfo
    fi
}

# The tracer that changes return addresses is worth more.
tracer=function
grep -q function_graph $TRACING/available_tracers && tracer=function_graph

# One enable and its end, and one of the tracer, so that what is made once is there: its buffers have
# some hundred pages then.
load loop_target
load loop_patch
settled loop_patch || fail "the patch does not settle"
# All functions would be too many to trace.
echo 'loop_*' >$TRACING/set_ftrace_filter || exit 1
echo $tracer >$TRACING/current_tracer || exit 1
echo nop >$TRACING/current_tracer
echo >$TRACING/set_ftrace_filter
take_back loop_patch
unload loop_target
sleep 2
modules_before=$(lsmod | sort)
objects >/tmp/objects
# A thread that rests for longer than it was in foo() is found asleep at every second look.
load loop_target rest=2000 rest_percent=$((counts_instructions ? 600 : 200))
echo 'loop_*' >$TRACING/set_ftrace_filter || exit 1

PROBE=$TRACING/events/kprobes/random_return/enable
if [[ -e $TRACING/kprobe_events ]]; then
    echo 'r:random_return loop_target:loop_bar' >$TRACING/kprobe_events || exit 1
fi

# After work that began at $1: for a part of a second, up to nine tenths; where instructions are counted
# for twelve times as long as the work took, too. Most of what is done waits for the second after which
# the kernel looks at tasks again, and a kernel that watches itself would come to nothing else than this
# load.
rest() {
    local took=$((${EPOCHREALTIME/./} - $1)) micros
    printf -v micros %07d $((took * (counts_instructions ? 12 : 0) + (RANDOM % 9 + 1) * 100000))
    read -rt "${micros::-6}.${micros: -6}" <>/tmp/pipe
}

# Does something again and again, and rests in between.
in_turn() {
    while :; do
        local begin=${EPOCHREALTIME/./}
        "$@"
        rest "$begin"
    done
}

forks() { for i in {1..20}; do /bin/true; done; }
crowd() {
    for i in {1..20}; do (read -rt 0.05 <>/tmp/pipe) & done
    wait
}
spins() { for ((i = 0; i < 30000; i++)); do :; done; }

load_of() {
    # Forks one after the other, a crowd that sleeps for a moment, and a task that never sleeps. All work
    # and rest in turn: at times all processors are busy, and at others what waits for them comes on.
    in_turn forks &
    in_turn crowd &
    in_turn spins &
    while :; do timeout $((counts_instructions ? 90 : 20)) ./hog 64; sleep 10; done >/dev/null &
    while [[ -e $PROBE ]]; do
        for i in 1 0; do echo $i >$PROBE; sleep $((RANDOM % 4 + 1)); done
    done &
}
load_of 2>/dev/null
load_pids=$(jobs -p)

begin "patches come and go at random under load"
said=$(./cycles "$SEED" "$STEPS" "$TIME" $tracer "${ALL[@]}" 2>&1) || fail "$said"
read -r _ enabled _ reversed _ disabled _ replaced _ traced <<<"$said"
# Each of them is a good share of what was done.
for number in $enabled $reversed $disabled $replaced; do
    ((number >= STEPS / 50)) || fail "too little of one kind: $said"
done
((enabled + reversed + disabled + replaced >= STEPS)) || fail "too little: $said"
# Where most are reversed, few patches ever come to be enabled.
((enabled + disabled + replaced >= reversed / 3)) || fail "too much is reversed: $said"
mixed=$(of loop_target mixed)
((mixed == 0)) || fail "$mixed passes saw two functions"
echo "FIGURE: cycles $((enabled + reversed + disabled + replaced)): $said;" \
    "passes $(of loop_target old) old, $(of loop_target new) new, $mixed mixed"
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
# Where there is no probe, one of them has ended by itself.
kill $load_pids 2>/dev/null
wait 2>/dev/null
pkill -x hog
within 30 eval '! pgrep -x hog >/dev/null' || fail "memory is not given back"
if [[ -e $PROBE ]]; then
    awk '$1 == "random_return" { hits = $2 } END { exit hits == 0 }' $TRACING/kprobe_profile ||
        fail "the probe was never hit"
    echo 0 >$PROBE
    echo >$TRACING/kprobe_events
fi
for patch in "${ALL[@]}"; do
    [[ -e /sys/module/$patch ]] || continue
    within 30 unload "$patch" || fail "$patch can't be removed"
done
[[ -z $(ls -A $PATCHES) ]] || fail "a patch is left: $(ls -A $PATCHES)"
mixed=$(of loop_target mixed)
((mixed == 0)) || fail "$mixed passes saw two functions"
echo nop >$TRACING/current_tracer
echo >$TRACING/set_ftrace_filter
unload loop_target || fail "the target can't be removed"
[[ $(lsmod | sort) == "$modules_before" ]] || fail "modules are left: $(lsmod)"
sleep 2
objects >/tmp/objects-after
# A cache breathes by some hundred objects, and by a slab on each CPU, which counts as full; the memory of
# all by a MB. What is lost each time is more.
room=$((STEPS / 10 > 400 ? STEPS / 10 : 400))
[[ -e /proc/slabinfo ]] || room=1024
more=$(awk -v room=$room -v cpus="$(nproc)" 'NR == FNR { before[$1] = $2; next }
    $2 > before[$1] + room + cpus * $3 { printf "%s %d to %d; ", $1, before[$1], $2 }' /tmp/objects /tmp/objects-after)
[[ -z $more ]] || fail "memory is lost: $more"
finish

exit $status
