#!/bin/bash
# cut.sh NODE WAY: cuts a node off, in one of these ways, until the next call.
#
#   api       from the control plane: kubelet, kube-proxy and pods; the rest of its traffic goes on
#   pods-api  its pods alone from the API: what goes to the Service `kubernetes`; the kubelet still reports
#   link      from everything, as if its cable had been drawn
#   none      from nothing
set -euo pipefail
. "$(dirname "$0")/lib/settings.sh"
for part in network machine; do . "$SCRIPTS/lib/$part.sh"; done
require_root

node=${1:-} way=${2:-}
[[ " $NODES " == *" $node "* && -n $node ]] || die "cut.sh: \"$node\" is none of: $NODES"
is_on "$node" || die "cut.sh: $node is off"

# drop ADDRESSES: from now on what this node or its pods send to them, or get from them, is lost. Before conntrack (priority raw is
# -300), so that nothing is translated yet and open connections are cut too.
drop() {
    in_network "$node" nft -f - <<END
table inet cluster-cut
delete table inet cluster-cut
table inet cluster-cut {
    chain out { type filter hook output priority raw; ip daddr $1 drop; ip6 daddr $2 drop; }
    chain in { type filter hook prerouting priority raw; ip daddr $1 drop; ip6 daddr $2 drop; ip saddr $1 drop; ip6 saddr $2 drop; }
}
END
}

case $way in
api) drop "{ $CP_IPV4, $API_SERVICE_IPV4 }" "{ $CP_IPV6, $API_SERVICE_IPV6 }" ;;
pods-api) drop "$API_SERVICE_IPV4" "$API_SERVICE_IPV6" ;;
link) cut_cable "$node" ;;
none)
    in_network "$node" nft "table inet cluster-cut; delete table inet cluster-cut"
    plug_cable "$node"
    ;;
*) die "cut.sh: \"$way\" is none of: api, pods-api, link, none" ;;
esac
