#!/bin/bash
# The controllers. A dead node is noticed after 16 s rather than 50; nodes get their pod networks from up.sh, which must agree with
# the routes of lib/network.sh.
. "$(dirname "$0")/../lib/settings.sh"
PKI=$STATE/pki
CONF=$PKI/kube-controller-manager.conf
exec "$STATE/bin/kube-controller-manager" --v=1 --leader-elect=false \
    --kubeconfig="$CONF" --authentication-kubeconfig="$CONF" --authorization-kubeconfig="$CONF" \
    --root-ca-file="$PKI/ca.crt" --service-account-private-key-file="$PKI/sa.key" --use-service-account-credentials=true \
    --cluster-signing-cert-file="$PKI/ca.crt" --cluster-signing-key-file="$PKI/ca.key" \
    --allocate-node-cidrs=false --service-cluster-ip-range="$SERVICES_IPV4,$SERVICES_IPV6" \
    --node-monitor-period=2s --node-monitor-grace-period=16s
