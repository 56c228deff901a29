#!/bin/sh
# Installs what Bellhop's build, tests and lab need and the machine lacks: Debian packages, rustup components, cargo-deny.
#
#   tools/setup.sh           everything, for `make test` and `make demo`
#   tools/setup.sh --host    only what needs no root, for `make check`
#
# Where nothing is missing it takes a fraction of a second and says nothing.
set -eu
cd "$(dirname "$0")/.."

# The lab: FRR's routers, namespaces, packet filters, what the client and the transcript use.
PACKAGES="frr iproute2 iputils-ping nftables jq curl procps"
# Interoperation: the other implementations of BGP.
PACKAGES="$PACKAGES bird2 gobgpd exabgp openbgpd"
# The cluster: what its nodes run beside Kubernetes, and what its scripts use; docs/contributing/test-cluster.md. Its control plane
# and kubelets are built by tests/cluster/build.sh, with Go.
PACKAGES="$PACKAGES containerd runc containernetworking-plugins conntrack ethtool iptables openssl socat util-linux"
# Clocks that differ: certificates of the cluster that are older than it, and processes whose clock is wrong.
PACKAGES="$PACKAGES libfaketime"
# The check of alerts and of what is exposed: promtool.
PACKAGES="$PACKAGES prometheus"
# What cargo needs to link and to build the few C parts (zstd), and libFuzzer, which is C++.
PACKAGES="$PACKAGES gcc g++ libc6-dev"
# The WebAssembly toolchain, unless rustup has the target: docs/decisions/wasm-toolchain.md.
WASM_PACKAGES="rustc-web cargo-web rust-web-src lld-19"
# The SDK uses edition 2024 and let chains; bookworm's first rustc-web (1.85) lacks them, its security update has them.
RUSTC_WEB=1.88

CARGO_DENY=0.20.2

say() { printf 'setup: %s\n' "$*"; }
die() { printf 'setup: %s\n' "$*" >&2; exit 1; }

command -v cargo >/dev/null || die "cargo is missing; install Rust with rustup (https://rustup.rs)"

# --- The toolchain of rust-toolchain.toml, with rustfmt and clippy. rustup installs it at the first use, unless it is told
# not to (RUSTUP_AUTO_INSTALL=0); one that was there before may lack a component. Never rustup itself: that is the
# machine's owner's.
if ! { rustc --version && cargo fmt --version && cargo clippy --version; } >/dev/null 2>&1; then
    wanted=$(sed -n 's/^channel = "\(.*\)"/\1/p' rust-toolchain.toml)
    command -v rustup >/dev/null || die "rustup is missing; install Rust $wanted with rustfmt and clippy"
    say "rustup toolchain install $wanted"
    rustup toolchain install --no-self-update --profile minimal --component rustfmt --component clippy "$wanted" ||
        die "Rust $wanted cannot be installed; where the same version has another name, set RUSTUP_TOOLCHAIN to it"
fi

[ "${1:-}" = --host ] && exit 0

# --- Debian packages
wasm_std="$(rustc --print sysroot)/lib/rustlib/wasm32-unknown-unknown/lib"
[ -d "$wasm_std" ] || PACKAGES="$PACKAGES $WASM_PACKAGES"

# The packages of $PACKAGES that are not installed, or too old.
missing_packages() {
    # shellcheck disable=SC2086
    have=$(dpkg-query -W -f '${Package} ${db:Status-Status} ${Version}\n' $PACKAGES 2>/dev/null || true)
    for package in $PACKAGES; do
        version=$(printf '%s\n' "$have" | sed -n "s/^$package installed //p")
        case "$package" in
        rustc-web) [ -n "$version" ] && dpkg --compare-versions "$version" ge "$RUSTC_WEB" || printf '%s ' "$package" ;;
        *) [ -n "$version" ] || printf '%s ' "$package" ;;
        esac
    done
}

if command -v dpkg-query >/dev/null; then
    missing=$(missing_packages)
else
    die "this is not Debian; install the equivalents of: $PACKAGES"
fi

if [ -n "$missing" ]; then
    command -v apt-get >/dev/null || die "apt-get is missing; install: $missing"
    [ "$(id -u)" = 0 ] || die "not root; run as root: apt-get install --no-install-recommends $missing"
    say "apt-get install $missing"
    # The packages' own services must not run on this machine: lab and cluster start FRR and containerd themselves, each
    # in its namespace, so do the tests with the other routers, and of prometheus only promtool is used. Debian asks policy-rc.d before it starts a service that
    # it has just installed.
    if [ ! -e /usr/sbin/policy-rc.d ]; then
        trap 'rm -f /usr/sbin/policy-rc.d' EXIT INT TERM
        printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
        chmod 755 /usr/sbin/policy-rc.d
    fi
    export DEBIAN_FRONTEND=noninteractive
    apt-get -q -o DPkg::Lock::Timeout=300 update
    # shellcheck disable=SC2086
    apt-get -q -y -o DPkg::Lock::Timeout=300 install --no-install-recommends $missing
    # The service of bird2 is called bird.
    for service in frr bird gobgpd exabgp openbgpd containerd prometheus; do
        case " $missing" in
        *" $service "* | *" ${service}2 "*) if command -v systemctl >/dev/null; then systemctl disable --quiet $service 2>/dev/null || true; fi ;;
        esac
    done
    missing=$(missing_packages)
    [ -z "$missing" ] || die "still missing or too old after apt-get install: $missing(rustc-web must be at least $RUSTC_WEB; is bookworm-security among the sources?)"
fi

# --- cargo-deny, in .tools so that the machine's own cargo stays as it is. Its development profile builds in a quarter
# of the time of its release profile, and checking takes two seconds either way.
if [ "$(.tools/bin/cargo-deny --version 2>/dev/null)" != "cargo-deny $CARGO_DENY" ]; then
    say "cargo install cargo-deny $CARGO_DENY into .tools"
    # A target folder of its own, because ours has other profiles; removed, because it is half a gigabyte.
    mkdir -p "${CARGO_TARGET_DIR:=target}"
    build=$(mktemp -d "$CARGO_TARGET_DIR/cargo-deny.XXXXXX")
    CARGO_TARGET_DIR="$build" cargo install --quiet --locked --debug --config profile.dev.debug=false \
        --root .tools "cargo-deny@$CARGO_DENY" || { rm -rf "$build"; die "cargo-deny $CARGO_DENY does not build"; }
    rm -rf "$build"
fi
