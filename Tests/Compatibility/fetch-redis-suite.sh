#!/bin/bash
# Fetches the source of Redis 7.0 (Debian's redis_7.0.15) into the directory given and leaves its
# test suite in DIR/suite. Nothing of it is kept in this repository: it is another project's work
# under its own licence, and only its tests are run.
#
# The package lists go to DIR too (an own apt state), so the machine's sources stay as they are.
# Usage: fetch-redis-suite.sh DIR
set -euo pipefail
dir=${1:?usage: fetch-redis-suite.sh DIR}
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
if [ -x "$dir/suite/runtest" ]; then
  echo "$dir/suite"
  exit 0
fi

keyring=/usr/share/keyrings/debian-archive-keyring.gpg
[ -f "$keyring" ] || { echo "no $keyring: install debian-archive-keyring" >&2; exit 69; }
mkdir -p "$dir/apt/lists/partial" "$dir/apt/cache/archives/partial" "$dir/apt/parts"
cat >"$dir/apt/sources.list" <<LIST
deb-src [signed-by=$keyring] http://deb.debian.org/debian bookworm main
deb-src [signed-by=$keyring] http://security.debian.org/debian-security bookworm-security main
LIST
options=(
  -o "Dir::Etc::sourcelist=$dir/apt/sources.list"
  -o "Dir::Etc::sourceparts=$dir/apt/parts"
  -o "Dir::State::lists=$dir/apt/lists"
  -o "Dir::Cache=$dir/apt/cache"
  -o "APT::Sandbox::User=root"
)
apt-get "${options[@]}" -qq update >&2
cd "$dir"
apt-get "${options[@]}" -qq --download-only source redis >&2
mkdir -p suite
tar -xzf redis_7.0.*.orig.tar.gz -C suite --strip-components=1
[ -x suite/runtest ] || { echo "the source package holds no runtest" >&2; exit 69; }
echo "$dir/suite"
