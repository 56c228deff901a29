#!/bin/bash
# load.sh IMAGE.tar...
#
# Imports images (OCI layouts or `docker save`) into every running node, and keeps them for those that boot later. An image of the same
# file name takes the place of the earlier one.
set -euo pipefail
. "$(dirname "$0")/lib/settings.sh"
for part in network machine; do . "$SCRIPTS/lib/$part.sh"; done
require_root
[ $# -gt 0 ] || die "load.sh: give the tars of one or more images"
lock
[ -d "$STATE/images" ] || die "load.sh: there is no such cluster"

import() {
    in_machine "$1" ctr -n k8s.io images import "$2" >/dev/null
    touch "$STATE/$1/disk/$(basename "$2").loaded"
}

for image in "$@"; do
    [ -f "$image" ] || die "load.sh: there is no file $image"
    kept=$STATE/images/$(basename "$image")
    cp "$image" "$kept.part"
    mv "$kept.part" "$kept"
    imports=()
    for node in $NODES; do
        is_on "$node" || continue
        import "$node" "$kept" &
        imports+=($!)
    done
    for pid in "${imports[@]}"; do wait "$pid"; done
done
