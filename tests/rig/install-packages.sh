#!/bin/sh
# Installs the Debian packages the rig and its tests need. Does nothing, quietly, when all are there.
set -eu

# What runs the nodes, what joins them, what tests look with, and what a bare machine lacks to build it all.
packages='
containerd runc etcd-server containernetworking-plugins
iproute2 iptables nftables ipset conntrack ethtool iputils-ping kmod util-linux procps
tcpdump tshark jq curl busybox-static docker-registry skopeo ca-certificates
build-essential
'

missing=
for package in $packages; do
    status=$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null) || status=absent
    [ "$status" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

if [ "$(id -u)" != 0 ]; then
    echo "these packages are missing; install them as root:$missing" >&2
    exit 1
fi
echo "installing:$missing" >&2

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

for tool in go cargo; do
    command -v "$tool" >/dev/null || echo "note: $tool is not on the PATH; the rig's programs are built with it" >&2
done
