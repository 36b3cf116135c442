import Base
import Glibc

/// Standard input, output and error, without buffers of their own.
enum StandardStreams {
  /// The largest value that any server takes; more is not read.
  static let inputByteCountMax = 512 << 20

  /// True when standard input is a terminal.
  static var isInteractive: Bool { isatty(STDIN_FILENO) == 1 }

  /// Writes to standard output; false when it takes no more.
  static func writeOutput(_ bytes: [UInt8]) -> Bool { write(bytes, to: STDOUT_FILENO) }

  /// Writes to standard error; false when it takes no more.
  static func writeError(_ bytes: [UInt8]) -> Bool { write(bytes, to: STDERR_FILENO) }

  /// Standard input to its end.
  static func readInput() throws(UsageError) -> [UInt8] {
    var bytes: [UInt8] = []
    while try readMore(of: STDIN_FILENO, "standard input", into: &bytes) {
      guard bytes.count <= inputByteCountMax else {
        throw UsageError(
          "standard input is larger than \(renderByteCount(UInt64(inputByteCountMax)))")
      }
    }
    return bytes
  }

  /// The first line of a file, without its end.
  static func readFirstLine(of path: String) throws(UsageError) -> [UInt8] {
    let descriptor = open(path, O_RDONLY | O_CLOEXEC)
    guard descriptor >= 0 else { throw UsageError("cannot read \(path): \(reason(errno))") }
    defer { close(descriptor) }
    var bytes: [UInt8] = []
    while !bytes.contains(10), bytes.count < 1 << 20 {
      guard try readMore(of: descriptor, path, into: &bytes) else { break }
    }
    let line = bytes.prefix { $0 != 10 }
    return Array(line.last == 13 ? line.dropLast() : line)
  }

  /// Appends what can be read at once; false at the end.
  static func readMore(
    of descriptor: Int32, _ name: String, into bytes: inout [UInt8]
  ) throws(UsageError) -> Bool {
    let chunk = 64 << 10
    while true {
      let place = UnsafeMutableRawBufferPointer.allocate(byteCount: chunk, alignment: 16)
      defer { place.deallocate() }
      let count = Glibc.read(descriptor, place.baseAddress, chunk)
      if count < 0, errno == EINTR { continue }
      if count < 0 { throw UsageError("cannot read \(name): \(reason(errno))") }
      bytes.append(
        contentsOf: UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(place)[..<count]))
      return count > 0
    }
  }

  private static func write(_ bytes: [UInt8], to descriptor: Int32) -> Bool {
    bytes.withUnsafeBytes { all in
      var rest = all
      while let base = rest.baseAddress, !rest.isEmpty {
        let count = Glibc.write(descriptor, base, rest.count)
        if count < 0, errno == EINTR { continue }
        guard count > 0 else { return false }
        rest = UnsafeRawBufferPointer(rebasing: rest[count...])
      }
      return true
    }
  }

  private static func reason(_ code: Int32) -> String {
    strerror(code).map { String(cString: $0) } ?? "error \(code)"
  }
}

/// The lines of standard input, each as soon as it is whole.
struct LineInput {
  /// The longest line, in bytes: a value of 16 MiB with every byte written as `\xHH`.
  static let lineByteCountMax = 65 << 20

  /// Lines taken so far; the number of the one taken last.
  private(set) var lineCount = 0
  private var pending: [UInt8] = []
  private var start = 0
  private var scanned = 0
  private var isAtEnd = false

  /// The next line without its end, or nil at the end of the input.
  mutating func next() throws(UsageError) -> [UInt8]? {
    while true {
      if let feed = pending[scanned...].firstIndex(of: 10) { return take(to: feed, next: feed + 1) }
      scanned = pending.count
      if isAtEnd {
        return start < pending.count ? take(to: pending.count, next: pending.count) : nil
      }
      pending.removeSubrange(..<start)
      scanned -= start
      start = 0
      guard pending.count <= Self.lineByteCountMax else {
        lineCount += 1
        throw UsageError(
          "the line is longer than \(renderByteCount(UInt64(Self.lineByteCountMax)))")
      }
      isAtEnd = try !StandardStreams.readMore(of: STDIN_FILENO, "standard input", into: &pending)
    }
  }

  private mutating func take(to end: Int, next: Int) -> [UInt8] {
    let line = pending[start..<end]
    lineCount += 1
    start = next
    scanned = next
    return Array(line.last == 13 ? line.dropLast() : line)
  }
}
