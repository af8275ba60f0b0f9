#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# foo() loops over bar(), which is patched: within a pass of foo() only one bar() may be seen. Asked
# in 2014, when patches were thought of that stop the machine and switch all tasks at once.
. ./functions.sh

# Passes of foo(), and how often the patch comes and goes meanwhile.
PASSES=${PASSES:-100000}
CYCLES=${CYCLES:-10}

load loop_target
# So that passes are preempted, beside those that sleep and those that let others run.
while :; do :; done &
hog=$!
passes() { echo $(($(of loop_target old) + $(of loop_target new))); }

begin "a pass of foo() sees one bar() while patches come and go"
cycles=0
while [[ -z $why ]] && (($(passes) < PASSES || cycles < CYCLES)); do
    load loop_patch
    settled loop_patch || fail "the patch does not settle"
    disable loop_patch
    within 30 is_gone loop_patch || fail "the patch is not taken back"
    within 30 unload loop_patch || fail "the patch can't be removed"
    ((cycles += 1))
done
mixed=$(of loop_target mixed)
((mixed == 0)) || fail "$mixed passes saw both functions"
(($(of loop_target old) > 0)) || fail "no pass saw the old function"
(($(of loop_target new) > 0)) || fail "no pass saw the new function"
echo "FIGURE: patched and unpatched $cycles times; passes $(of loop_target old) old," \
    "$(of loop_target new) new, $mixed mixed"
finish

begin "a switch of all tasks at once is seen to mix"
for ((i = 0; i < 200; i++)); do
    load loop_at_once
    sleep 0.05
    unload loop_at_once || fail "the diversion can't be removed"
    (($(of loop_target mixed) > 0)) && break
done
(($(of loop_target mixed) > 0)) || fail "no pass saw both functions, so the test can't fail"
finish

kill $hog
unload loop_target
exit $status
