#!/bin/bash
# Forced transitions on a booted kernel: patches 1 and 2 are forced while a task sleeps, which it does
# in patch 1's variant in the end; then patch 3 comes. Once as it is, once with patch 1 disabled in
# between. Says what it saw; `not ok` where the C core's rule would let patch 3 be mixed with patch 1.

cd "$(dirname "$0")" || exit 1
sys=/sys/kernel/livepatch
victim=/sys/kernel/debug/klp_victim
failed=0

expect() {
    if [[ $2 == "$3" ]]; then
        echo "force: $1: ok"
    else
        echo "force: $1: not ok: $2 where $3 is to be"
        failed=1
    fi
}

# Waits for a command to succeed, so many seconds; says whether it did.
within() {
    local seconds=$1 i
    shift
    for ((i = 0; i < seconds * 10; i++)); do
        eval "$*" && { echo yes; return; }
        sleep 0.1
    done
    echo no
}

ended() { [[ ! -e $sys/$1/transition || $(<$sys/$1/transition) == 0 ]]; }
gone() { [[ ! -e $sys/$1 ]]; }
unload() { rmmod "$1" 2>/dev/null; }
said() { dmesg | grep -q "klp_victim: $1"; }

# A task that sleeps in the victim.
enter() {
    echo 1 >$victim/enter &
    sleeper=$!
    within 10 '[[ $(</proc/$sleeper/stat) == *") D "* ]]' >/dev/null
}

wake() {
    echo 1 >$victim/wake
    wait "$sleeper"
}

force() { echo 1 >$sys/"$1"/force; }

prepare() {
    dmesg -C
    insmod klp_victim.ko
    enter
    insmod klp_force1.ko
    expect "$1: patch 1 waits for the task" "$(within 2 ended klp_force1)" no
    force klp_force1
    expect "$1: patch 1 is forced" "$(within 10 ended klp_force1)" yes
    wake
    expect "$1: the forced transition is mixed" "$(within 5 said "'outer 0, inner 1'")" yes
    enter
    insmod klp_force2.ko
    expect "$1: patch 2 waits for the task" "$(within 2 ended klp_force2)" no
    force klp_force2
    expect "$1: patch 2 is forced" "$(within 10 ended klp_force2)" yes
}

finish() {
    local patch
    for patch in "$@"; do
        [[ -e $sys/$patch/enabled ]] && echo 0 >$sys/"$patch"/enabled
        expect "$case: $patch goes" "$(within 20 gone "$patch")" yes
    done
    for patch in klp_force1 klp_force2 klp_force3 klp_victim; do
        expect "$case: $patch is unloaded" "$(within 10 unload $patch)" yes
    done
}

case="three patches"
prepare "$case"
insmod klp_force3.ko
expect "$case: patch 3 waits for the task in patch 1" "$(within 4 ended klp_force3)" no
wake
expect "$case: patch 3 is not mixed with patch 1" "$(within 5 said "'outer 1, inner 2'")" yes
expect "$case: patch 3 is complete" "$(within 10 ended klp_force3)" yes
finish klp_force3 klp_force2 klp_force1

case="patch 1 disabled"
prepare "$case"
echo 0 >$sys/klp_force1/enabled
expect "$case: disabling waits for the task" "$(within 2 ended klp_force1)" no
force klp_force1
expect "$case: disabling is forced" "$(within 10 gone klp_force1)" yes
expect "$case: patch 1 stays for the task" "$(within 3 unload klp_force1)" no
insmod klp_force3.ko
expect "$case: patch 3 waits for the task in patch 1" "$(within 4 ended klp_force3)" no
wake
expect "$case: patch 3 is not mixed with patch 1" "$(within 5 said "'outer 1, inner 2'")" yes
expect "$case: patch 3 is complete" "$(within 10 ended klp_force3)" yes
finish klp_force3 klp_force2

exit $failed
