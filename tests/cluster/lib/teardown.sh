# shellcheck shell=bash
# Removing a cluster, whatever state it is in.

# Our end of the relay on the host, if the process of that number is still it.
stop_relay() {
    local pid
    pid=$(cat "$STATE/relay.pid" 2>/dev/null) || return 0
    if { tr '\0' ' ' <"/proc/$pid/cmdline"; } 2>/dev/null | grep -F "$STATE/api.sock" >/dev/null; then
        # With the children that serve open connections.
        pkill -KILL -P "$pid" || true
        kill -KILL "$pid" 2>/dev/null || true
    fi
}

# Everything of it: machines with their pods, relay, namespaces, cgroups, state. Nothing to do where there is nothing.
tear_down() {
    local member
    for member in client $NODES cp router; do remove_namespace "$member"; done
    stop_relay
    remove_cgroups
    if [ -n "${BELLHOP_CLUSTER_LOGS:-}" ] && [ -d "$LOG" ]; then
        rm -rf "$BELLHOP_CLUSTER_LOGS"
        mv "$LOG" "$BELLHOP_CLUSTER_LOGS"
    fi
    # Mounts are in the machines' mount namespaces alone, and go with their last process, a moment after it.
    await 10 "the folder $STATE can be removed" rm -rf --one-file-system "$STATE"
    rmdir "$ROOT" 2>/dev/null || true
}

# One line for each thing of the cluster that is still there.
left_over() {
    ip netns list | sed -nE "s/^($CLUSTER-(router|client|cp|node-[0-9]+))( .*)?$/netns \1/p"
    grep -F "$STATE/" /proc/self/mountinfo | sed 's/^/mount /' || true
    find /sys/fs/cgroup -maxdepth 2 -name "$CGROUP" -printf 'cgroup %p\n'
    # Process names would not do: components of all clusters have the same. Their arguments name the state.
    local cmdline
    for cmdline in /proc/[0-9]*/cmdline; do
        # Many end while this looks at them.
        { tr '\0' ' ' <"$cmdline" | grep -F "$STATE/" | sed "s,^,process ${cmdline//[^0-9]/} ,"; } 2>/dev/null || true
    done
    [ ! -e "$STATE" ] || echo "folder $STATE"
}
