# shellcheck shell=bash
# The network of a cluster: a namespace for each machine, all plugged into a bridge inside the router's namespace, and a client
# behind the router.
#
#   client ── router ═╦═ cp
#                     ╠═ node-1 … node-3 ── pods (bridge cni0)
#
# Every link is created inside a namespace of the cluster: the host's own network never sees one.

# Runs a command in a network namespace alone, with the host's mounts (`ip netns exec` would hide the cgroups).
in_network() {
    local member=$1
    shift
    nsenter --net="/run/netns/$(netns "$member")" -- "$@"
}

# Makes a namespace that forwards, and answers from whatever interface it is asked on.
create_namespace() {
    ip netns add "$(netns "$1")"
    in_network "$1" sysctl -qw \
        net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 \
        net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0 \
        net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0 net.ipv6.conf.default.accept_ra=0
    ip -n "$(netns "$1")" link set lo up
}

create_router() {
    create_namespace router
    # Its bridge must not hand frames to conntrack, and ECMP must spread connections, not hosts.
    in_network router sysctl -qw -e \
        net.bridge.bridge-nf-call-iptables=0 net.bridge.bridge-nf-call-ip6tables=0 net.bridge.bridge-nf-call-arptables=0
    in_network router sysctl -qw net.ipv4.fib_multipath_hash_policy=1 net.ipv6.fib_multipath_hash_policy=1
    ip -n "$(netns router)" -batch - <<END
link add fabric type bridge stp_state 0 forward_delay 0 mcast_snooping 0
link set fabric up
address add $ROUTER_IPV4/24 dev fabric
address add $ROUTER_IPV6/64 dev fabric nodad
END
}

create_client() {
    local router4 client4 router6 client6
    read -r router4 client4 <<<"$CLIENT_LINK_IPV4"
    read -r router6 client6 <<<"$CLIENT_LINK_IPV6"
    create_namespace client
    ip -n "$(netns router)" -batch - <<END
link add client type veth peer name to-router-a netns $(netns client)
link set client up
address add $router4/30 dev client
address add $router6/64 dev client nodad
END
    ip -n "$(netns client)" -batch - <<END
link set to-router-a up
address add $client4/30 dev to-router-a
address add $client6/64 dev to-router-a nodad
route add default via $router4
route add default via $router6
END
}

# Routes to the pods of all nodes but the one named.
pod_routes() {
    local node
    for node in $NODES; do
        [ "$node" != "$1" ] || continue
        echo "route add $(node_pods_ipv4 "$node") via $(node_ipv4 "$node")"
        echo "route add $(node_pods_ipv6 "$node") via $(node_ipv6 "$node")"
    done
}

# create_machine_network cp|node-N: as a machine finds its network when it boots. The hardware address is the same at every boot,
# as a real machine's is.
create_machine_network() {
    local member=$1 ipv4=$CP_IPV4 ipv6=$CP_IPV6 last=10
    if [ "$member" != cp ]; then
        ipv4=$(node_ipv4 "$member") ipv6=$(node_ipv6 "$member") last=1$(node_number "$member")
    fi
    create_namespace "$member"
    # Frames between pods of one node pass kube-proxy's rules only if the bridge hands them to netfilter.
    in_network "$member" sysctl -qw net.bridge.bridge-nf-call-iptables=1 net.bridge.bridge-nf-call-ip6tables=1
    ip -n "$(netns router)" -batch - <<END
link add $member type veth peer name eth0 netns $(netns "$member") address 02:00:00:00:00:$last
link set $member master fabric up
END
    {
        echo "link set eth0 up"
        echo "address add $ipv4/24 dev eth0"
        echo "address add $ipv6/64 dev eth0 nodad"
        echo "route add default via $ROUTER_IPV4"
        echo "route add default via $ROUTER_IPV6"
        pod_routes "$member"
    } | ip -n "$(netns "$member")" -batch -
}

create_network() {
    local member
    create_router
    create_client
    for member in cp "$@"; do create_machine_network "$member"; done
    pod_routes none | ip -n "$(netns router)" -batch -
}

# remove_namespace MEMBER: kills what runs in it and deletes it, with its interfaces. Nothing to do where there is none.
remove_namespace() {
    local name pids i
    name=$(netns "$1")
    [ -e "/run/netns/$name" ] || return 0
    for ((i = 0; i < 100; i++)); do
        pids=$(ip netns pids "$name" 2>/dev/null) || break
        [ -n "$pids" ] || break
        # shellcheck disable=SC2086 # A list of numbers. What ended a moment ago needs no signal.
        kill -KILL $pids 2>/dev/null || true
        sleep 0.1
    done
    ip netns delete "$name"
}

# cut_cable MEMBER / plug_cable MEMBER: takes the link down at the switch, as if the cable had been drawn.
cut_cable() { ip -n "$(netns router)" link set "$1" down; }
plug_cable() { ip -n "$(netns router)" link set "$1" up; }
