#!/usr/bin/env bash
# Runs every test and ends with a line for each that failed and one that sums up all runners. Fails if a test failed, or,
# under CI, if one was skipped.
set -uo pipefail
cd "$(dirname "$0")/.."
log=$(mktemp)
trap 'rm -f "$log"' EXIT
cargo test --workspace --no-fail-fast 2>&1 | tee "$log"
status=${PIPESTATUS[0]}
# "test result: ok. 10 passed; 0 failed; 1 ignored; …"
read -r passed failed skipped < <(awk '/^test result:/ { p += $4; f += $6; s += $8 } END { print p + 0, f + 0, s + 0 }' "$log")
if [ "$status" -ne 0 ] && [ "$failed" -eq 0 ]; then failed=1; fi
if [ -n "${CI:-}" ] && [ "$skipped" -ne 0 ]; then
    echo "under CI a skipped test is a failure: $skipped skipped" >&2
    failed=$((failed + skipped)); skipped=0
fi
# "---- NAME stdout ----", then what it printed: the beginning of that is told again here, where who sees only a log's end
# finds it.
awk '
    function tell() { if (name != "") print "FAILED " name ": " substr(said, 1, 300); name = said = "" }
    /^---- .* ----$/ { tell(); name = $0; sub(/^---- /, "", name); sub(/( stdout)? ----$/, "", name); next }
    /^failures:$/ || /^test result:/ { tell(); next }
    name != "" && NF { sub(/^thread .* panicked at /, ""); gsub(/ +/, " "); said = said (said == "" ? "" : " ") $0 }
' "$log"
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
