#!/usr/bin/env bash
# Builds serve and clie, which then need no Swift on the machine, and installs them.
#
#   ./install.sh [--prefix DIR]      into DIR/bin (/usr/local/bin)
set -euo pipefail

usage() { echo "usage: ./install.sh [--prefix DIR]"; }

prefix=/usr/local
while [ $# -gt 0 ]; do
  case $1 in
    --prefix) [ $# -ge 2 ] || { usage >&2; exit 2; }; prefix=$2; shift 2 ;;
    --prefix=?*) prefix=${1#--prefix=}; shift ;;
    -h | --help) usage; exit 0 ;;
    *) usage >&2; exit 2 ;;
  esac
done

root=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
serve=$("$root/packaging/build" --static serve)
clie=$("$root/packaging/build" --static clie)
install -d -m 755 "$prefix/bin"
install -m 755 "$serve" "$prefix/bin/serve"
install -m 755 "$clie" "$prefix/bin/clie"
echo "installed $prefix/bin/serve and $prefix/bin/clie"
case :$PATH: in
  *:"$prefix/bin":*) ;;
  *) echo "note: $prefix/bin is not in PATH" ;;
esac
