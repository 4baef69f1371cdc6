#!/usr/bin/env bash
# Runs every test and ends with a line for each that failed and one that sums up all runners. Fails if a test failed, or,
# under CI, if one was skipped.
#
# The tests on clusters wait for kubelets more than they compute: each has clusters of its own, and they run side by side.
set -uo pipefail
cd "$(dirname "$0")/.."
logs=$(mktemp -d)
trap 'rm -rf "$logs"' EXIT
status=0
cargo test --workspace --exclude netcheck-e2e --no-fail-fast 2>&1 | tee "$logs/workspace" || status=1
cargo test --package netcheck-e2e --lib --bins 2>&1 | tee "$logs/e2e" || status=1
if cargo test --package netcheck-e2e --no-run; then
    runners=()
    for name in bundled cluster variants; do
        (cargo test --package netcheck-e2e --test "$name" 2>&1 | tee "$logs/$name" | sed -u "s/^/$name | /") &
        runners+=("$!")
    done
    for runner in "${runners[@]}"; do wait "$runner" || status=1; done
else
    status=1
fi
# "test result: ok. 10 passed; 0 failed; 1 ignored; …"
read -r passed failed skipped < <(cat "$logs"/* | awk '/^test result:/ { p += $4; f += $6; s += $8 } END { print p + 0, f + 0, s + 0 }')
if [ "$status" -ne 0 ] && [ "$failed" -eq 0 ]; then failed=1; fi
if [ -n "${CI:-}" ] && [ "$skipped" -ne 0 ]; then
    echo "under CI a skipped test is a failure: $skipped skipped" >&2
    failed=$((failed + skipped)); skipped=0
fi
# "---- NAME stdout ----", then what it printed: the beginning of that is told again here, where who sees only a log's end
# finds it.
cat "$logs"/* | awk '
    function tell() { if (name != "") print "FAILED " name ": " substr(said, 1, 300); name = said = "" }
    /^---- .* ----$/ { tell(); name = $0; sub(/^---- /, "", name); sub(/( stdout)? ----$/, "", name); next }
    /^failures:$/ || /^test result:/ { tell(); next }
    name != "" && NF { sub(/^thread .* panicked at /, ""); gsub(/ +/, " "); said = said (said == "" ? "" : " ") $0 }
'
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
