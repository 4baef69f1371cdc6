#!/usr/bin/env bash
# The product in two minutes on a real cluster: a healthy matrix, a lost route that the CNI puts back, a firewall that nobody takes away but
# the matrix finds, and the mended cluster.
# KEEP=1 leaves the cluster up.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf '\n\033[1m%s\033[0m\n' "$*" >&2; }
[ -t 2 ] && [ -z "${NO_COLOR:-}" ] || say() { printf '\n%s\n' "$*" >&2; }
run() { printf '$ %s\n' "$*" >&2; "$@"; }
expect() { # CODE COMMAND…: runs the command, which must end with that exit code
    local want=$1 got=0; shift
    run "$@" || got=$?
    if [ "$got" -ne "$want" ]; then echo "demo: exit code $got, expected $want" >&2; exit 1; fi
}

broken=
restore() { if [ -n "$broken" ]; then run netcheck-rig exec "$node" -- nft delete table inet oops; broken=; fi; }
leave() {
    local code=$?
    restore || true
    if [ -n "${KEEP:-}" ]; then
        # For who goes on with debug and run; the demo does without.
        run target/debug/netcheck-rig image load target/toolbox-image/netcheck-toolbox.tar || code=$?
        say "the cluster stays up: source target/rig/env; make rig-down takes it down"
    else target/debug/netcheck-rig down; fi
    exit "$code"
}

say "1. A real Kubernetes with three nodes"
run target/debug/netcheck-rig up
trap leave EXIT
# shellcheck disable=SC1091
source target/rig/env
run netcheck-rig image load target/agent-image/netcheck-agent.tar
run kubectl apply -f tests/rig/manifests/shop.yaml
run kubectl --namespace shop wait --for=condition=Available deployment --all --timeout=120s

say "2. Who reaches whom?"
expect 0 kubectl netcheck matrix --namespace shop

node=$(kubectl --namespace shop get pods -l app=web -o jsonpath='{.items[0].spec.nodeName}')
route=$(netcheck-rig exec "$node" -- ip -4 route show proto 147 | awk '$2 == "via" { print $1; exit }')
say "3. Take something of the CNI's: node $node forgets its route to $route, and the bundled CNI puts it back"
run netcheck-rig exec "$node" -- ip route del "$route"
expect 0 kubectl netcheck cni status --wait
expect 0 kubectl netcheck matrix --namespace shop

say "4. Break what no CNI owns: a firewall on node $node drops what comes from $route"
broken=yes
run netcheck-rig exec "$node" -- nft add table inet oops
run netcheck-rig exec "$node" -- nft add chain inet oops forward '{ type filter hook forward priority 0; }'
run netcheck-rig exec "$node" -- nft add rule inet oops forward ip saddr "$route" drop
expect 1 kubectl netcheck matrix --namespace shop

say "5. Mend it"
restore
expect 0 kubectl netcheck matrix --namespace shop
