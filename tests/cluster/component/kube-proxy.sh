#!/bin/bash
# kube-proxy.sh NODE: kube-proxy with nftables. It must leave the conntrack sysctls alone, which are read-only outside the host's
# own network namespace.
. "$(dirname "$0")/../lib/settings.sh"
cat >"$STATE/$1/kube-proxy.yaml" <<END
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
clientConnection: {kubeconfig: $STATE/pki/kube-proxy.conf}
hostnameOverride: $1
clusterCIDR: $PODS_IPV4,$PODS_IPV6
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
oomScoreAdj: 0
nftables: {syncPeriod: 10s, minSyncPeriod: 100ms}
END
exec "$STATE/bin/kube-proxy" --v=2 --config="$STATE/$1/kube-proxy.yaml"
