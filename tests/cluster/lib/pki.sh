# shellcheck shell=bash
# The cluster's certificates and kubeconfigs, in $STATE/pki, by openssl. EC keys but for the one that signs tokens of service
# accounts: with RSA throughout this would take a quarter of the start.

# Longer than any cluster stands.
DAYS=30

# key NAME
key() { openssl ecparam -name prime256v1 -genkey -noout -out "$1.key"; }

# certificate NAME SUBJECT [ALTERNATIVE-NAMES]: for servers and clients alike, signed by the cluster's authority.
certificate() {
    key "$1"
    openssl req -new -key "$1.key" -subj "$2" -out "$1.csr"
    openssl x509 -req -in "$1.csr" -CA ca.crt -CAkey ca.key -CAcreateserial -days $DAYS -out "$1.crt" \
        -extfile <(printf 'extendedKeyUsage=serverAuth,clientAuth\n%s\n' "${3:+subjectAltName=$3}") 2>/dev/null
    rm "$1.csr"
}

# kubeconfig NAME [SERVER]: to standard output, with the certificate of that name; for the cluster's own network by default.
kubeconfig() {
    cat <<END
apiVersion: v1
kind: Config
clusters:
- name: $CLUSTER
  cluster: {server: "${2:-https://$CP_IPV4:$API_PORT}", certificate-authority-data: $(base64 -w0 ca.crt)}
users:
- name: $1
  user: {client-certificate-data: $(base64 -w0 "$1.crt"), client-key-data: $(base64 -w0 "$1.key")}
contexts:
- name: $CLUSTER
  context: {cluster: $CLUSTER, user: $1}
current-context: $CLUSTER
END
}

# To be preloaded by what is to see another time (FAKETIME).
fake_time() { ls /usr/lib/*/faketime/libfaketime.so.1 2>/dev/null || die "libfaketime is missing; \`make setup\` installs it"; }

# create_pki PORT [NODE...]: all of it; PORT is the API's on the host's loopback.
create_pki() (
    port=$1
    shift
    umask 077
    # An hour old, as those of clusters that stand: whoever's clock is behind must not find them from the future.
    LD_PRELOAD=$(fake_time) || exit 1
    export LD_PRELOAD FAKETIME=-1h
    mkdir -p "$STATE/pki"
    cd "$STATE/pki" || exit 1
    key ca
    openssl req -x509 -new -key ca.key -days $DAYS -subj "/CN=$CLUSTER" -out ca.crt
    openssl genrsa -out sa.key 2048 2>/dev/null
    openssl rsa -in sa.key -pubout -out sa.pub 2>/dev/null
    names="DNS:localhost,DNS:kubernetes,DNS:kubernetes.default.svc,IP:127.0.0.1"
    certificate apiserver /CN=kube-apiserver \
        "$names,IP:$CP_IPV4,IP:$CP_IPV6,IP:$API_SERVICE_IPV4,IP:$API_SERVICE_IPV6"
    certificate apiserver-kubelet-client /O=system:masters/CN=kube-apiserver-kubelet-client
    certificate admin /O=system:masters/CN=admin
    certificate kube-controller-manager /CN=system:kube-controller-manager
    certificate kube-scheduler /CN=system:kube-scheduler
    certificate kube-proxy /CN=system:kube-proxy
    for name in admin kube-controller-manager kube-scheduler kube-proxy; do kubeconfig "$name" >"$name.conf"; done
    for node in "$@"; do
        certificate "$node" "/O=system:nodes/CN=system:node:$node" "DNS:$node,IP:$(node_ipv4 "$node"),IP:$(node_ipv6 "$node")"
        kubeconfig "$node" >"$node.conf"
    done
    kubeconfig admin "https://127.0.0.1:$port" >"$STATE/kubeconfig"
)
