#!/bin/bash
# up.sh [--reuse] [whole|cp]
#
# Brings a cluster up: `whole` (control plane and three nodes; the default) or `cp` (control plane alone). What stands under the same
# prefix is removed first; with --reuse it is kept, if it is of that kind and answers. A cluster that does not come up whole
# is removed again.
set -euo pipefail
. "$(dirname "$0")/lib/settings.sh"
for part in artefacts network machine pki teardown; do . "$SCRIPTS/lib/$part.sh"; done

# Where the host's end of the relay starts to look for a free port, and how many it tries.
FIRST_PORT=${BELLHOP_CLUSTER_PORT:-16443}
PORTS=100
[ -z "${BELLHOP_CLUSTER_PORT:-}" ] || PORTS=1

require_tools() {
    local tool missing=""
    for tool in conntrack containerd curl ip jq nft nsenter openssl pgrep runc socat unshare; do
        command -v $tool >/dev/null || missing="$missing $tool"
    done
    [ -d /usr/lib/cni ] || missing="$missing containernetworking-plugins"
    [ -z "$missing" ] || die "missing:$missing; \`make setup\` installs them"
    for tool in cpuset memory pids; do
        hierarchies | grep -qx $tool || die "no cgroup v1 hierarchy $tool in /sys/fs/cgroup; the nodes are made for cgroup v1"
    done
}

# The API on a port of 127.0.0.1, for kubectl and tests on the host: a socket of the file system leads into the control plane's network,
# where machine/control-plane.sh goes on. Listening is how a port is claimed, so that clusters may come up at the same time.
start_relay() {
    local port pid
    for ((port = FIRST_PORT; port < FIRST_PORT + PORTS; port++)); do
        setsid socat "TCP-LISTEN:$port,bind=127.0.0.1,reuseaddr,fork" "UNIX-CONNECT:$STATE/api.sock" \
            </dev/null >/dev/null 2>&1 9>&- &
        pid=$!
        while kill -0 $pid 2>/dev/null; do
            if ss -Hltnp "sport = :$port" | grep -q "pid=$pid,"; then
                echo $pid >"$STATE/relay.pid"
                echo $port >"$STATE/port"
                return
            fi
            sleep 0.02
        done
    done
    die "no free port among $PORTS from $FIRST_PORT"
}

answers() { kubectl get --raw /readyz; }

create_control_plane() {
    start_relay
    create_pki "$(cat "$STATE/port")" "$@"
    create_network "$@"
    start_machine cp
    await 90 "the API server is ready" answers
}

create_nodes() {
    local node
    for node in $NODES; do
        await 60 "the kubelet of $node registers" kubectl get node "$node"
        kubectl patch node "$node" -p "{\"spec\": {\"podCIDR\": \"$(node_pods_ipv4 "$node")\",
            \"podCIDRs\": [\"$(node_pods_ipv4 "$node")\", \"$(node_pods_ipv6 "$node")\"]}}" >/dev/null
    done
    kubectl wait --for=condition=Ready node --all --timeout=60s >/dev/null
}

build() {
    local node nodes=""
    [ "$MODE" = cp ] || nodes=$NODES
    mkdir -p "$LOG" "$STATE/images"
    ln -s "$(components_folder)" "$STATE/bin"
    cp "$(image_folder)/test-pod.tar" "$STATE/images/"
    # shellcheck disable=SC2086 # A list.
    create_control_plane $nodes
    for node in $nodes; do start_machine "$node"; done
    # Without it no pod can be created.
    await 60 "the default service account is there" kubectl -n default get serviceaccount default
    [ "$MODE" = cp ] || create_nodes
    echo "$MODE" >"$STATE/mode"
}

# What stands, and how to get at it; the lines that start with `export` are for the caller's shell.
where() {
    cat <<END
  machines    cp $CP_IPV4$([ "$MODE" = cp ] || for node in $NODES; do printf ', %s %s' "$node" "$(node_ipv4 "$node")"; done); router $ROUTER_IPV4
  inside      tests/cluster/enter.sh router|client|cp|node-N [COMMAND...]
  logs        $LOG
export BELLHOP_CLUSTER=$CLUSTER
export KUBECONFIG=$STATE/kubeconfig
export PATH=$(readlink "$STATE/bin"):\$PATH
END
}

failed() {
    trap - EXIT INT TERM
    say "did not come up; the ends of its logs:" >&2
    tail -n 5 "$LOG"/*.log >&2 2>/dev/null || true
    tear_down
    exit 1
}

REUSE=false MODE=whole
for word in "$@"; do
    case $word in
    --reuse) REUSE=true ;;
    whole | cp) MODE=$word ;;
    *) die "up.sh: \"$word\"; give --reuse, whole or cp" ;;
    esac
done
require_root
require_tools
"$SCRIPTS/build.sh"
lock
if $REUSE && [ "$(cat "$STATE/mode" 2>/dev/null)" = "$MODE" ] && answers >/dev/null 2>&1; then
    say "stands already"
else
    start=$EPOCHREALTIME
    tear_down
    trap failed EXIT INT TERM
    build
    trap - EXIT INT TERM
    say "up in $(since "$start") s"
fi
where
