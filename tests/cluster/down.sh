#!/bin/bash
# Removes a cluster, however far it came up and however its owner ended. Where there is none it does nothing.
set -euo pipefail
. "$(dirname "$0")/lib/settings.sh"
for part in network machine teardown; do . "$SCRIPTS/lib/$part.sh"; done
require_root
lock
start=$EPOCHREALTIME
tear_down
rest=$(left_over)
[ -z "$rest" ] || die "still there after down:
$rest"
say "down in $(since "$start") s"
