#!/bin/bash
# Builds what a cluster runs, each only if it is missing: the Kubernetes components (about ten minutes on two cores, so let it
# run alone) and the image of test pods (seconds). Prints where they are and how long it took.
set -euo pipefail
. "$(dirname "$0")/lib/settings.sh"
. "$SCRIPTS/lib/artefacts.sh"

# A cold build writes 3.3 GB into Go's cache and reads much of it again; on a tmpfs that is a third faster, and far more where
# the page cache is short.
CACHE=/dev/shm/bellhop-gocache
CACHE_KIB=6291456

use_cache_in_memory() {
    local free
    free=$(df -Pk /dev/shm 2>/dev/null | awk 'NR == 2 { print $4 }')
    [ "${free:-0}" -gt $CACHE_KIB ] || [ -d $CACHE ] || return 0
    # Left where it is if the build fails, for the next attempt.
    mkdir -p $CACHE/tmp
    export GOCACHE=$CACHE GOTMPDIR=$CACHE/tmp
}

build_components() {
    local folder=$1 version part flags
    version=$(sed -n 's,^\tk8s.io/kubernetes ,,p' "$SCRIPTS/components/go.mod")
    flags="-s -w"
    # Without the stamps the cluster calls itself v0.0.0-master.
    for part in k8s.io/component-base/version k8s.io/client-go/pkg/version; do
        flags="$flags -X $part.gitVersion=$version -X $part.gitMajor=1 -X $part.gitMinor=$(cut -d. -f2 <<<"$version")"
    done
    (cd "$SCRIPTS/components" && go build -trimpath -ldflags "$flags" -o "$folder.part/allinone" .)
}

link_components() {
    local name
    for name in $COMPONENTS; do ln -sf allinone "$1/$name"; done
}

build_image() {
    local folder=$1
    (cd "$SCRIPTS/image" && go build -trimpath -ldflags "-s -w" -o "$folder.part/test-pod" .)
    mkdir "$folder.part/rootfs"
    cp "$folder.part/test-pod" "$folder.part/rootfs/"
    "$SCRIPTS/image/oci-tar.sh" "$folder.part/test-pod.tar" "$POD_IMAGE" "$folder.part/rootfs" /test-pod
    rm -rf "$folder.part/rootfs"
}

# built WHAT FOLDER: builds WHAT into FOLDER, all of it or nothing.
built() {
    local what=$1 folder=$2 start=$EPOCHREALTIME
    if [ -d "$folder" ]; then
        echo "$what: $folder"
        return
    fi
    rm -rf "$folder.part"
    mkdir -p "$folder.part"
    use_cache_in_memory
    "build_$what" "$folder"
    [ "$what" != components ] || link_components "$folder.part"
    mv "$folder.part" "$folder"
    echo "$what: $folder, built in $(since "$start") s"
}

export CGO_ENABLED=0 GOFLAGS=-mod=readonly
mkdir -p "$TOOLS"
# Of two builds at once the second waits, and finds everything there.
exec 8>"$TOOLS/lock"
flock 8
built image "$(image_folder)"
built components "$(components_folder)"
rm -rf $CACHE
