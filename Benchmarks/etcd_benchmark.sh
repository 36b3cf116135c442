#!/bin/bash
# Builds etcd's own load generator, tools/benchmark, from Debian's source of etcd: it speaks gRPC.
# Usage: Benchmarks/etcd_benchmark.sh FILE    writes the program to FILE
# Needs: apt-get install golang-go dpkg-dev; apt-get build-dep etcd (with deb-src in the sources)
set -euo pipefail
[ $# -eq 1 ] || { sed -n 2,4p "$0" >&2; exit 2; }
target=$(realpath -m "$1")
home=$(mktemp -d)
trap 'rm -rf "$home"' EXIT
cd "$home"
apt-get source -qq etcd
mkdir -p path/src/go.etcd.io
ln -s "$home"/etcd-*/ path/src/go.etcd.io/etcd
cd path/src/go.etcd.io/etcd
GO111MODULE=off GOPATH="$home/path:/usr/share/gocode" GOCACHE="$home/cache" \
  go build -o "$target" ./tools/benchmark
