# Stages of the checks, for .ci/run and .ci/long: each runs a command with a time limit, prints its
# seconds, and counts what passed and failed. Sourced, not run.
#
# A stage passes when its command exits with 0 and its output reports neither failures nor skips. Counts
# come from the output where it has them (swift test, pytest, redis-tcl), otherwise a stage is one check.

passed=0
failed=0
failed_stages=()
logs=${CI_LOGS:-.build/ci}
mkdir -p "$logs"

# stage NAME SECONDS COMMAND...
stage() {
  local name=$1 limit=$2 log="$logs/$1.log" begin=$SECONDS status good bad
  shift 2
  printf '== %s: %s\n' "$name" "$*"
  # shellcheck disable=SC2016
  if [ "$(type -t "$1")" = function ]; then
    run_function "$limit" "$@" >"$log" 2>&1 </dev/null
  else
    timeout --kill-after=20 "$limit" "$@" >"$log" 2>&1 </dev/null
  fi
  status=$?
  read -r good bad < <(count_results "$log" "$status")
  passed=$((passed + good))
  failed=$((failed + bad))
  if [ "$bad" -gt 0 ]; then
    failed_stages+=("$name")
    echo "-- the end of $log:"
    tail -n 80 "$log"
    [ "$status" -ne 124 ] || echo "-- stopped after its limit of $limit s"
    printf '== %s: FAILED (%d passed, %d failed, exit %d) in %d s\n' \
      "$name" "$good" "$bad" "$status" $((SECONDS - begin))
    return 1
  fi
  grep -aoE 'figure: .*' "$log" || true
  printf '== %s: passed (%d) in %d s\n' "$name" "$good" $((SECONDS - begin))
}

# A shell function with a time limit: in a shell of its own that knows this file's functions.
run_function() {
  local limit=$1
  shift
  export logs
  export -f $(declare -F | sed 's/declare -fx\{0,1\} //')
  timeout --kill-after=20 "$limit" bash -euo pipefail -c '"$@"' bash "$@"
}

# Prints how many checks passed and failed according to a log and the exit status. Understood are the
# closing lines of swift test, of pytest, and of our own scripts ('NAME: N passed, N failed'), a line a
# seed from simulate, and a line a mutant. A skipped test counts as failed: nothing is skipped here.
count_results() {
  awk -v status="$2" '
    function number_before(word, line,    n, i, words) {
      n = split(line, words, /[ ,=]+/)
      for (i = 2; i <= n; i++) if (words[i] == word || words[i] == word "s") return words[i - 1] + 0
      return 0
    }
    /Test run with [0-9]+ tests?/ {
      match($0, /with [0-9]+ test/); total = substr($0, RSTART + 5) + 0
      issues = match($0, /with [0-9]+ issue/) ? substr($0, RSTART + 5) + 0 : 0
      if (issues > total) issues = total
      good += total - issues; bad += issues
    }
    /^=*.*[0-9]+ (passed|failed|error|errors|skipped).* in [0-9.]+s/ {
      good += number_before("passed", $0)
      bad += number_before("failed", $0) + number_before("error", $0) + number_before("skipped", $0)
    }
    /^[a-z -]+: [0-9]+ passed, [0-9]+ failed/ {
      good += number_before("passed", $0); bad += number_before("failed", $0)
    }
    /^seed [0-9]+ passed/ || /^[A-Za-z -]+: found at seed/ { good++ }
    /^seed [0-9]+ FAILED/ || /^[A-Za-z -]+: NOT FOUND/ { bad++ }
    END {
      if (status != 0 && bad == 0) bad = 1
      if (status == 0 && good + bad == 0) good = 1
      print good + 0, bad + 0
    }' "$1"
}

# Ends the script: what failed, then the line that is counted, and the exit status.
finish() {
  [ ${#failed_stages[@]} -eq 0 ] || printf 'failed stages: %s\n' "${failed_stages[*]}"
  printf '%d s in all\n' "$SECONDS"
  printf '%d passed, %d failed\n' "$passed" "$failed"
  [ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
}

# --- What the checks need ------------------------------------------------------------------------

# Installs the Debian packages of programs that are not there; names them where it cannot.
need_programs() {
  local missing=() pair
  for pair in "$@"; do
    command -v "${pair%%=*}" >/dev/null || missing+=("${pair#*=}")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  echo "installing ${missing[*]}"
  if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"
  elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
    sudo apt-get update -qq
    sudo DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
      "${missing[@]}"
  else
    echo "needs these Debian packages, and may not install them: ${missing[*]}"
    return 1
  fi
  for pair in "$@"; do
    command -v "${pair%%=*}" >/dev/null || { echo "still no ${pair%%=*}"; return 1; }
  done
}

need_swift() {
  command -v swift >/dev/null || { echo "needs Swift 6.3 in PATH (https://swift.org/install)"; return 1; }
  swift --version
}

# The Python to use, with pytest and redis-py: the one in PATH, else an environment in .build.
choose_python() {
  python=python3
  if ! python3 -c 'import pytest, redis' 2>/dev/null; then
    [ -x .build/ci-python/bin/python ] || python3 -m venv .build/ci-python \
      || { need_programs no-such-program=python3-venv; python3 -m venv .build/ci-python; }
    .build/ci-python/bin/python -m pip -q install -r Tests/Compatibility/requirements.txt
    python=.build/ci-python/bin/python
  fi
  "$python" -c 'import pytest, redis; print("pytest", pytest.__version__, "redis", redis.__version__)'
}
