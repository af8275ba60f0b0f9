#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# A patch uses what its target and the image export to nobody, by relocations that are written when the
# target is there. Those that can't be written refuse the patch, or the target if it comes later.
. ./functions.sh

is() { (($(of relocations_target value) == $1)) || fail "the value is $(of relocations_target value)"; }

# A target whose secret is this, and so the value that the patch gives.
target() { load relocations_target "secret=$1"; }

patched() {
    settled relocations_patch || fail "the patch does not settle"
    is $((11220 + $1))
}

begin "relocations of a target that is there"
target 7
is 0
load relocations_patch
patched 7
take_back relocations_patch
is 0
load relocations_patch
patched 7
finish

begin "relocations of a target that goes and comes, and is another one then"
for secret in 3 4 5; do
    unload relocations_target || fail "the target can't be removed"
    target $secret
    patched $secret
done
take_back relocations_patch
is 0
unload relocations_target
finish

# As of callbacks alone: there is nothing in the patch that would have to be found in the target.
begin "relocations of an object without functions, which goes and comes"
load relocations_patch "replaces="
for secret in 8 9 10; do
    target $secret
    (($(of relocations_patch secret) == secret)) || fail "it sees $(of relocations_patch secret)"
    is 0
    unload relocations_target || fail "the target can't be removed"
done
target 11
take_back relocations_patch
unload relocations_target
finish

begin "relocations of a target that comes later"
load relocations_patch
target 6
patched 6
take_back relocations_patch
unload relocations_target
finish

# The target is there: the patch is refused.
patch_refused() {
    local said
    said=$(insmod "modules/relocations_patch-$1.ko" 2>&1) && fail "$1 is not refused"
    [[ $said == *": $2" ]] || fail "$1 is refused with \`$said\`"
    [[ -e /sys/module/relocations_patch || -e $PATCHES/relocations_patch ]] &&
        fail "$1 leaves something behind"
}

begin "relocations that can't be written when the patch comes"
target 7
for mistake in unmarked misnamed of-image unknown ambiguous no-position second; do
    patch_refused $mistake "Invalid parameters"
    is 0
done
patch_refused half "Invalid module format"
is 0
load relocations_patch
patched 7
take_back relocations_patch
unload relocations_target
finish

begin "relocations that can't be written when the target comes"
for mistake in unmarked misnamed of-image unknown ambiguous no-position; do
    insmod "modules/relocations_patch-$mistake.ko" || fail "$mistake does not load"
    said=$(insmod modules/relocations_target.ko 2>&1) && fail "with $mistake the target comes"
    [[ $said == *": Invalid parameters" ]] || fail "$mistake refuses it with \`$said\`"
    [[ -e /sys/module/relocations_target ]] && fail "$mistake leaves the target behind"
    take_back relocations_patch
    target 7
    is 0
    unload relocations_target || fail "the target can't be removed after $mistake"
done
finish

begin "relocations of the image that can't be written, and a section of none"
patch_refused unknown-in-image "Invalid parameters"
patch_refused section-misnamed "Invalid parameters"
finish

exit $status
