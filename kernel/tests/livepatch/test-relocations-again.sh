#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# What the C core does not pass: relocations of a target that is refused stay in the patch.
#
# The target comes, and part of the patch's relocations for it is written before something turns out to be
# wrong. They must be taken back: the architecture does not write over others, so that the target would
# be refused for another reason the next time, and also where nothing is wrong with it any more.
. ./functions.sh

# Everything that is said from here on.
marked() { echo "relocations-again $1" >/dev/kmsg; }
said_since() { dmesg | sed -n "/relocations-again $1/,\$p"; }

# Twice refused with the same error, and not because there was something already.
refused_again() {
    local i said
    marked "$name"
    for i in 1 2 3; do
        said=$(insmod modules/relocations_target.ko 2>&1) && fail "the target comes"
        [[ $said == *": $1" ]] || fail "time $i it is refused with \`$said\`"
    done
    said_since "$name" | grep -q "existing value is nonzero" && fail "they were not taken back"
    said_since "$name" | grep -q "refusing to load" || fail "the kernel does not say so"
    take_back relocations_patch
    load relocations_target
    unload relocations_target || fail "the target can't be removed"
}

begin "a later relocation has no symbol that can be used"
for mistake in unmarked misnamed of-image unknown ambiguous no-position; do
    insmod "modules/relocations_patch-$mistake.ko" || fail "$mistake does not load"
    refused_again "Invalid parameters"
done
finish

begin "a later section can't be written"
insmod modules/relocations_patch-second.ko || fail "it does not load"
refused_again "Invalid parameters"
finish

begin "a later part of a section can't be written"
insmod modules/relocations_patch-half.ko || fail "it does not load"
refused_again "Invalid module format"
finish

begin "all are written, and the function is not there"
load relocations_patch replaces=there_is_no_such_function
refused_again "Invalid parameters"
finish

exit $status
