#!/bin/bash
# Runs each fuzz target (or those named) for some seconds, beginning with the corpus in the tree.
# Exit status 1 when one found something; the input is then in .build-fuzz/found-TARGET-*, and
# `FUZZ_TARGET=TARGET .build-fuzz/debug/fuzz FILE` shows it again.
#
# Usage: run.sh [SECONDS=10] [TARGET...]
set -uo pipefail
. "$(dirname "$0")/build.sh"
seconds=${1:-10}
shift || true
targets=("${@:-${all_targets[@]}}")
passed=0
failed=0
for target in "${targets[@]}"; do
  mkdir -p ".build-fuzz/corpus/$target"
  report=".build-fuzz/$target.log"
  if FUZZ_TARGET=$target timeout $((seconds + 120)) "$program" \
    -max_total_time="$seconds" -max_len=4096 -timeout=20 -rss_limit_mb=2048 \
    -artifact_prefix=".build-fuzz/found-$target-" \
    ".build-fuzz/corpus/$target" "Tests/Fuzz/corpus/$target" >"$report" 2>&1; then
    passed=$((passed + 1))
    runs=$(grep -aoE '^Done [0-9]+ runs' "$report" | grep -oE '[0-9]+')
    echo "figure: fuzz $target: ${runs:-0} runs in $seconds s, nothing found"
  else
    failed=$((failed + 1))
    echo "fuzz $target FAILED:"
    grep -avE '^#[0-9]+\s+(NEW|REDUCE|RELOAD|pulse)' "$report" | tail -40
  fi
done
echo "fuzz: $passed passed, $failed failed"
[ "$failed" -eq 0 ]
