import Base

/// What one attempt to take a command off the input gave.
enum ParseStep {
  /// A command is in the argument list (none for an empty line); it took so many bytes.
  case command(byteCount: Int)
  /// More bytes are needed.
  case incomplete
  /// What no client of the protocol sends; the connection is closed after this error.
  case invalid(ProtocolError)
  /// A line of HTTP; the connection gets an HTTP answer and is closed.
  case http
}

/// Redis's own words for the protocol errors that clients and its test suite know.
enum ProtocolError {
  case multibulkLength, bulkLength
  case expectedDollar(UInt8)
  case unbalancedQuotes, inlineTooLong
  case unauthenticatedMultibulk, unauthenticatedBulk

  var text: String {
    switch self {
    case .multibulkLength: "ERR Protocol error: invalid multibulk length"
    case .bulkLength: "ERR Protocol error: invalid bulk length"
    case .expectedDollar(let byte):
      "ERR Protocol error: expected '$', got '\(Character(UnicodeScalar(byte)))'"
    case .unbalancedQuotes: "ERR Protocol error: unbalanced quotes in request"
    case .inlineTooLong: "ERR Protocol error: too big inline request"
    case .unauthenticatedMultibulk: "ERR Protocol error: unauthenticated multibulk length"
    case .unauthenticatedBulk: "ERR Protocol error: unauthenticated bulk length"
    }
  }
}

/// How far an unfinished command has been looked at, so that bytes that trickle in are looked at
/// once, not again with every arrival.
struct ParseProgress {
  /// Bytes from the start of the command that need no second look.
  var offset = 0
  /// Arguments still to come; -1: the header has not been read.
  var argumentsLeft = -1
  /// Do not look before there are this many bytes.
  var wanted = 1

  static let none = ParseProgress()
}

/// Takes commands off a run of bytes: RESP arrays of bulk strings, and inline lines.
///
/// Pure and without state of its own; the unfinished command's `ParseProgress` belongs to the
/// session. Bounds: `argumentCountMax`, `bulkByteCountMax`, `NodeOptions.inlineByteCountMax`.
struct RequestParser: ~Copyable {
  var arguments = ArgumentList()
  /// The largest argument, in bytes.
  var bulkByteCountMax: Int
  /// Unescaped arguments of the inline command at hand.
  private var inline = ByteBuffer()

  init(bulkByteCountMax: Int) { self.bulkByteCountMax = bulkByteCountMax }

  /// Takes one command from the start of `input`.
  mutating func parse(
    _ input: UnsafeRawBufferPointer, _ progress: inout ParseProgress, authenticated: Bool
  ) -> ParseStep {
    guard input.count >= progress.wanted else { return .incomplete }
    if progress.offset > 0 {
      // A second look at an unfinished command: only find its end.
      if let step = scan(input, &progress, authenticated: authenticated) { return step }
    }
    if input[0] != UInt8(ascii: "*") { return parseInline(input, &progress) }
    return parseArray(input, &progress, authenticated: authenticated)
  }

  // MARK: Arrays

  @inline(__always) private mutating func parseArray(
    _ input: UnsafeRawBufferPointer, _ progress: inout ParseProgress, authenticated: Bool
  ) -> ParseStep {
    arguments.removeAll()
    var at = 1
    let header = Self.number(input, &at)
    guard case .value(let count) = header else {
      if case .incomplete = header {
        progress.wanted = input.count + 1
        return .incomplete
      }
      return .invalid(.multibulkLength)
    }
    if let error = checkCount(count, authenticated) { return .invalid(error) }
    var left = count
    while left > 0 {
      let start = at
      guard at < input.count else {
        return pause(&progress, at: start, left: left, wanted: start + 1)
      }
      guard input[at] == UInt8(ascii: "$") else { return .invalid(.expectedDollar(input[at])) }
      at += 1
      switch Self.number(input, &at) {
      case .incomplete:
        return pause(&progress, at: start, left: left, wanted: input.count + 1)
      case .invalid: return .invalid(.bulkLength)
      case .value(let length):
        if let error = checkLength(length, authenticated) { return .invalid(error) }
        guard at + length + 2 <= input.count else {
          return pause(&progress, at: start, left: left, wanted: at + length + 2)
        }
        arguments.append(UnsafeRawBufferPointer(rebasing: input[at..<(at + length)]))
        at += length + 2
      }
      left -= 1
    }
    progress = .none
    return .command(byteCount: at)
  }

  /// Goes on where the last look at an unfinished array ended; nil once all of it is there.
  private func scan(
    _ input: UnsafeRawBufferPointer, _ progress: inout ParseProgress, authenticated: Bool
  ) -> ParseStep? {
    var at = progress.offset
    while progress.argumentsLeft > 0 {
      let start = at
      guard at < input.count else {
        return pause(&progress, at: start, left: progress.argumentsLeft, wanted: start + 1)
      }
      guard input[at] == UInt8(ascii: "$") else { return .invalid(.expectedDollar(input[at])) }
      at += 1
      switch Self.number(input, &at) {
      case .incomplete:
        return pause(
          &progress, at: start, left: progress.argumentsLeft, wanted: input.count + 1)
      case .invalid: return .invalid(.bulkLength)
      case .value(let length):
        if let error = checkLength(length, authenticated) { return .invalid(error) }
        guard at + length + 2 <= input.count else {
          return pause(
            &progress, at: start, left: progress.argumentsLeft, wanted: at + length + 2)
        }
        at += length + 2
      }
      progress.argumentsLeft -= 1
    }
    return nil
  }

  private func pause(
    _ progress: inout ParseProgress, at offset: Int, left: Int, wanted: Int
  ) -> ParseStep {
    progress.offset = offset
    progress.argumentsLeft = left
    progress.wanted = wanted
    return .incomplete
  }

  @inline(__always) private func checkCount(_ count: Int, _ authenticated: Bool) -> ProtocolError? {
    if count > NodeOptions.argumentCountMax { return .multibulkLength }
    if !authenticated, count > NodeOptions.argumentCountMaxBeforeAuth {
      return .unauthenticatedMultibulk
    }
    return nil
  }

  @inline(__always) private func checkLength(_ length: Int, _ authenticated: Bool)
    -> ProtocolError?
  {
    if length < 0 || length > bulkByteCountMax { return .bulkLength }
    if !authenticated, length > NodeOptions.argumentByteCountMaxBeforeAuth {
      return .unauthenticatedBulk
    }
    return nil
  }

  private enum Number {
    case value(Int)
    case incomplete, invalid
  }

  /// Reads a decimal and its CRLF from `at` on; moves `at` behind them when they are whole.
  @inline(__always) private static func number(_ input: UnsafeRawBufferPointer, _ at: inout Int)
    -> Number
  {
    var index = at
    let end = input.count
    guard index < end else { return .incomplete }
    let negative = input[index] == UInt8(ascii: "-")
    if negative { index += 1 }
    var value = 0
    let first = index
    while index < end {
      let digit = input[index] &- 48
      if digit > 9 { break }
      if index - first >= 10 { return .invalid }
      value = value &* 10 &+ Int(digit)
      index += 1
    }
    guard index < end else { return .incomplete }
    guard index > first, input[index] == 13 else { return .invalid }
    guard index + 1 < end else { return .incomplete }
    guard input[index + 1] == 10 else { return .invalid }
    at = index + 2
    return .value(negative ? -value : value)
  }

  // MARK: Lines

  private mutating func parseInline(
    _ input: UnsafeRawBufferPointer, _ progress: inout ParseProgress
  ) -> ParseStep {
    arguments.removeAll()
    var newline = progress.offset
    let bound = min(input.count, NodeOptions.inlineByteCountMax)
    while newline < bound, input[newline] != 10 { newline += 1 }
    guard newline < bound else {
      if input.count > NodeOptions.inlineByteCountMax { return .invalid(.inlineTooLong) }
      progress = ParseProgress(offset: newline, argumentsLeft: 0, wanted: input.count + 1)
      return .incomplete
    }
    progress = .none
    var end = newline
    if end > 0, input[end - 1] == 13 { end -= 1 }
    let line = UnsafeRawBufferPointer(rebasing: input[0..<end])
    if Self.isHTTP(line) { return .http }
    guard split(line) else { return .invalid(.unbalancedQuotes) }
    return .command(byteCount: newline + 1)
  }

  /// Takes a whole line without its end into the argument list; false when quotes do not balance.
  mutating func parseLine(_ line: UnsafeRawBufferPointer) -> Bool {
    arguments.removeAll()
    return split(line) && arguments.count > 0
  }

  private static func isHTTP(_ line: UnsafeRawBufferPointer) -> Bool {
    guard line.count > 9 else { return false }
    let tail = UnsafeRawBufferPointer(rebasing: line[(line.count - 9)...])
    return tail.isWord(" http/1.0") || tail.isWord(" http/1.1")
  }

  /// Splits a line into arguments at white space; double quotes with escapes, single quotes
  /// without. False when quotes do not balance. Follows the rules of redis-cli's and Redis's inline
  /// commands.
  private mutating func split(_ line: UnsafeRawBufferPointer) -> Bool {
    inline.removeAll()
    inline.reserve(line.count)  // Unescaping never lengthens, so the bytes below never move.
    var at = 0
    while true {
      while at < line.count, Self.isSpace(line[at]) { at += 1 }
      guard at < line.count else { return true }
      let start = inline.count
      guard word(line, &at) else { return false }
      arguments.append(UnsafeRawBufferPointer(rebasing: inline.bytes[start...]))
    }
  }

  /// Unescapes one argument into `inline`.
  private mutating func word(_ line: UnsafeRawBufferPointer, _ at: inout Int) -> Bool {
    while at < line.count, !Self.isSpace(line[at]) {
      let byte = line[at]
      at += 1
      switch byte {
      case UInt8(ascii: "\""): guard quoted(line, &at) else { return false }
      case UInt8(ascii: "'"): guard singleQuoted(line, &at) else { return false }
      default: inline.append(byte)
      }
    }
    return true
  }

  private mutating func quoted(_ line: UnsafeRawBufferPointer, _ at: inout Int) -> Bool {
    while at < line.count {
      let byte = line[at]
      at += 1
      if byte == UInt8(ascii: "\"") { return at == line.count || Self.isSpace(line[at]) }
      guard byte == UInt8(ascii: "\\"), at < line.count else {
        inline.append(byte)
        continue
      }
      if line[at] == UInt8(ascii: "x"), at + 2 < line.count,
        let high = Self.hex(line[at + 1]), let low = Self.hex(line[at + 2])
      {
        inline.append(high << 4 | low)
        at += 3
        continue
      }
      switch line[at] {
      case UInt8(ascii: "n"): inline.append(10)
      case UInt8(ascii: "r"): inline.append(13)
      case UInt8(ascii: "t"): inline.append(9)
      case UInt8(ascii: "b"): inline.append(8)
      case UInt8(ascii: "a"): inline.append(7)
      default: inline.append(line[at])
      }
      at += 1
    }
    return false
  }

  private mutating func singleQuoted(_ line: UnsafeRawBufferPointer, _ at: inout Int) -> Bool {
    while at < line.count {
      let byte = line[at]
      at += 1
      if byte == UInt8(ascii: "'") { return at == line.count || Self.isSpace(line[at]) }
      if byte == UInt8(ascii: "\\"), at < line.count, line[at] == UInt8(ascii: "'") {
        inline.append(UInt8(ascii: "'"))
        at += 1
      } else {
        inline.append(byte)
      }
    }
    return false
  }

  private static func isSpace(_ byte: UInt8) -> Bool { byte == 32 || (byte >= 9 && byte <= 13) }

  private static func hex(_ byte: UInt8) -> UInt8? {
    switch byte {
    case 48...57: byte - 48
    case 97...102: byte - 87
    case 65...70: byte - 55
    default: nil
    }
  }
}
