#!/bin/bash
# The API server, with the authorisers and the admission of a cluster made by kubeadm.
. "$(dirname "$0")/../lib/settings.sh"
PKI=$STATE/pki
exec "$STATE/bin/kube-apiserver" --v=1 --etcd-servers=http://127.0.0.1:2379 \
    --advertise-address="$CP_IPV4" --bind-address=:: --secure-port="$API_PORT" \
    --tls-cert-file="$PKI/apiserver.crt" --tls-private-key-file="$PKI/apiserver.key" --client-ca-file="$PKI/ca.crt" \
    --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction --anonymous-auth=true \
    --service-account-issuer=https://kubernetes.default.svc --api-audiences=https://kubernetes.default.svc \
    --service-account-signing-key-file="$PKI/sa.key" --service-account-key-file="$PKI/sa.pub" \
    --service-cluster-ip-range="$SERVICES_IPV4,$SERVICES_IPV6" --allow-privileged=true \
    --kubelet-certificate-authority="$PKI/ca.crt" --kubelet-client-certificate="$PKI/apiserver-kubelet-client.crt" \
    --kubelet-client-key="$PKI/apiserver-kubelet-client.key" --kubelet-preferred-address-types=InternalIP
