#!/bin/bash
# oci-tar.sh OUT NAME:TAG ROOTFS ENTRYPOINT...
#
# Makes an image of one layer out of a folder, as an OCI layout in a tar that `ctr images import` and load.sh take. No
# registry, no builder; the same folder always gives the same bytes.
set -euo pipefail
out=$1 name=$2 rootfs=$3
shift 3
entrypoint=$(jq -cn '$ARGS.positional' --args -- "$@")

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/blobs/sha256"
reproducible=(--sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner --format=gnu)

# blob MEDIA-TYPE FILE: moves the file to where its digest says, prints its descriptor.
blob() {
    local digest size
    digest=$(sha256sum "$2" | cut -d' ' -f1)
    size=$(stat -c %s "$2")
    mv "$2" "$work/blobs/sha256/$digest"
    jq -cn --arg type "$1" --arg digest "sha256:$digest" --argjson size "$size" \
        '{mediaType: $type, digest: $digest, size: $size}'
}

tar -C "$rootfs" "${reproducible[@]}" -cf "$work/layer" .
diff_id=sha256:$(sha256sum "$work/layer" | cut -d' ' -f1)
gzip -n -1 "$work/layer"
layer=$(blob application/vnd.oci.image.layer.v1.tar+gzip "$work/layer.gz")

jq -cn --argjson entrypoint "$entrypoint" --arg id "$diff_id" \
    '{architecture: "amd64", os: "linux", config: {Entrypoint: $entrypoint, Env: ["PATH=/usr/local/bin:/usr/bin:/bin:/"]},
      rootfs: {type: "layers", diff_ids: [$id]}}' >"$work/config"
config=$(blob application/vnd.oci.image.config.v1+json "$work/config")

jq -cn --argjson config "$config" --argjson layer "$layer" \
    '{schemaVersion: 2, mediaType: "application/vnd.oci.image.manifest.v1+json", config: $config, layers: [$layer]}' \
    >"$work/manifest"
manifest=$(blob application/vnd.oci.image.manifest.v1+json "$work/manifest")

echo '{"imageLayoutVersion":"1.0.0"}' >"$work/oci-layout"
jq -cn --argjson manifest "$manifest" --arg name "$name" \
    '{schemaVersion: 2, manifests: [$manifest + {annotations: {
        "io.containerd.image.name": $name, "org.opencontainers.image.ref.name": ($name | split(":") | last)}}]}' \
    >"$work/index.json"
tar -C "$work" "${reproducible[@]}" -cf "$out" blobs index.json oci-layout
