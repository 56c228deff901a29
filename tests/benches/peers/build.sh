#!/bin/bash
# Builds the peers that benches run beside Bellhop, each only if it is missing, and prints the folder where they are:
# metallb/controller and metallb/crds. Two minutes on two cores, so let it run alone.
set -euo pipefail
HERE=$(cd "$(dirname "$0")" && pwd)

command -v go >/dev/null || {
    echo "go is missing; install Go 1.26 or newer (https://go.dev/dl) into /usr/local/go or onto the path" >&2
    exit 1
}
cd "$HERE/metallb"
export CGO_ENABLED=0 GOFLAGS=-mod=readonly
KEY=$({ sha256sum go.mod go.sum "$HERE/build.sh"; go env GOVERSION GOARCH; } | sha256sum | cut -c1-16)
FOLDER=$(cd "$HERE/../../.." && pwd)/.tools/peers-$KEY
if [ ! -d "$FOLDER" ]; then
    rm -rf "$(dirname "$FOLDER")"/peers-*.part
    mkdir -p "$FOLDER.part/metallb"
    # Its own packages may not be named from here as they are internal, but its programs may be built.
    go build -trimpath -ldflags "-s -w" -o "$FOLDER.part/metallb/controller" go.universe.tf/metallb/controller
    cp -r "$(go list -m -f '{{.Dir}}' go.universe.tf/metallb)/config/crd/bases" "$FOLDER.part/metallb/crds"
    chmod -R u+w "$FOLDER.part"
    mv "$FOLDER.part" "$FOLDER"
fi
echo "$FOLDER"
