#!/bin/sh
# Installs the Debian packages the rig and its tests need. Does nothing, quietly, when all are there.
set -eu

# Go and Rust come first: Debian's own are too old, so they are the one thing that is not installed here.
root=$(cd "$(dirname "$0")/../.." && pwd)
want_go=$(sed -n 's/^go //p' "$root"/tests/rig/*/go.mod | sort -V | tail -n 1)
want_rust=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$root/Cargo.toml" | head -n 1)
# In a module's folder, because Go fetches the version that a module asks for, where it may.
have_go=$(cd "$root/tests/rig/kubernetes" && go env GOVERSION 2>/dev/null | sed 's/^go//') || true
have_rust=$(cargo --version 2>/dev/null | cut -d ' ' -f 2) || true
suffices() { # HAVE WANT
    [ -n "$1" ] && [ "$(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1)" = "$2" ]
}
if ! suffices "$have_go" "$want_go" || ! suffices "$have_rust" "$want_rust"; then
    echo "Go $want_go or newer (https://go.dev/dl) and Rust $want_rust or newer (https://rustup.rs) must be on the PATH;" \
        "go is ${have_go:-missing}, cargo is ${have_rust:-missing}" >&2
    exit 1
fi

# What runs the nodes, what joins them, what tests look with, and what a bare machine lacks to build it all.
packages='
containerd runc etcd-server containernetworking-plugins
iproute2 iptables nftables ipset conntrack ethtool iputils-ping kmod util-linux procps
tcpdump tshark jq curl iperf3 sockperf busybox-static docker-registry skopeo ca-certificates
build-essential clang libbpf-dev bpftool
'

missing=
for package in $packages; do
    status=$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null) || status=absent
    [ "$status" = installed ] || missing="$missing $package"
done
# What it says of TCX is what our own reading is compared with; that of Debian 12 itself says nothing.
bpftool_wanted=7.5
bpftool_version=$(dpkg-query --show --showformat='${Version}' bpftool 2>/dev/null) || bpftool_version=0
new_bpftool=
if ! suffices "$bpftool_version" "$bpftool_wanted"; then new_bpftool=yes; fi
[ -n "$missing$new_bpftool" ] || exit 0

if [ "$(id -u)" != 0 ]; then
    echo "these packages are missing; install them as root:$missing${new_bpftool:+ bpftool $bpftool_wanted}" >&2
    exit 1
fi
echo "installing:$missing${new_bpftool:+ bpftool $bpftool_wanted}" >&2

# None of these may start a daemon of its own: the rig starts its own ones.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
    trap 'rm -f "$policy"' EXIT
fi

export DEBIAN_FRONTEND=noninteractive
install() {
    # shellcheck disable=SC2086 # a list of words on purpose
    apt-get install -y -qq --no-install-recommends $missing >/dev/null
}
# A machine's package lists may be old or absent: fetch them when they do not serve.
install 2>/dev/null || { apt-get update -qq && install; }

# From Debian's backports, without adding them to the machine's sources.
if [ -n "$new_bpftool" ] && ! suffices "$(dpkg-query --show --showformat='${Version}' bpftool)" "$bpftool_wanted"; then
    lists=$(mktemp -d)
    mkdir -p "$lists/state/partial"
    # apt reads it as a user of its own.
    chmod -R a+rX "$lists"
    # shellcheck disable=SC1091 # the machine's own
    suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
    # shellcheck disable=SC2016 # apt's words, not the shell's
    mirror() { apt-get indextargets --format '$(REPO_URI)' "Codename: $suite" "Created-By: Packages" | head -n 1; }
    [ -n "$(mirror)" ] || apt-get update -qq
    printf 'deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] %s %s-backports main\n' "$(mirror)" "$suite" >"$lists/sources"
    backports() {
        apt-get -qq -o Dir::Etc::sourcelist="$lists/sources" -o Dir::Etc::sourceparts=/dev/null -o Dir::State::lists="$lists/state" "$@" >/dev/null
    }
    backports update && backports install -y --no-install-recommends bpftool
    rm -rf "$lists"
fi
