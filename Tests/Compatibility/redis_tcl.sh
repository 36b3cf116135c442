#!/bin/bash
# Runs the units of Redis 7.0's own test suite that concern our commands against a running server and
# prints how many tests passed. Exit status 0: none failed, and at least MINIMUM passed.
#
# The suite is fetched (fetch-redis-suite.sh), needs tclsh, and runs in its external-server mode with
# one database. It empties the server's data. Left out: redis-tcl-skipped.txt, with reasons.
# --ignore-encoding and --ignore-digest leave the tests in and take only their looks into Redis's
# memory (OBJECT ENCODING, DEBUG DIGEST) out.
#
# Usage: redis_tcl.sh PORT [HOST] [MINIMUM=200]     environment: REDIS_SUITE_DIR, where to keep it
set -uo pipefail
port=${1:?usage: redis_tcl.sh PORT [HOST] [MINIMUM]}
host=${2:-127.0.0.1}
minimum=${3:-200}
here=$(cd "$(dirname "$0")" && pwd)
store=${REDIS_SUITE_DIR:-${TMPDIR:-/tmp}/tuppence-redis-suite}
units=(type/string type/incr keyspace expire scan multi protocol)

command -v tclsh >/dev/null || { echo "redis_tcl: needs tclsh (apt-get install tcl)" >&2; exit 69; }
suite=$("$here/fetch-redis-suite.sh" "$store") || exit 69
report=$(mktemp)
trap 'rm -f "$report"' EXIT

singles=()
for unit in "${units[@]}"; do singles+=(--single "unit/$unit"); done
(cd "$suite" && timeout 900 ./runtest --host "$host" --port "$port" --singledb --durable \
  --ignore-encoding --ignore-digest --tags -needs:debug \
  --skipfile "$here/redis-tcl-skipped.txt" "${singles[@]}" </dev/null 2>&1) \
  | sed -u 's/\x1b\[[0-9;]*m//g' >"$report"
status=${PIPESTATUS[0]}

count() { sed '/^ *The End/,$d' "$report" | grep -ac "^\[$1\]"; }
passed=$(count ok)
failed=$(count err)
skipped=$(($(count skip) + $(count ignore)))
units_done=$(grep -ac '^\[[0-9]*/[0-9]* done\]' "$report")
sed '/^ *The End/,$d' "$report" | grep -a -A3 '^\[\(err\|exception\)\]' || true
echo "redis-tcl: $passed passed, $failed failed, $skipped skipped, $units_done of ${#units[@]} units"
if [ "$failed" -gt 0 ] || [ "$status" -ne 0 ] || [ "$units_done" -ne "${#units[@]}" ]; then
  [ "$units_done" -eq "${#units[@]}" ] || tail -5 "$report"
  exit 1
fi
if [ "$passed" -lt "$minimum" ]; then
  echo "redis-tcl: fewer than $minimum passed" >&2
  exit 1
fi
