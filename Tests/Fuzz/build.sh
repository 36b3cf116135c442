# Builds the fuzz program; sourced by run.sh and planted.sh. Sets `program`.
#
# libFuzzer's coverage and AddressSanitizer go into every module; lld, because gold fails on the
# sanitizer's symbols.
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
program=.build-fuzz/debug/fuzz
mkdir -p .build-fuzz
swift build --package-path Tests/Fuzz --scratch-path .build-fuzz --product fuzz \
  -Xswiftc -sanitize=fuzzer,address -Xswiftc -parse-as-library -Xswiftc -use-ld=lld -Xswiftc -O \
  >.build-fuzz/build.log 2>&1 || { tail -40 .build-fuzz/build.log; exit 1; }
# A backtrace of a sanitized program can hang for minutes.
export SWIFT_BACKTRACE=enable=no
export ASAN_OPTIONS=${ASAN_OPTIONS:-detect_leaks=0:allocator_may_return_null=0}
all_targets=(request reply datagram stream change log flags peer)
