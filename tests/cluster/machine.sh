#!/bin/bash
# machine.sh kill|boot NODE
#
# kill: the node loses its power. Its connections do not end, they are gone; its disk (/var/lib, /var/log) stays.
# boot: it starts again, with a new network, an empty /run and a new boot ID. One that is on loses its power first.
set -euo pipefail
. "$(dirname "$0")/lib/settings.sh"
for part in network machine; do . "$SCRIPTS/lib/$part.sh"; done
require_root

action=${1:-} node=${2:-}
[[ " $NODES " == *" $node "* && -n $node ]] || die "machine.sh: \"$node\" is none of: $NODES"
lock
[ -d "$STATE/$node" ] || die "machine.sh: there is no such node"
case $action in
kill | boot)
    cut_power "$node"
    remove_cgroups "$node"
    if [ "$action" = boot ]; then
        create_machine_network "$node"
        start_machine "$node"
    fi
    ;;
*) die "machine.sh: \"$action\" is none of: kill, boot" ;;
esac
