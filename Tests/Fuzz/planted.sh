#!/bin/bash
# Shows that each fuzz target finds a mistake: plants one (FUZZ_PLANTED=1) and waits until it is found,
# from an empty corpus with only the tree's to begin with.
#
# Usage: planted.sh [SECONDS=120] [TARGET...]
set -uo pipefail
. "$(dirname "$0")/build.sh"
seconds=${1:-120}
shift || true
targets=("${@:-${all_targets[@]}}")
found=0
missed=0
for target in "${targets[@]}"; do
  work=$(mktemp -d)
  begin=$SECONDS
  FUZZ_TARGET=$target FUZZ_PLANTED=1 timeout $((seconds + 60)) "$program" \
    -max_total_time="$seconds" -max_len=4096 -artifact_prefix="$work/" \
    "$work" "Tests/Fuzz/corpus/$target" >"$work/log" 2>&1
  if grep -aq 'planted mistake' "$work/log"; then
    found=$((found + 1))
    echo "figure: fuzz $target: planted mistake found in $((SECONDS - begin)) s"
  else
    missed=$((missed + 1))
    echo "fuzz $target: planted mistake NOT found in $seconds s"
    tail -5 "$work/log"
  fi
  rm -rf "$work"
done
echo "fuzz planted: $found passed, $missed failed"
[ "$missed" -eq 0 ]
