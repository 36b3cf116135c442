#!/usr/bin/env bash
# Puts random values through serve and clie over UDP, then over TCP, kills the server, starts it
# again and reads everything back; then random transactions through a cluster of three, of which one
# member is killed and started again. Everything is asserted.
#
#   ./test.sh [N] [SEED]     N random operations a transport (300), N/5 transactions; from a seed
#
# Builds what it needs (release). Prints one line and exits 0, or says what differed and exits 1.
# TUPPENCE_SERVE and TUPPENCE_CLIE name programs to use instead of built ones.
set -uo pipefail

count=${1:-300}
seed=${2:-$((SRANDOM % 32768))}
case $count$seed in
  *[!0-9]* | '') echo "usage: ./test.sh [N] [SEED]" >&2; exit 2 ;;
esac

# What the caller has set up for other servers must not decide anything here.
unset "${!CLIE_@}" "${!SERVE_@}"

root=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")" && pwd)
serve=${TUPPENCE_SERVE:-$("$root/packaging/build" serve)} || exit
clie=${TUPPENCE_CLIE:-$("$root/packaging/build" clie)} || exit
work=$(mktemp -d "${TMPDIR:-/tmp}/tuppence-test.XXXXXX") || exit
started=$SECONDS
checks=0
server=
mode=
port=
cluster=
declare -a members=() ports=()

# --- The end ---------------------------------------------------------------------------------

stop_server() { # stop_server SIGNAL: ends the server and sets $ended to its exit status
  kill "-$1" "$server" 2> /dev/null
  wait "$server" 2> /dev/null
  ended=$?
  server=
}

finish() {
  local status=$?
  [ -z "$server" ] || stop_server KILL
  for server in "${members[@]}"; do [ -z "$server" ] || stop_server KILL; done
  if [ "$status" = 0 ]; then rm -rf "$work"; else echo "test.sh: files are kept in $work" >&2; fi
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

fail() {
  trap - ERR
  echo "test.sh: FAILED ($mode, N=$count, seed=$seed): $*" >&2
  if [ -e "$work/serve.log" ]; then
    echo "--- the end of the server's log:" >&2
    tail -n 20 "$work/serve.log" >&2
  fi
  for log in "$work"/member*.log; do
    [ ! -e "$log" ] || { echo "--- the end of $log:" >&2; tail -n 12 "$log" >&2; }
  done
  exit 1
}

# --- The server ------------------------------------------------------------------------------

# start_server: on a free port at first, later on the same one; waits until it serves.
start_server() {
  : > "$work/serve.log"
  "$serve" -s 127.0.0.1 -p "${port:-0}" "-$mode" --data "$work/data" -l debug \
    > "$work/serve.log" 2>&1 < /dev/null &
  server=$!
  local line=
  for _ in {1..600}; do
    line=$(grep -m 1 'listening on' "$work/serve.log") && break
    kill -0 "$server" 2> /dev/null || fail "the server ended before it listened"
    sleep 0.05
  done
  [ -n "$line" ] || fail "the server does not say where it listens"
  port=${line#*127.0.0.1:}
  port=${port%%[!0-9]*}
  expect 0 PONG ping
}

# --- Asking and comparing --------------------------------------------------------------------

# ask OPERATION [KEY [VALUE]]: sets $status, $answer (standard output) and $words (standard error).
ask() {
  local arguments=("-$mode" -s 127.0.0.1 -p "$port" -o "$1")
  if [ $# -ge 2 ]; then arguments+=(-k "$2"); fi
  if [ $# -ge 3 ]; then arguments+=(-v "$3"); fi
  answer=$("$clie" "${arguments[@]}" 2> "$work/words")
  status=$?
  words=$(< "$work/words")
}

# execute WORD...: a command of the server.
execute() {
  answer=$("$clie" "-$mode" -s 127.0.0.1 -p "$port" -o exec "$@" 2> "$work/words")
  status=$?
  words=$(< "$work/words")
}

# expect STATUS TEXT OPERATION [KEY [VALUE]]: the text is the answer, or the error when it fails.
expect() {
  local wanted=$1 text=$2 got
  shift 2
  ask "$@"
  if [ "$wanted" = 0 ]; then got=$answer; else got=$words; fi
  if [ "$status" != "$wanted" ] || [ "$got" != "$text" ]; then
    fail "clie -o $*: exit code $status, wanted $wanted;" \
      "got \"$answer\" \"$words\", wanted \"$text\""
  fi
  checks=$((checks + 1))
}

absent='clie: key does not exist (not-applied)'

expect_put() { expect 0 Added put "$1" "$2"; }
expect_get() { expect 0 "$2" get "$1"; }
expect_absent() { expect 1 "$absent" get "$1"; }

# put_file KEY FILE, get_file KEY FILE: binary values, compared by checksum.
put_file() {
  answer=$("$clie" "-$mode" -s 127.0.0.1 -p "$port" -o put -k "$1" --val-stdin < "$2" 2>&1)
  status=$?
  [ "$status $answer" = "0 Added" ] || fail "put of the file $2: exit code $status, $answer"
  checks=$((checks + 1))
}

get_file() {
  local wanted got
  wanted=$(sha256sum < "$2")
  got=$("$clie" "-$mode" -s 127.0.0.1 -p "$port" --output raw -o get -k "$1" \
    2> "$work/words" | sha256sum)
  [ "$got" = "$wanted" ] || fail "get $1: the bytes differ from $2; $(< "$work/words")"
  checks=$((checks + 1))
}

# --- The steps -------------------------------------------------------------------------------

numbered_keys() {
  local n
  for n in 1 2 3 4 5; do expect_put "key$n" "val$n"; done
  expect_get key1 val1
  expect 0 deleted 2 key1
  expect_absent key1
  expect 1 "$absent" 2 key1
  expect 0 updated 0 key2 other2
  expect_get key2 other2
  expect 1 "$absent" 0 key1 other1
  expect_absent key1
}

random_texts() {
  local n
  local -a texts
  for n in 1 2 3 4 5; do
    texts[n]=$(openssl rand -base64 32)
    expect_put "new_key$n" "${texts[n]}"
  done
  for n in 1 2 3 4 5; do expect_get "new_key$n" "${texts[n]}"; done
  for n in 1 2 3 4 5; do expect 0 deleted delete "new_key$n"; done
  for n in 1 2 3 4 5; do expect_absent "new_key$n"; done
}

binary_values() {
  local size
  sizes=(1 2 255 1100 1200 4096 16384 65535 65536 500000 1048576)
  if [ "$mode" = t ]; then sizes+=(4194304 16777216); fi
  for size in "${sizes[@]}"; do
    openssl rand "$size" > "$work/$size.bin" || fail "openssl makes no random bytes"
    put_file "binary $size" "$work/$size.bin"
    get_file "binary $size" "$work/$size.bin"
  done
}

# random_operations: against the model, which is kept here. Same seed, same operations.
random_operations() {
  local n key value keys=$((count / 5 + 3))
  RANDOM=$seed
  model=()
  for ((n = 0; n < count; n++)); do
    key=random$((RANDOM % keys))
    case $((RANDOM % 10)) in
      0 | 1 | 2 | 3)
        value=$RANDOM-$RANDOM-$RANDOM
        expect_put "$key" "$value"
        model[$key]=$value
        ;;
      4 | 5 | 6) expect_model "$key" ;;
      7 | 8)
        if [ -n "${model[$key]+set}" ]; then
          expect 0 deleted delete "$key"
          unset "model[$key]"
        else
          expect 1 "$absent" delete "$key"
        fi
        ;;
      9)
        value=$RANDOM
        if [ -n "${model[$key]+set}" ]; then
          expect 0 updated update "$key" "$value"
          model[$key]=$value
        else
          expect 1 "$absent" update "$key" "$value"
        fi
        ;;
    esac
  done
}

expect_model() {
  if [ -n "${model[$1]+set}" ]; then expect_get "$1" "${model[$1]}"; else expect_absent "$1"; fi
}

# read_everything_back: all that was acknowledged is there, and nothing that was deleted.
read_everything_back() {
  local n key size
  expect_absent key1
  expect_get key2 other2
  for n in 3 4 5; do expect_get "key$n" "val$n"; done
  for n in 1 2 3 4 5; do expect_absent "new_key$n"; done
  for ((n = 0; n < count / 5 + 3; n++)); do expect_model "random$n"; done
  for size in "${sizes[@]}"; do get_file "binary $size" "$work/$size.bin"; done
}

run() { # run MODE: u or t
  mode=$1
  port=
  rm -rf "$work/data"
  start_server
  numbered_keys
  random_texts
  binary_values
  random_operations
  stop_server KILL
  start_server
  read_everything_back
  expect_put key1 again
  stop_server TERM
  [ "$ended" = 0 ] || fail "the server ended with $ended after SIGTERM"
  start_server
  expect_get key1 again
  stop_server TERM
  ask get key1
  [ "$status" = 3 ] || fail "clie ends with $status, not 3, when the server is gone"
  checks=$((checks + 2))
}

# --- A cluster -------------------------------------------------------------------------------

free_port() { # sets $port to one where nobody listens
  while :; do
    port=$((20000 + SRANDOM % 12000))
    # shellcheck disable=SC2188
    (: < "/dev/tcp/127.0.0.1/$port") 2> /dev/null || return 0
  done
}

start_member() { # start_member ID
  "$serve" --id "$1" --cluster "$cluster" -s 127.0.0.1 -p "${ports[$1]}" --data "$work/member$1" \
    -l debug >> "$work/member$1.log" 2>&1 < /dev/null &
  members[$1]=$!
}

use_member() { port=${ports[$1]}; }

# wait_for_members: until every member reaches every other one.
wait_for_members() {
  local id turn
  for id in 1 2 3; do
    use_member "$id"
    for ((turn = 0; ; turn++)); do
      execute INFO cluster
      [[ $answer != *members_reachable:3* ]] || break
      [ "$turn" -lt 200 ] || fail "member $id does not reach the others: $answer $words"
      sleep 0.05
    done
  done
}

# transaction ID: two random values and a counter, at one member, all or nothing.
transaction() {
  local a=a$((RANDOM % 20)) b=b$((RANDOM % 20)) one two
  one=$(openssl rand -base64 32) two=$(openssl rand -base64 32)
  use_member "$1"
  answer=$(printf '%s\n' "put $a $one" "put $b $two" "incr transactions" \
    | "$clie" "-$mode" -s 127.0.0.1 -p "$port" -o txn 2> "$work/words")
  status=$?
  words=$(< "$work/words")
  [ "$status" = 0 ] || fail "a transaction at member $1: exit code $status, $answer $words"
  checks=$((checks + 1))
  model[$a]=$one model[$b]=$two
  committed=$((committed + 1))
}

expect_equal_members() {
  local id key
  for id in 1 2 3; do
    use_member "$id"
    expect 0 "$committed" get transactions
    for key in "${!model[@]}"; do expect 0 "${model[$key]}" get "$key"; done
    execute DBSIZE
    [ "$answer" = $((${#model[@]} + 1)) ] || fail "member $id has $answer keys $words"
  done
}

run_cluster() {
  local id n before=$((count / 10 + 1))
  mode=t
  model=()
  committed=0
  for id in 1 2 3; do
    free_port
    ports[id]=$port
    cluster+=${cluster:+,}$id=127.0.0.1:$port
  done
  for id in 1 2 3; do start_member "$id"; done
  wait_for_members
  for ((n = 0; n < before; n++)); do transaction $((RANDOM % 3 + 1)); done
  # One member is killed; nothing is written without it, and everything goes on once it is back.
  local victim=$((RANDOM % 3 + 1)) other
  other=$((victim % 3 + 1))
  # What the victim decided last is told a moment later; without it the others would rightly wait.
  use_member "$other"
  expect 0 "$committed" get transactions
  server=${members[victim]}
  members[victim]=
  stop_server KILL
  use_member "$other"
  for ((n = 0; n < 100; n++)); do
    ask put while-down value
    [ "$status" != 6 ] || break
    [ "$status" = 4 ] || fail "a put without member $victim: exit code $status, $answer $words"
    sleep 0.05
  done
  [[ $words == *"member $victim"*not-applied* ]] || fail "a put without member $victim: $words"
  expect 0 "$committed" get transactions
  start_member "$victim"
  wait_for_members
  for ((n = 0; n < before; n++)); do transaction $((RANDOM % 3 + 1)); done
  expect_equal_members
  for id in 1 2 3; do
    server=${members[id]}
    members[id]=
    stop_server TERM
    [ "$ended" = 0 ] || fail "member $id ended with $ended after SIGTERM"
  done
  # All of it is on the disks.
  for id in 1 2 3; do start_member "$id"; done
  wait_for_members
  expect_equal_members
  for id in 1 2 3; do
    server=${members[id]}
    members[id]=
    stop_server TERM
  done
  checks=$((checks + 4))
}

declare -A model=()
declare -a sizes=()
run u
run t
run_cluster
[ -z "$(jobs -rp)" ] || fail "processes are left: $(jobs -rp)"
echo "test.sh: passed over UDP and TCP, and with three members: $checks checks, N=$count, seed=$seed," \
  "$((SECONDS - started)) s"
