// The fuzz targets: one program, the target is named by the environment variable FUZZ_TARGET.
//
// Each target does more than not to crash: it compares what a parser makes of the input as a whole with
// what it makes of it in pieces, or turns what was decoded back into bytes. FUZZ_PLANTED=1 plants one
// mistake in each target, which planted.sh shows to be found.

import CFuzzer
import Glibc

/// Something that takes any bytes. Traps when it finds a mistake.
struct Target: Sendable {
  var name: String
  var run: @Sendable (UnsafeRawBufferPointer) -> Void
}

let targets: [Target] = [
  Target(name: "request", run: fuzzRequest),
  Target(name: "reply", run: fuzzReply),
  Target(name: "datagram", run: fuzzDatagram),
  Target(name: "stream", run: fuzzStream),
  Target(name: "change", run: fuzzChange),
  Target(name: "log", run: fuzzLog),
  Target(name: "flags", run: fuzzFlags),
  Target(name: "peer", run: fuzzPeer),
]

/// The target that FUZZ_TARGET names.
let chosen: Target = {
  let name = getenv("FUZZ_TARGET").map { String(cString: $0) } ?? ""
  guard let target = targets.first(where: { $0.name == name }) else {
    let names = targets.map(\.name).joined(separator: " ")
    let line = Array("fuzz: set FUZZ_TARGET to one of: \(names)\n".utf8)
    _ = write(2, line, line.count)
    exit(2)
  }
  return target
}()

private let isPlanted = getenv("FUZZ_PLANTED") != nil

/// Stops the run: the input found a mistake.
func expect(_ condition: Bool, _ sentence: @autoclosure () -> String) {
  if !condition { fatalError(sentence()) }
}

/// The place of a target's planted mistake: when mistakes are planted, getting here is one.
func plantedMistake(when condition: Bool) {
  if isPlanted, condition { fatalError("planted mistake") }
}

@_cdecl("LLVMFuzzerTestOneInput")
func testOneInput(_ bytes: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
  chosen.run(UnsafeRawBufferPointer(start: bytes, count: count))
  return 0
}

@main enum Fuzz {
  static func main() {
    _ = chosen
    var count = CommandLine.argc
    var arguments: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>? = CommandLine.unsafeArgv
    exit(LLVMFuzzerRunDriver(&count, &arguments) { testOneInput($0, $1) })
  }
}

/// Copies bytes to the heap with nothing behind them, so that AddressSanitizer sees each read past
/// the end; calls `body` with the copy.
func withHeapCopy<R>(
  _ bytes: UnsafeRawBufferPointer, _ body: (UnsafeMutableRawBufferPointer) -> R
) -> R {
  let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count, alignment: 1)
  defer { copy.deallocate() }
  copy.copyMemory(from: bytes)
  return body(copy)
}
