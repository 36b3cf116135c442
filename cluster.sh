#!/usr/bin/env bash
# Starts, stops and drives the members of a cluster: on other machines over ssh, or on this one.
# cluster.sh --help says how; docs/operations.md shows it.
set -euo pipefail

usage() {
  cat <<'END'
usage: cluster.sh up HOSTS_FILE [--] [FLAG_OF_SERVE...]
                                                     start the members that are not running
       cluster.sh down HOSTS_FILE                    stop those that are, in order
       cluster.sh status HOSTS_FILE                  one line a member
       cluster.sh exec HOSTS_FILE clie ARGUMENT...   run clie from here against each member
       cluster.sh exec HOSTS_FILE COMMAND...         run a command on each member's machine, with
                                                     MEMBER_ID, MEMBER_ADDRESS and MEMBER_DIR set

HOSTS_FILE has a line a member: its address HOST:PORT and, where that is another name, what ssh is
given (USER@MACHINE). Blank lines and lines that begin with # count for nothing. A member whose
machine is localhost, 127.0.0.1 or [::1] runs here, without ssh.

The first `up` numbers the members in the order of the file and draws the cluster's secret. Both stay
in HOSTS_FILE.state (mode 0700) and never change: a file that lists other addresses is refused. The
flags are kept there until `up` is given others, or -- alone, which takes them back. Each member keeps
its data, log, secret and process id in ~/tuppence/member-N. A folder with another secret is another
cluster's: it is refused, and left as it is.

Environment:
  CLUSTER_DIR      folder on each machine in place of ~/tuppence
  CLUSTER_SSH      in place of ssh, with options: "ssh -i key"
  TUPPENCE_SERVE   serve on the machines: elsewhere `serve` in PATH, here that of this clone
  TUPPENCE_CLIE    clie on this machine; without it that of this clone
  CLIE_...         what clie reads itself, as CLIE_PASSWORD_FILE where members want a password

Exit code: 0 done; 1 at least one member failed, was not running or does not reach all; 2 usage.
END
}

die() {
  echo "cluster.sh: $1" >&2
  exit 2
}

root=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
ids=() addresses=() machines=() flags=()
declare -A machine_of=()

# --- Who the members are -------------------------------------------------------------------------

# Reads HOSTS_FILE into `addresses` and `machine_of`. ssh wants an IPv6 address without brackets.
read_hosts() {
  local line address machine rest
  [ -r "$hosts" ] || die "cannot read $hosts"
  while IFS= read -r line || [ -n "$line" ]; do
    read -r address machine rest <<<"$line" || true
    case $address in '' | '#'*) continue ;; esac
    [ -z "$rest" ] || die "$hosts: a line has an address and a machine, not more: $line"
    [[ $address =~ ^([A-Za-z0-9_][A-Za-z0-9._-]*|\[[0-9a-fA-F:.]+\]):[0-9]{1,5}$ ]] \
      || die "$hosts: $address is not HOST:PORT"
    machine=${machine:-${address%:*}}
    [[ $machine =~ ^([A-Za-z0-9_][A-Za-z0-9._@-]*|\[[0-9a-fA-F:.]+\])$ ]] \
      || die "$hosts: $machine is no name that ssh can be given"
    case " ${addresses[*]-} " in *" $address "*) die "$hosts: $address stands there twice" ;; esac
    addresses+=("$address")
    machine_of[$address]=$(tr -d '[]' <<<"$machine")
  done <"$hosts"
  [ ${#addresses[@]} -gt 0 ] || die "$hosts lists no member"
  [ ${#addresses[@]} -le 64 ] || die "$hosts lists more than 64 members"
}

# keep NAME: standard input becomes that file of the state folder; a power cut leaves it whole or not
# there.
keep() {
  (umask 077 && cat >"$state/$1.new")
  sync "$state/$1.new"
  mv "$state/$1.new" "$state/$1"
}

# Gives out ids and the secret unless that was done before.
hand_out() {
  local index
  [ ! -e "$state/members" ] || return 0
  head -c 32 /dev/urandom | base64 | keep secret
  for index in "${!addresses[@]}"; do
    echo "$((index + 1)) ${addresses[index]}"
  done | keep members
}

# Compares HOSTS_FILE with what was given out; fills `ids`, `addresses` and `machines` in the order of
# the members.
read_members() {
  local id address listed=" ${addresses[*]} " known=" "
  addresses=()
  while read -r id address _; do
    case $listed in
      *" $address "*) ;;
      *) die "member $id ($address) stands in $state/members and not in $hosts: the members of a \
cluster are not changed here" ;;
    esac
    ids+=("$id") addresses+=("$address") machines+=("${machine_of[$address]}")
    known+="$address "
  done <"$state/members"
  for address in $listed; do
    case $known in
      *" $address "*) ;;
      *) die "$address stands in $hosts and is no member by $state/members: the members of a \
cluster are not changed here" ;;
    esac
  done
  list=$(for id in "${!ids[@]}"; do printf '%s=%s,' "${ids[id]}" "${addresses[id]}"; done)
  list=${list%,}
}

# Reads the secret, and what a member's folder is known by.
read_secret() {
  secret=$(cat "$state/secret" 2>/dev/null) || true
  [ -n "$secret" ] || die "$state/secret is empty or missing: each member has a copy in its folder"
  mark=$(sha256sum <<<"$secret")
}

read_flags() {
  [ ! -e "$state/flags" ] || mapfile -d '' -t flags <"$state/flags"
}

# --- Running something on a member's machine -----------------------------------------------------

is_here() {
  case $1 in localhost | 127.0.0.1 | ::1) ;; *) return 1 ;; esac
}

# Quotes words for a shell on the other side: ssh joins what it is given with blanks.
quoted() {
  local word
  for word in "$@"; do printf " '%s'" "${word//\'/\'\\\'\'}"; done
}

# on INDEX SCRIPT ARGUMENT...: runs a script on a member's machine. The script travels by standard
# input, so the secret within it stands in no list of processes.
on() {
  local machine=${machines[$1]} script=$2 ssh
  local words=("${CLUSTER_DIR-}" "${ids[$1]}" "$mark" "${@:3}")
  if is_here "$machine"; then
    (cd && exec sh -s -- "${words[@]}" 9>&-) <<<"$common$script"
  else
    read -ra ssh <<<"${CLUSTER_SSH:-ssh}"
    "${ssh[@]}" "$machine" "sh -s --$(quoted "${words[@]}")" 9>&- <<<"$common$script"
  fi
}

# What all scripts begin with. They end with 3 where the member's folder is not of this cluster.
# shellcheck disable=SC2016
common='set -eu
umask 077
home=${1:-$HOME/tuppence}/member-$2
id=$2 mark=$3
shift 3
case $home in /*) ;; *) home=$(pwd)/$home ;; esac
if [ -s "$home/secret" ]; then
  [ "$(sha256sum <"$home/secret")" = "$mark" ] || {
    echo "$home belongs to another cluster: its secret is another one (CLUSTER_DIR)" >&2
    exit 3
  }
elif [ -e "$home/data" ]; then
  echo "$home has data and no secret, so it may belong to another cluster" >&2
  exit 3
fi
# The process of the member, in $pid; false when there is none.
running() {
  [ -s "$home/pid" ] || return 1
  read -r pid <"$home/pid"
  { tr "\0" "\n" <"/proc/$pid/cmdline"; } 2>/dev/null | grep -qxF "$home/data"
}
'

# shellcheck disable=SC2016
start_script='
if running; then
  echo "runs already, process $pid"
  exit 0
fi
serve=$1 list=$2
shift 2
command -v "$serve" >/dev/null || { echo "no program $serve"; exit 1; }
mkdir -p "$home"
give_secret >"$home/secret.new"
sync "$home/secret.new"
mv "$home/secret.new" "$home/secret"
sync "$home" "$home/.."
touch "$home/log"
begin=$(($(wc -c <"$home/log") + 1))
setsid "$serve" --id "$id" --cluster "$list" --secret-file "$home/secret" --data "$home/data" \
  --log-file "$home/log" "$@" </dev/null >>"$home/log" 2>&1 &
echo $! >"$home/pid"
tries=0
until tail -c "+$begin" "$home/log" | grep -q " ready after "; do
  tries=$((tries + 1))
  if ! kill -0 $! 2>/dev/null || [ $tries -gt 1200 ]; then
    echo "did not start; the end of $home/log:"
    tail -c "+$begin" "$home/log" | tail -n 5
    exit 1
  fi
  sleep 0.05
done
echo "started, process $!"
'

# shellcheck disable=SC2016
stop_script='
if ! running; then
  echo "was not running"
  exit 0
fi
kill -TERM "$pid"
tries=0
while running; do
  tries=$((tries + 1))
  [ $tries -le 600 ] || { echo "process $pid has not ended within 30 s"; exit 1; }
  sleep 0.05
done
rm -f "$home/pid"
echo "stopped"
'

# shellcheck disable=SC2016
state_script='
if running; then echo "running, process $pid"; else echo "not running"; exit 1; fi
'

# shellcheck disable=SC2016
exec_script='
MEMBER_ID=$id MEMBER_ADDRESS=$1 MEMBER_DIR=$home
export MEMBER_ID MEMBER_ADDRESS MEMBER_DIR
shift
[ ! -d "$home" ] || cd "$home"
exec "$@" </dev/null
'

# --- The commands --------------------------------------------------------------------------------

# Runs a command for each member, in the order of ids; 1 when it failed for one.
each() {
  local index failed=0
  for index in "${!ids[@]}"; do "$@" "$index" || failed=1; done
  return "$failed"
}

# tell INDEX COMMAND...: what a command says of a member, on one line if it is one.
tell() {
  local said status=0
  said=$("${@:2}" 2>&1) || status=$?
  echo "member ${ids[$1]} (${addresses[$1]}): ${said:-failed}"
  return "$status"
}

# False, and says why, when a member's folder is not of this cluster. A machine that is out of reach
# is none of its business.
is_ours() {
  local said status=0
  said=$(on "$1" : 2>&1) || status=$?
  [ $status -eq 3 ] || return 0
  echo "member ${ids[$1]} (${addresses[$1]}): $said"
  return 1
}

start() {
  local serve=${TUPPENCE_SERVE:-serve}
  if is_here "${machines[$1]}"; then
    [ -n "${TUPPENCE_SERVE-}" ] || serve=$("$root/packaging/build" serve)
    # Elsewhere a path begins in the home, here in the folder that we are in.
    case $serve in /*) ;; */*) serve=$PWD/$serve ;; esac
  fi
  tell "$1" on "$1" "give_secret() { echo '$secret'; }$start_script" "$serve" "$list" \
    ${flags[@]+"${flags[@]}"}
}

stop() { tell "$1" on "$1" "$stop_script"; }

# clie against one member, over what it listens on.
clie_at() {
  local address=${addresses[$1]} way=-t
  case " ${flags[*]-} " in
    *" -t "* | *" --tcp "*) ;;
    *" -u "* | *" --udp "*) way=-u ;;
  esac
  "$clie" "$way" -s "$(tr -d '[]' <<<"${address%:*}")" -p "${address##*:}" "${@:2}"
}

find_clie() { clie=${TUPPENCE_CLIE:-$("$root/packaging/build" clie)}; }

# What a member says of itself; false unless it reaches all.
health() {
  local info reached all doubts
  on "$1" "$state_script" || return 1
  info=$(clie_at "$1" -o exec INFO cluster 2>&1) || {
    echo "$info"
    case $info in *NOAUTH*) echo "CLIE_PASSWORD_FILE has to name a file with the password" ;; esac
    return 1
  }
  field() { sed -n "s/^$1:\([0-9]*\).*/\1/p" <<<"$info"; }
  reached=$(field members_reachable) all=$(field members) doubts=$(field transactions_in_doubt)
  echo "reaches $reached of $all members; $doubts transactions in doubt"
  [ "$reached" = "$all" ]
}

show() {
  local said status=0
  said=$(health "$1" 2>&1) || status=$?
  echo "member ${ids[$1]} (${addresses[$1]}): ${said//$'\n'/; }"
  return "$status"
}

run_clie() {
  local index=${!#}
  echo "== member ${ids[index]} (${addresses[index]})"
  clie_at "$index" "${@:1:$#-1}" </dev/null
}

run_command() {
  local index=${!#}
  echo "== member ${ids[index]} (${addresses[index]})"
  on "$index" "$exec_script" "${addresses[index]}" "${@:1:$#-1}"
}

case ${1-} in
  -h | --help)
    usage
    exit 0
    ;;
  up | down | status | exec) command=$1 ;;
  '') die "give up, down, status or exec (cluster.sh --help)" ;;
  *) die "unknown command $1: up, down, status or exec (cluster.sh --help)" ;;
esac
[ $# -ge 2 ] || die "$command needs a HOSTS_FILE"
hosts=$2
state=$hosts.state
shift 2
case $command in
  down | status) [ $# -eq 0 ] || die "$command takes nothing behind HOSTS_FILE: $1" ;;
  exec) [ $# -gt 0 ] || die "exec needs clie or a command" ;;
esac

read_hosts
if [ "$command" = up ]; then
  (umask 077 && mkdir -p "$state")
elif [ ! -e "$state/members" ]; then
  die "no cluster was started by $hosts: there is no $state/members"
fi
exec 9>"$state/lock"
chmod 600 "$state/lock"
[ "$command" = exec ] || flock -n 9 || die "another cluster.sh is at work on $hosts"
[ "$command" != up ] || hand_out
read_members
read_secret
if [ "$command" = up ]; then
  if [ $# -gt 0 ]; then
    [ "$1" != -- ] || shift
    { [ $# -eq 0 ] || printf '%s\0' "$@"; } | keep flags
  fi
  sync "$state" "$state/.."
fi
read_flags

case $command in
  up) each is_ours && each start ;;
  down) each stop ;;
  status)
    find_clie
    each show
    ;;
  exec)
    if [ "$1" = clie ]; then
      find_clie
      each run_clie "${@:2}"
    else
      each run_command "$@"
    fi
    ;;
esac
