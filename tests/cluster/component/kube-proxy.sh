#!/bin/bash
# kube-proxy.sh NODE: kube-proxy with nftables. It must leave the conntrack sysctls alone, which are read-only outside the host's
# own network namespace. How long it waits between two changes of the data path is its default, as in users' clusters: what
# speakers wait for it has to be enough there.
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
END
exec "$STATE/bin/kube-proxy" --v=2 --config="$STATE/$1/kube-proxy.yaml"
