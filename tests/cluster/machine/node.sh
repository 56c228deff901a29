#!/bin/bash
# node.sh NODE: process 1 of a node's machine. Makes the machine out of its namespaces, then runs containerd, kubelet and kube-proxy,
# each started again when it ends.
set -u
. "$(dirname "$0")/../lib/settings.sh"
. "$SCRIPTS/lib/supervise.sh"
MEMBER=$1 DIR=$STATE/$1

# What a disk would keep is in the node's folder, the rest is new at every boot.
mount_own_folders() {
    mkdir -p "$DIR"/disk/{lib,log} "$DIR/sys"
    # /sys with this network's devices, and the host's cgroups in it.
    mount --rbind /sys/fs/cgroup "$DIR/sys"
    mount -t sysfs sysfs /sys
    mount --rbind "$DIR/sys" /sys/fs/cgroup
    umount -R "$DIR/sys"
    mount -t tmpfs -o mode=755 tmpfs /run
    mkdir -p /run/lock /run/netns
    mount --bind "$DIR/disk/lib" /var/lib
    mount --bind "$DIR/disk/log" /var/log
}

# own_file PATH: from now on what is written there stays in here.
own_file() {
    local copy=/run/own${1//\//_}
    [ -e "$copy" ] || cat "$1" >"$copy"
    mount --bind "$copy" "$1"
}

# The kubelet sets these for the whole host: give it files instead. And the identities that a real machine has for itself: one for
# ever, one for each boot.
mount_own_files() {
    local setting
    for setting in vm/overcommit_memory vm/panic_on_oom kernel/panic kernel/panic_on_oops kernel/keys/root_maxkeys \
        kernel/keys/root_maxbytes; do
        own_file "/proc/sys/$setting"
    done
    cat /proc/sys/kernel/random/uuid >/run/own_proc_sys_kernel_random_boot_id
    own_file /proc/sys/kernel/random/boot_id
    printf '%032d\n' "$(node_number "$MEMBER")" >/run/own_etc_machine-id
    [ ! -e /etc/machine-id ] || own_file /etc/machine-id
}

# In cgroup v1 the kubelet's root must be there in every hierarchy, and in cpuset be given CPUs before it can hold a process.
create_cgroups() {
    local hierarchy group file
    for hierarchy in $(hierarchies); do
        mkdir -p "/sys/fs/cgroup/$hierarchy/$CGROUP/$MEMBER"
    done
    for group in "$CGROUP" "$CGROUP/$MEMBER"; do
        for file in cpuset.cpus cpuset.mems; do
            cat "/sys/fs/cgroup/cpuset/$file" >"/sys/fs/cgroup/cpuset/$group/$file"
        done
    done
}

# Pods must find their images when the kubelet starts them; what the disk has from an earlier boot need not be read again.
load_images() {
    local image mark
    await 30 "containerd of $MEMBER answers" ctr version || return
    for image in "$STATE"/images/*.tar; do
        mark=$DIR/disk/$(basename "$image").loaded
        [ "$mark" -nt "$image" ] || { ctr -n k8s.io images import "$image" && touch "$mark"; }
    done
}

hostname "$MEMBER"
rm -rf "$DIR/pids"
mount_own_folders
mount_own_files
# Pods may ask for mounts that propagate. Last, because the umount above must not; it ends at this machine's border.
mount --make-rshared /
create_cgroups
supervise containerd "$SCRIPTS/component/containerd.sh" "$MEMBER" &
supervise kube-proxy "$SCRIPTS/component/kube-proxy.sh" "$MEMBER" &
load_images
supervise kubelet "$SCRIPTS/component/kubelet.sh" "$MEMBER" &
reap_for_ever
