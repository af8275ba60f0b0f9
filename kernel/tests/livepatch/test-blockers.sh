#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# What the C core does not pass: it does not say whom it waits for, and why.
. ./functions.sh
TRACING=/sys/kernel/debug/tracing

load situation_target

# What is said of a task.
line() { grep "^$1 " $BLOCKERS; }
says() { [[ $(line "$1") =~ $2 ]]; }
said_of() {
    [[ -n $1 && -n $2 ]] || fail "nobody, or nothing, is asked for"
    within "${3:-10}" says "$1" "$2" || fail "it is said: \`$(line "$1")\`, not \`$2\`"
}

# Whether the kernel has the verdicts of stacks, and where a function is on a task's stack.
frame_of() {
    local number
    number=$(grep -n "\] $2[+]" "/proc/$1/stack_verdict") || fail "$2 is not on the stack"
    echo $((${number%%:*} - 1))
}

# Has a command enter the function and the patch wait for it.
enter() {
    "$@" >/dev/null 2>&1 &
    pid=$!
    within 10 inside 1 || fail "nobody is in the function"
}
leave() {
    open_door 1
    wait $pid 2>/dev/null
    settled situation_patch || fail "the patch does not settle"
    open_door 0
}
AGE=', for [0-9]+ ms$'

begin "in the original of a function: which, at which frame, since when"
enter cat /dev/situation_sleep
load situation_patch
frame=$(frame_of "$pid" situation_pass)
said_of "$pid" "^$pid cat: in situation_pass \(situation_pass[^)]*\) at frame $frame$AGE"
age() { line "$1" | sed 's/.*, for \([0-9]*\) ms.*/\1/'; }
first=$(age "$pid")
sleep 2
second=$(age "$pid")
((second - first >= 1900 && second - first < 20000)) || fail "in 2 s it went from $first ms to $second ms"
leave
finish

begin "in a replacement of the function"
enter cat /dev/situation_sleep
disable situation_patch
frame=$(frame_of "$pid" new_pass)
said_of "$pid" "^$pid cat: in situation_pass \(new_pass[^)]*situation_patch[^)]*\) at frame $frame$AGE"
leave
within 30 is_gone situation_patch || fail "the patch is not taken back"
within 30 unload situation_patch || fail "the patch can't be removed"
finish

begin "running"
enter cat /dev/situation_spin
load situation_patch
said_of "$pid" "^$pid cat: running$AGE"
leave
take_back situation_patch
finish

# In a page fault, where a stack with frame pointers is not reliable, and one with ORC is.
begin "on a stack that is not reliable, with the reason, or in the function"
enter ./fault
load situation_patch
verdict=$(tail -n 1 /proc/$pid/stack_verdict)
case $verdict in
unreliable*) said_of "$pid" "^$pid fault: unreliable stack \(${verdict#*: }\)$AGE" ;;
reliable*) said_of "$pid" "^$pid fault: in situation_pass \(situation_pass[^)]*\) at frame [0-9]*$AGE" ;;
*) fail "there is no verdict" ;;
esac
leave
take_back situation_patch
finish

begin "below more frames than are looked at"
enter cat /dev/situation_deep
load situation_patch
said_of "$pid" "^$pid cat: unreliable stack \(more frames than are looked at\)$AGE"
leave
take_back situation_patch
finish

begin "signalled or woken: by the core, in this transition, and not before"
enter cat /dev/situation_sleep
tell situation_target work 1
within 10 inside 2 || fail "no worker is in the function"
load situation_patch
said_of "$pid" "ms$"
grep -q ' ms, ' $BLOCKERS && fail "somebody was signalled at once: $(grep ' ms, ' $BLOCKERS)"
said_of "$pid" "^$pid cat: in .* ms, signalled$" 40
worker_is() { grep -qE "^[0-9]+ kworker[^ ]* in situation_pass .* ms, woken$" $BLOCKERS; }
within 10 worker_is || fail "the worker is not woken: $(grep kworker $BLOCKERS)"
# The next transition has signalled nobody yet.
disable situation_patch
within 30 is_gone situation_patch || fail "the patch is not reversed"
within 30 unload situation_patch
load situation_patch
said_of "$pid" "^$pid cat: in [^,]*$AGE"
leave
take_back situation_patch
finish

begin "forced before, and through which patches that are gone"
load stack_target
load stack_patch_6
settled stack_patch_6 || fail "the first does not settle"
tell stack_target enter forced
pid=$(pgrep -n -x forced) || fail "there is no thread"
disable stack_patch_6
open_for stack_patch_6 1 || fail "the first does not wait"
grep -q forced.before $BLOCKERS && fail "somebody was forced before"
force stack_patch_6
within 30 is_gone stack_patch_6 || fail "the first is not forced away"
load stack_patch_7
said_of "$pid" "^$pid forced: in stack_sleep of stack_patch_6 at frame [0-9]*, for [0-9]* ms, forced before, may be in stack_patch_6$"
tell stack_target opened 100
settled stack_patch_7 || fail "the second does not settle"
take_back stack_patch_7
within 30 unload stack_patch_6 || fail "the first can't be removed"
unload stack_target
finish

begin "each step of a transition and of its tasks is traced"
echo 1 >$TRACING/events/livepatch/enable || fail "there is no tracepoint"
echo >$TRACING/trace
# In user mode all the time, they switch when an interrupt ends.
spinners=()
for i in 1 2 3; do
    while :; do :; done &
    spinners+=($!)
done
enter cat /dev/situation_sleep
load situation_patch
sleep 2
disable situation_patch
within 30 is_gone situation_patch || fail "the patch is not reversed"
within 30 unload situation_patch
load situation_patch
open_for situation_patch 1 || fail "the patch does not wait"
force situation_patch
settled situation_patch || fail "the patch is not forced"
leave
traced() { grep -qE "$1" $TRACING/trace || fail "not traced: $1"; }
traced 'klp_start: patch=situation_patch to=patched'
traced 'klp_reverse: patch=situation_patch to=unpatched'
traced 'klp_start: patch=situation_patch to=unpatched'
traced 'klp_complete: patch=situation_patch to=unpatched'
traced "klp_block: comm=cat pid=$pid reason=in-function func=situation_pass"
traced 'klp_switch: .* to=patched how=clear-stack'
traced 'klp_switch: .* to=patched how=safe-point'
traced 'klp_force: patch=situation_patch to=patched'
traced "klp_switch: comm=cat pid=$pid to=patched how=forced"
traced 'klp_complete: patch=situation_patch to=patched'
grep -q "klp_switch: comm=cat pid=$pid .*how=clear-stack" $TRACING/trace && fail "it was switched in the function"
# Those in user mode may all have switched before the first look. One that runs in the kernel has not.
kill "${spinners[@]}"
take_back situation_patch
enter cat /dev/situation_spin
load situation_patch
open_for situation_patch 3 || fail "the patch does not wait"
leave
traced "klp_block: comm=cat pid=$pid reason=running"
echo 0 >$TRACING/events/livepatch/enable
echo >$TRACING/trace
take_back situation_patch
finish

begin "where a patch stands among those that are enabled"
load stack_target
load situation_patch
settled situation_patch || fail "the first does not settle"
load stack_patch_8
settled stack_patch_8 || fail "the second does not settle"
order() { [[ $(<$PATCHES/$1/stack_order) == "$2" ]] || fail "$1 is not number $2"; }
order situation_patch 1
order stack_patch_8 2
take_back situation_patch
order stack_patch_8 1
load situation_patch
settled situation_patch
order stack_patch_8 1
order situation_patch 2
take_back stack_patch_8
order situation_patch 1
take_back situation_patch
unload stack_target
finish

unload situation_target || echo "the target can't be removed"
exit $status
