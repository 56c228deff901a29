# shellcheck shell=bash disable=SC2034 # Used by the scripts that source this file.
# Where build.sh puts what it builds: folders named after everything that goes into them, so that an edit builds anew and
# nothing else does.

TOOLS=$(cd "$SCRIPTS/../.." && pwd)/.tools/cluster

# The hash of the files of a folder beside this one and of the Go that builds them.
key_of() {
    command -v go >/dev/null ||
        die "go is missing; install Go 1.26 or newer (https://go.dev/dl) into /usr/local/go or onto the path"
    local go_version
    go_version=$(cd "$SCRIPTS/$1" && go env GOVERSION GOARCH) || die "go does not accept $1/go.mod"
    (cd "$SCRIPTS/$1" && { find . -type f | LC_ALL=C sort | xargs sha256sum; echo "$go_version"; }) | sha256sum | cut -c1-16
}

# Kubernetes, etcd, kubectl and helm: one program, called by its eight names.
components_folder() { echo "$TOOLS/components-$(key_of components)"; }
COMPONENTS="kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy kubectl etcd helm"

# The image of test pods: test-pod (the program) and test-pod.tar (the image).
image_folder() { echo "$TOOLS/image-$(key_of image)"; }
