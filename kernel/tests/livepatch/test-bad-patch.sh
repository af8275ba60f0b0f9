#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# Patches that must be refused: with the error that the documentation or the C core gives, and
# nothing left behind.
. ./functions.sh

load stack_target

is_there() { [[ -e /sys/module/$1 || -n $(ls -A "$PATCHES") ]]; }

# A kind of mistake, and the words of insmod for the error.
refused() {
    local said
    said=$(insmod modules/bad_patch.ko "kind=$1" 2>&1) && fail "$1 is not refused"
    [[ $said == *": $2" ]] || fail "$1 is refused with \`$said\`"
    is_there bad_patch && fail "$1 leaves something behind"
}

begin "a patch that is none"
refused no-patch "Invalid parameters"
refused no-module "Invalid parameters"
refused no-objects "Invalid parameters"
refused no-funcs "Invalid parameters"
finish

begin "a function that is not there, or not one function"
refused no-name "Invalid parameters"
refused empty-name "Invalid parameters"
refused no-such-function "Invalid parameters"
refused ambiguous "Invalid parameters"
refused no-such-position "Invalid parameters"
refused position-of-one "Invalid parameters"
refused second-is-bad "Invalid parameters"
refused not-traceable "Invalid parameters"
dmesg | grep -q "failed to find location for function 'stack_untraced'" ||
    fail "not-traceable is refused for another reason"
finish

begin "a replacement that is not there, and names that are too long"
refused no-replacement "Invalid parameters"
refused name-too-long "Invalid parameters"
refused object-name-too-long "Invalid parameters"
finish

begin "a module that does not say that it is a live patch"
said=$(insmod modules/unmarked_patch.ko 2>&1) && fail "it is not refused"
[[ $said == *": Invalid parameters" ]] || fail "it is refused with \`$said\`"
is_there unmarked_patch && fail "it leaves something behind"
finish

begin "a second patch while the first one is in transition"
tell stack_target enter asleep
load stack_patch_1
open_for stack_patch_1 1 || fail "the first does not wait"
said=$(insmod modules/bad_patch.ko kind=good 2>&1) && fail "the second is not refused"
[[ $said == *": Device or resource busy" ]] || fail "the second is refused with \`$said\`"
[[ -e /sys/module/bad_patch || -e $PATCHES/bad_patch ]] && fail "the second leaves something behind"
tell stack_target opened 1
settled stack_patch_1 || fail "the first does not settle"
disable stack_patch_1
within 30 is_gone stack_patch_1 || fail "the first is not taken back"
within 30 unload stack_patch_1 || fail "the first can't be removed"
unload stack_target
finish

# What is written to a patch's file, and the error that it must give.
write_refused() {
    local said
    said=$( (echo "$3" >"$PATCHES/$1/$2") 2>&1) && fail "$3 in $2 of $1 is not refused"
    [[ $said == *": $4" ]] || fail "$3 in $2 of $1 is refused with \`$said\`"
}

begin "a patch without a mistake, of which what can't be is asked for"
load bad_patch kind=good
settled bad_patch || fail "it does not settle"
[[ -z $(cat /proc/cmdline) ]] || fail "it does not take"
write_refused bad_patch enabled 1 "Invalid argument"
write_refused bad_patch enabled x "Invalid argument"
write_refused bad_patch force 1 "Invalid argument"
load stack_target
tell stack_target enter asleep
load stack_patch_1
open_for stack_patch_1 1 || fail "the second does not wait"
write_refused stack_patch_1 enabled 1 "Invalid argument"
write_refused bad_patch enabled 0 "Device or resource busy"
write_refused bad_patch force 1 "Invalid argument"
tell stack_target opened 1
settled stack_patch_1 || fail "the second does not settle"
take_back stack_patch_1
unload stack_target
[[ -z $(cat /proc/cmdline) ]] || fail "it does not stay"
take_back bad_patch
[[ -n $(cat /proc/cmdline) ]] || fail "it stays"
finish

begin "a patch that a parameter enables while its module is loaded"
load bad_patch kind=good early=1
settled bad_patch || fail "it does not settle"
[[ -z $(cat /proc/cmdline) ]] || fail "it does not take"
take_back bad_patch
finish

exit $status
