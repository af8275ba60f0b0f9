# SPDX-License-Identifier: GPL-2.0-only
# What the scripts share. A case begins with `begin NAME`, says with `fail WHY` what is wrong, and
# ends with `finish`, which prints `TEST: NAME ... ok` or `... not ok`.

PATCHES=/sys/kernel/livepatch
status=0

begin() {
    name=$1
    why=
    # What a script prints is seen when it ends; this says where it is if it does not.
    echo "case: $name" >/dev/console
}

fail() {
    why=${why:-$*}
}

finish() {
    if [[ -z $why ]]; then
        echo "TEST: $name ... ok"
    else
        echo "TEST: $name ... not ok: $why"
        status=1
    fi
}

# Waits until a command succeeds, at most so many seconds.
within() {
    local seconds=$1 end
    shift
    end=$((SECONDS + seconds))
    until "$@"; do
        ((SECONDS < end)) || return 1
        sleep 0.1
    done
}

# A parameter of a module.
of() { cat "/sys/module/$1/parameters/$2"; }
tell() { echo "$3" >"/sys/module/$1/parameters/$2"; }

# A module and its parameters.
load() { insmod "modules/$1.ko" "${@:2}" || fail "$1 does not load"; }
unload() { rmmod "$1" 2>/dev/null; }

is_settled() { [[ ! -e $PATCHES/$1 || $(cat "$PATCHES/$1/transition" 2>/dev/null) == 0 ]]; }
is_gone() { [[ ! -e $PATCHES/$1 ]]; }

settled() { within "${2:-30}" is_settled "$1"; }

# Looks that a transition stays open for some seconds.
open_for() {
    local i
    for ((i = 0; i < $2 * 10; i++)); do
        is_settled "$1" && return 1
        sleep 0.1
    done
}

disable() { echo 0 >"$PATCHES/$1/enabled"; }
force() { echo 1 >"$PATCHES/$1/force"; }

# A module that must be refused, with these last words of insmod's, and leave nothing behind.
refused_with() {
    local words=$1 said
    shift
    said=$(insmod "modules/$1.ko" "${@:2}" 2>&1) && fail "$1 is not refused"
    [[ $said == *": $words" ]] || fail "$1 is refused with \`$said\`"
    [[ -e /sys/module/$1 || -e $PATCHES/$1 ]] && fail "$1 leaves something behind"
}

# Takes a patch back and its module out.
take_back() {
    disable "$1" || fail "$1 can't be disabled"
    within "${2:-30}" is_gone "$1" || fail "$1 is not taken back"
    within 30 unload "$1" || fail "$1 can't be removed"
}

# What a pass of the function of situation_target gives, and how many tasks are inside.
gives() { (($(of situation_target value) == $1)); }
inside() { (($(of situation_target inside) == $1)); }
open_door() { tell situation_target open "$1"; }

# Has the kernel run threads for a program, where it has such; `ring` is the program then.
start_ring() {
    ring=
    [[ -e /proc/sys/kernel/io_uring_disabled ]] || return
    ./ring >/tmp/ring 2>&1 &
    ring=$!
    within 30 grep -q there /tmp/ring || fail "io_uring: $(cat /tmp/ring)"
    threads_of_ring
}
# Two of them, and with $1 each on that side.
threads_of_ring() {
    [[ -n $ring ]] || return
    local folder names=
    for folder in /proc/$ring/task/*; do
        [[ $(<$folder/comm) == iou-* ]] || continue
        names+=" $(<$folder/comm)"
        [[ -z $1 || $(<$folder/patch_state) == "$1" ]] || fail "$(<$folder/comm) has not switched"
    done
    [[ $names == *iou-sqp-* && $names == *iou-wrk-* ]] || fail "io_uring has no threads but:$names"
}

# Says who is waited for, where the kernel says so.
BLOCKERS=/sys/kernel/debug/livepatch/blockers
