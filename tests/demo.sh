#!/usr/bin/env bash
# The product in two minutes on a real cluster: a healthy matrix, one broken route, the matrix that finds it, and the mended cluster.
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
restore() { if [ -n "$broken" ]; then target/debug/netcheck-rig exec "$node" -- ip route replace $broken; broken=; fi; }
leave() {
    local code=$?
    restore || true
    if [ -n "${KEEP:-}" ]; then say "the cluster stays up: source target/rig/env; make rig-down takes it down"
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
broken=$(netcheck-rig exec "$node" -- ip -4 route show | awk '$2 == "via" && $1 != "default" { print; exit }')
say "3. Break one thing: node $node forgets its route to ${broken%% *}"
# shellcheck disable=SC2086
run netcheck-rig exec "$node" -- ip route del $broken
expect 1 kubectl netcheck matrix --namespace shop

say "4. Mend it"
restore
expect 0 kubectl netcheck matrix --namespace shop
