#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Transitions while there is much else to do: forks, no idle CPU, hardly any memory, CPUs that come and go.
. ./functions.sh

FORKS=${FORKS:-300}
load situation_target
[[ -p /tmp/crowd ]] || mkfifo /tmp/crowd
exec 9<>/tmp/crowd

begin "hundreds of forks during a transition"
cat /dev/situation_sleep >/dev/null &
holder=$!
within 10 inside 1 || fail "nobody is in the function"
load situation_patch
crowd=()
for ((i = 0; i < FORKS; i++)); do
    (read -ru 9) &
    crowd+=($!)
done
is_settled situation_patch && fail "the transition ended while it was held"
declare -A count=([-1]=0 [0]=0 [1]=0)
for pid in "${crowd[@]}"; do
    ((count[$(</proc/$pid/patch_state)] += 1))
done
((count[-1] == 0)) || fail "${count[-1]} tasks have no side"
((count[0] + count[1] == FORKS)) || fail "only $((count[0] + count[1])) of $FORKS are there"
open_door 1
wait $holder
settled situation_patch 60 || fail "the patch does not settle"
for pid in "${crowd[@]}"; do
    [[ $(</proc/$pid/patch_state) == -1 ]] || fail "a task is left over"
done
kill "${crowd[@]}"
wait "${crowd[@]}" 2>/dev/null
open_door 0
take_back situation_patch
finish

begin "no CPU is ever idle"
spinners=()
for ((i = 0; i < 2 * $(nproc); i++)); do
    while :; do :; done &
    spinners+=($!)
done
tell situation_target busy 1
for i in 1 2 3; do
    load situation_patch
    settled situation_patch 60 || fail "the patch does not settle"
    gives 2 || fail "the replacement is not called"
    take_back situation_patch 60
    gives 1 || fail "the original is not called"
done
tell situation_target busy 0
kill "${spinners[@]}"
wait "${spinners[@]}" 2>/dev/null
finish

begin "hardly any memory is left"
./hog 8 >/tmp/hog &
hog=$!
within 300 grep -q full /tmp/hog || fail "memory does not get full"
came=0
for i in {1..5}; do
    if said=$(insmod modules/situation_patch.ko 2>&1); then
        ((came += 1))
        settled situation_patch 60 || fail "the patch does not settle"
        gives 2 || fail "the replacement is not called"
        take_back situation_patch 60
    elif [[ $said != *": Cannot allocate memory" ]]; then
        fail "the patch is refused with \`$said\`"
    fi
    [[ -e /sys/module/situation_patch || -n $(ls -A "$PATCHES") ]] && fail "something is left behind"
    gives 1 || fail "the original is not called"
done
kill $hog || fail "memory was taken back"
wait $hog 2>/dev/null
((came > 0)) || fail "no patch came"
finish

CPU=/sys/devices/system/cpu/cpu1/online
begin "a CPU goes and comes during a transition"
echo 0 >$CPU || fail "it does not go"
load situation_patch
settled situation_patch 60 || fail "the patch does not settle without it"
gives 2 || fail "the replacement is not called"
take_back situation_patch 60
cat /dev/situation_sleep >/dev/null &
holder=$!
within 10 inside 1 || fail "nobody is in the function"
load situation_patch
echo 1 >$CPU || fail "it does not come"
open_for situation_patch 3 || fail "the patch does not wait for the task in its function"
[[ ! -e $BLOCKERS ]] || [[ $(wc -l <$BLOCKERS) == 1 ]] || fail "others are waited for: $(<$BLOCKERS)"
echo 0 >$CPU || fail "it does not go again"
open_for situation_patch 2 || fail "the patch does not wait without the CPU"
open_door 1
wait $holder
settled situation_patch 60 || fail "the patch does not settle"
open_door 0
disable situation_patch
echo 1 >$CPU || fail "it does not come again"
within 60 is_gone situation_patch || fail "the patch is not taken back"
within 30 unload situation_patch || fail "the patch can't be removed"
gives 1 || fail "the replacement is still called"
finish

exec 9>&-
unload situation_target || echo "the target can't be removed"
exit $status
