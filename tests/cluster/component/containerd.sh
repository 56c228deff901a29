#!/bin/bash
# containerd.sh NODE: Debian's containerd 1.6 with runc. Kubelet 1.36 is the last that accepts it (RuntimeConfig is missing in its CRI).
. "$(dirname "$0")/../lib/settings.sh"
DIR=$STATE/$1

# restrict_oom_score_adj: sandboxes want -998, which takes CAP_SYS_RESOURCE. disable_apparmor: profiles belong to the host.
cat >"$DIR/containerd.toml" <<END
version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
oom_score = 0
disabled_plugins = [
  "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs", "io.containerd.tracing.processor.v1.otlp", "io.containerd.internal.v1.tracing",
]
[grpc]
  address = "/run/containerd/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "$POD_IMAGE"
  restrict_oom_score_adj = true
  disable_apparmor = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "$DIR/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = false
END

# No masquerading: pods of all nodes see each other's addresses, over the routes of lib/network.sh.
mkdir -p "$DIR/cni"
cat >"$DIR/cni/10-bridge.conflist" <<END
{"cniVersion": "1.0.0", "name": "pods", "plugins": [
  {"type": "bridge", "bridge": "cni0", "isDefaultGateway": true, "hairpinMode": true, "ipMasq": false,
   "ipam": {"type": "host-local", "dataDir": "/run/cni-ipam",
            "ranges": [[{"subnet": "$(node_pods_ipv4 "$1")"}], [{"subnet": "$(node_pods_ipv6 "$1")"}]]}}]}
END
exec /usr/bin/containerd --config "$DIR/containerd.toml" --log-level warn
