#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
# The kernel's own samples of patches, as C modules that nothing was changed in.
. ./functions.sh

sample() { insmod "samples/$1.ko" "${@:2}" || fail "$1 does not load"; }
# Whether the kernel has said something since the case began.
mark() { echo "<5>objtool-rs-sample $1" >/dev/kmsg; }
has_said() { dmesg | sed "1,/objtool-rs-sample $1\$/d" | grep -q "$2"; }
waits_for() { within "${3:-30}" has_said "$1" "$2" || fail "the kernel does not say \`$2\`"; }

begin "livepatch-sample"
sample livepatch-sample
settled livepatch_sample || fail "it does not settle"
[[ $(</proc/cmdline) == "this has been live patched" ]] || fail "it does not take"
take_back livepatch_sample
[[ $(</proc/cmdline) == *console=* ]] || fail "it is not taken back"
finish

begin "livepatch-callbacks: modules come and go while a patch waits"
mark callbacks
sample livepatch-callbacks-busymod sleep_secs=40
waits_for callbacks 'busymod_work_func, sleeping 40 seconds'
sample livepatch-callbacks-demo
waits_for callbacks 'pre_patch_callback: vmlinux'
open_for livepatch_callbacks_demo 1 || fail "it does not wait for the worker"
sample livepatch-callbacks-mod
waits_for callbacks 'pre_patch_callback: livepatch_callbacks_mod'
unload livepatch_callbacks_mod || fail "the module can't be removed"
waits_for callbacks 'post_unpatch_callback: livepatch_callbacks_mod'
settled livepatch_callbacks_demo 90 || fail "it does not settle"
waits_for callbacks 'post_patch_callback: vmlinux'
take_back livepatch_callbacks_demo
waits_for callbacks 'post_unpatch_callback: vmlinux'
unload livepatch_callbacks_busymod || fail "the busy module can't be removed"
finish

begin "livepatch-callbacks: a callback refuses"
said=$(insmod samples/livepatch-callbacks-demo.ko pre_patch_ret=-19 2>&1) && fail "it is not refused"
[[ $said == *": No such device" ]] || fail "it is refused with \`$said\`"
[[ -e /sys/module/livepatch_callbacks_demo || -n $(ls -A $PATCHES) ]] && fail "something is left behind"
finish

begin "livepatch-shadow: two fixes, one on the other"
mark shadow
# Before the module, which loses memory without it.
sample livepatch-shadow-fix1
sample livepatch-shadow-mod
waits_for shadow 'dummy_alloc: dummy @'
settled livepatch_shadow_fix1 60 || fail "the first fix does not settle"
sample livepatch-shadow-fix2
settled livepatch_shadow_fix2 || fail "the second fix does not settle"
waits_for shadow 'livepatch_fix2_dummy_free: dummy @ .*check counter = ' 60
unload livepatch_shadow_mod || fail "the module can't be removed"
has_said shadow 'shadow variable' && fail "the kernel complains of shadow variables"
take_back livepatch_shadow_fix2
take_back livepatch_shadow_fix1
finish

exit $status
