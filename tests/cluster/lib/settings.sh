# shellcheck shell=bash disable=SC2034 # Used by the scripts that source this file.
# Names, addresses and places of a cluster. Sourced by every script; changes nothing.
#
#   BELLHOP_CLUSTER        prefix of everything that belongs to one cluster, k8s by default; clusters of different prefixes
#                          stand side by side
#   BELLHOP_CLUSTER_ROOT   folder of the clusters' state, on a tmpfs by default
#   BELLHOP_CLUSTER_PORT   port of the API on the host's 127.0.0.1; by default the first free one from 16443
#   BELLHOP_CLUSTER_LOGS   folder to which `down.sh` moves the logs; by default they go with the cluster

CLUSTER=${BELLHOP_CLUSTER-k8s}
SCRIPTS=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# For a developer whose go comes from go.dev's archive and is not on root's path.
PATH=$PATH:/usr/local/go/bin

# Whatever the caller's: FRR and pods, which are not root, must find their way to their folders.
umask 022

say() { printf 'cluster %s: %s\n' "$CLUSTER" "$*"; }
die() { say "$*" >&2; exit 1; }

# The prefix is part of interface paths, cgroups and Unix sockets, whose paths hold 107 bytes.
[[ $CLUSTER =~ ^[a-z0-9][a-z0-9-]{0,23}$ ]] ||
    die "BELLHOP_CLUSTER=\"$CLUSTER\": give 1 to 24 lowercase letters, digits or dashes, no dash in front"

# State on a tmpfs: etcd and containerd write much, and nothing of it outlives the cluster. The folder must not be below
# /run, /var/lib or /var/log, which every node has for itself.
shm_kib=$(df -Pk /dev/shm 2>/dev/null | awk 'NR == 2 { print $4 }')
if [ -n "${BELLHOP_CLUSTER_ROOT:-}" ]; then
    ROOT=$BELLHOP_CLUSTER_ROOT
elif [ -d "/dev/shm/bellhop-cluster/$CLUSTER" ] || [ "${shm_kib:-0}" -gt 1048576 ]; then
    ROOT=/dev/shm/bellhop-cluster
else
    ROOT=/var/tmp/bellhop-cluster
fi
STATE=$ROOT/$CLUSTER
LOG=$STATE/log

# --- Who is where. All of it is inside the cluster's own namespaces, so clusters may share it; the same plan as the lab's
# (tests/lab/src/plan.rs): documentation ranges, `node-N` at .1N, the router at .1.
NODES="node-1 node-2 node-3"
ROUTER_IPV4=192.0.2.1 ROUTER_IPV6=2001:db8:0:1::1
CP_IPV4=192.0.2.10 CP_IPV6=2001:db8:0:1::10
API_PORT=6443
SERVICES_IPV4=10.96.0.0/16 SERVICES_IPV6=fd00:96::/112
# The first of each is the Service `kubernetes` in `default`, over which pods reach the API.
API_SERVICE_IPV4=10.96.0.1 API_SERVICE_IPV6=fd00:96::1
PODS_IPV4=10.244.0.0/16 PODS_IPV6=fd00:244::/48
CLIENT_LINK_IPV4="198.51.100.1 198.51.100.2" CLIENT_LINK_IPV6="2001:db8:0:a::1 2001:db8:0:a::2"

node_number() { echo "${1#node-}"; }
node_ipv4() { echo "192.0.2.1$(node_number "$1")"; }
node_ipv6() { echo "2001:db8:0:1::1$(node_number "$1")"; }
node_pods_ipv4() { echo "10.244.$(node_number "$1").0/24"; }
node_pods_ipv6() { echo "fd00:244:0:$(node_number "$1")::/64"; }

# The network namespace of a member: router, client, cp, node-N.
netns() { echo "$CLUSTER-$1"; }

# The image of test pods, which is also the sandbox image ("pause") of every pod.
POD_IMAGE=localhost/bellhop/test-pod:1

# Cgroup of everything that the nodes run, in every hierarchy.
CGROUP=bellhop-cluster-$CLUSTER

# The cgroup v1 hierarchies that kubelet and runc use, by name of their folder in /sys/fs/cgroup.
hierarchies() { findmnt -rn -t cgroup -o TARGET | sed -n 's,^/sys/fs/cgroup/,,p' | sort -u; }

# await SECONDS WHAT COMMAND...: looks five times a second until the command succeeds.
await() {
    local end=$((SECONDS + $1)) what=$2
    shift 2
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt "$end" ] || { say "not in time: $what" >&2; return 1; }
        sleep 0.2
    done
}

# Seconds since an earlier $EPOCHREALTIME, with one decimal.
since() { awk -v a="$1" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f", b - a }'; }

# One script at a time changes a cluster. Machines must not inherit the lock: they close descriptor 9.
lock() {
    mkdir -p /run/lock
    exec 9>"/run/lock/bellhop-cluster-$CLUSTER.lock"
    flock -w 180 9 || die "another script has been changing this cluster for three minutes"
}

require_root() { [ "$(id -u)" = 0 ] || die "needs root, for namespaces, cgroups and containers"; }
