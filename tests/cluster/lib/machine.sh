# shellcheck shell=bash
# Machines: net, pid, mount, uts and ipc namespaces whose process 1 is a script of machine/. Whoever kills that process kills the
# machine, with pods, mounts and all.

# start_machine cp|node-N: boots it and waits until its process 1 is known.
start_machine() {
    local member=$1 script=control-plane.sh unshare init i
    [ "$member" = cp ] || script=node.sh
    mkdir -p "$STATE/$member" "$LOG"
    # A session and a process group of its own: no Ctrl-C of a terminal reaches it. `9>&-`: see lock.
    setsid nsenter --net="/run/netns/$(netns "$member")" \
        unshare --mount --pid --uts --ipc --fork --kill-child=KILL --mount-proc \
        env BELLHOP_CLUSTER="$CLUSTER" BELLHOP_CLUSTER_ROOT="$ROOT" "$SCRIPTS/machine/$script" "$member" \
        </dev/null >>"$LOG/$member.log" 2>&1 9>&- &
    unshare=$!
    for ((i = 0; i < 100; i++)); do
        init=$(pgrep -P $unshare || true)
        [ -z "$init" ] || break
        kill -0 $unshare 2>/dev/null || die "machine $member did not start: $(tail -3 "$LOG/$member.log")"
        sleep 0.05
    done
    [ -n "$init" ] || die "machine $member has no process 1"
    echo "$init" >"$STATE/$member/init.pid"
}

# Process 1 of a machine, as the host numbers it; nothing and an error where the machine is off.
init_of() {
    local init
    init=$(cat "$STATE/$1/init.pid" 2>/dev/null) || return 1
    # The number may be another process's by now: it must be in the machine's network.
    [ "$(readlink "/proc/$init/ns/net" 2>/dev/null)" = "net:[$(stat -L -c %i "/run/netns/$(netns "$1")" 2>/dev/null)]" ] || return 1
    echo "$init"
}

is_on() { init_of "$1" >/dev/null; }

# in_machine MEMBER COMMAND...: runs a command in all namespaces of a machine.
in_machine() {
    local member=$1 init
    shift
    init=$(init_of "$member") || die "machine $member is off"
    nsenter -t "$init" -m -n -p -u -i -- "$@"
}

# cut_power MEMBER: the machine is gone at once, and says goodbye to nobody: its cable is drawn first, because the kernel closes the
# connections of the processes that it kills.
cut_power() {
    [ -e "/run/netns/$(netns "$1")" ] || return 0
    cut_cable "$1" 2>/dev/null || true
    remove_namespace "$1"
    # The kernel takes a deleted namespace's interfaces down in its own time; the next boot needs the name of this one.
    ip -n "$(netns router)" link delete "$1" 2>/dev/null || true
    rm -f "$STATE/$1/init.pid"
}

# The cgroups of a machine, or of all; the kernel keeps a cgroup busy for a moment after its last process. Also in the unified
# hierarchy, where the kubelet leaves some too.
remove_cgroups() {
    local top i
    for top in /sys/fs/cgroup/*/"$CGROUP${1:+/$1}"; do
        for ((i = 0; i < 50; i++)); do
            [ -d "$top" ] || break
            find "$top" -depth -type d -exec rmdir {} + 2>/dev/null || sleep 0.1
        done
    done
}

# The programs that API users need, with the administrator's rights, over the relay on the host's loopback.
kubectl() { "$STATE/bin/kubectl" --kubeconfig "$STATE/kubeconfig" "$@"; }
