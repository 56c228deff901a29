#!/bin/bash
# kubelet.sh NODE: the kubelet, in cgroup v1 and without CAP_SYS_RESOURCE (oomScoreAdj 0). Status every 2 s, so that tests
# need not wait for it; no eviction and no image collection for what happens on the host's disk.
. "$(dirname "$0")/../lib/settings.sh"
NODE=$1 DIR=$STATE/$1 PKI=$STATE/pki
cat >"$DIR/kubelet.yaml" <<END
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
failCgroupV1: false
cgroupDriver: cgroupfs
cgroupRoot: /$CGROUP/$NODE
cgroupsPerQOS: true
enforceNodeAllocatable: [pods]
failSwapOn: false
oomScoreAdj: 0
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $PKI/ca.crt}}
authorization: {mode: Webhook}
tlsCertFile: $PKI/$NODE.crt
tlsPrivateKeyFile: $PKI/$NODE.key
evictionHard: {memory.available: "1Mi", nodefs.available: "1%", nodefs.inodesFree: "1%", imagefs.available: "1%", pid.available: "1%"}
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
clusterDomain: cluster.local
clusterDNS: [10.96.0.10]
resolvConf: ""
nodeStatusUpdateFrequency: 2s
nodeLeaseDurationSeconds: 10
shutdownGracePeriod: 0s
protectKernelDefaults: false
maxPods: 60
maxOpenFiles: 20000
END
exec "$STATE/bin/kubelet" --v=2 --config="$DIR/kubelet.yaml" --kubeconfig="$PKI/$NODE.conf" \
    --hostname-override="$NODE" --node-ip="$(node_ipv4 "$NODE"),$(node_ipv6 "$NODE")"
