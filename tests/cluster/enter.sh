#!/bin/bash
# enter.sh [--network] MEMBER [COMMAND...]
#
# Runs a command (by default a shell) in a machine: cp or node-N, in all of its namespaces. With --network in the network alone, with
# the host's files and processes; so always for router and client, which have nothing else.
set -euo pipefail
. "$(dirname "$0")/lib/settings.sh"
for part in network machine; do . "$SCRIPTS/lib/$part.sh"; done
require_root

way=in_machine
if [ "${1:-}" = --network ]; then
    way=in_network
    shift
fi
member=${1:-}
case $member in
router | client) way=in_network ;;
cp | node-[0-9]*) ;;
*) die "enter.sh: \"$member\" is none of: router, client, cp, $NODES" ;;
esac
shift
[ -e "/run/netns/$(netns "$member")" ] || die "enter.sh: $member is not there"
$way "$member" "${@:-bash}"
