public import Base

/// What a client takes from a server at most, so that a broken or hostile one cannot exhaust it.
public struct ReplyLimits: Sendable {
  /// Bytes of one line: lengths, integers, simple strings and errors.
  public var lineByteCountMax = 64 << 10
  /// Bytes of one bulk string; the largest value a server can be set up for.
  public var bulkByteCountMax = 512 << 20
  /// Elements of one reply, nested ones included.
  public var elementCountMax = 16 << 20
  /// Arrays within arrays.
  public var depthMax = 32

  /// The limits as above.
  public init() {}
}

/// Why bytes are not a reply. The connection is of no use afterwards.
public enum ReplyError: Error, Hashable, Sendable {
  /// A reply begins with a byte that stands for no kind.
  case unknownKind(UInt8)
  /// A length or an integer that is none, or a truth value that is neither `t` nor `f`.
  case malformedNumber
  /// A line or a bulk string is not followed by CR LF.
  case missingLineEnd
  /// A limit of `ReplyLimits` was passed.
  case tooLarge
}

extension ReplyError: CustomStringConvertible {
  /// One phrase for messages to a person.
  public var description: String {
    switch self {
    case .unknownKind(let byte): "a reply cannot begin with byte \(byte)"
    case .malformedNumber: "a number in the reply is malformed"
    case .missingLineEnd: "a part of the reply does not end where it should"
    case .tooLarge: "the reply is larger than this client takes"
    }
  }
}

/// Takes replies apart as their bytes come in, without looking at any byte twice.
///
/// Append what was received to `input`, then call `next` until it answers nil. Pure.
public struct RespReader: ~Copyable {
  /// The bytes received and not yet taken apart.
  public var input = ByteBuffer()
  private let limits: ReplyLimits
  /// Arrays that have begun, the outermost first. Invariant: each still lacks an element.
  private var frames: [Frame] = []
  /// The string whose length line was read and whose bytes are awaited.
  private var awaited: AwaitedString?
  /// Bytes at the front of `input` that are known to hold no line feed.
  private var scannedByteCount = 0
  /// Elements of the reply under way, for its limit.
  private var elementCount = 0
  private var failure: ReplyError?

  /// Reads from the beginning of a stream or message.
  public init(limits: ReplyLimits = ReplyLimits()) { self.limits = limits }

  /// True between two replies: nothing has been read of a next one.
  public var isAtBoundary: Bool { input.isEmpty && frames.isEmpty && awaited == nil }

  /// The next whole reply, or nil until more bytes are appended. After an error it throws for ever.
  ///
  /// - Complexity: O(bytes appended), over all calls.
  public mutating func next() throws(ReplyError) -> Reply? {
    if let failure { throw failure }
    do throws(ReplyError) {
      return try advance()
    } catch {
      failure = error
      throw error
    }
  }

  // MARK: Parsing

  private mutating func advance() throws(ReplyError) -> Reply? {
    while true {
      switch try awaited == nil ? readHeader() : readString() {
      case .incomplete: return nil
      case .opened: continue
      case .value(let value):
        guard let reply = close(with: value) else { continue }
        elementCount = 0
        return reply
      }
    }
  }

  /// Hands a finished value to the innermost array, and that one on if it is finished now; nil
  /// while the outermost is not.
  private mutating func close(with value: Reply) -> Reply? {
    var value = value
    while !frames.isEmpty {
      let last = frames.count - 1
      frames[last].missingCount -= 1
      frames[last].elements.append(value)
      guard frames[last].missingCount == 0 else { return nil }
      let frame = frames.removeLast()
      switch frame.kind {
      case .array: value = .array(frame.elements)
      case .map: value = .map(frame.elements)
      case .attribute: return nil  // Remarks on the reply that follows; nobody asked for them.
      }
    }
    return value
  }

  private mutating func readString() throws(ReplyError) -> Step {
    guard let string = awaited, input.count >= string.byteCount + 2 else { return .incomplete }
    let bytes = input.bytes
    guard bytes[string.byteCount] == 13, bytes[string.byteCount + 1] == 10 else {
      throw .missingLineEnd
    }
    let content = Array(bytes[..<string.byteCount])
    input.consume(string.byteCount + 2)
    awaited = nil
    switch string.kind {
    case .bulk: return .value(.bytes(content))
    case .verbatim: return .value(.bytes(Array(content.dropFirst(4))))
    case .error: return .value(.error(ServerError(String(decoding: content, as: UTF8.self))))
    }
  }

  private mutating func readHeader() throws(ReplyError) -> Step {
    guard let line = try takeLine() else { return .incomplete }
    guard let kind = line.first else { throw .unknownKind(13) }
    elementCount += 1
    guard elementCount <= limits.elementCountMax else { throw .tooLarge }
    let rest = line[1...]
    switch kind {
    case UInt8(ascii: "+"), UInt8(ascii: "("): return .value(.simple(Array(rest)))
    case UInt8(ascii: "-"):
      return .value(.error(ServerError(String(decoding: rest, as: UTF8.self))))
    case UInt8(ascii: ":"): return .value(.integer(try Self.number(rest)))
    case UInt8(ascii: "_"): return .value(.null)
    case UInt8(ascii: ","): return .value(.double(Array(rest)))
    case UInt8(ascii: "#"): return .value(.boolean(try Self.truth(rest)))
    case UInt8(ascii: "$"): return try openString(.bulk, rest)
    case UInt8(ascii: "="): return try openString(.verbatim, rest)
    case UInt8(ascii: "!"): return try openString(.error, rest)
    case UInt8(ascii: "*"), UInt8(ascii: "~"), UInt8(ascii: ">"): return try open(.array, rest)
    case UInt8(ascii: "%"): return try open(.map, rest)
    case UInt8(ascii: "|"): return try open(.attribute, rest)
    default: throw .unknownKind(kind)
    }
  }

  private mutating func openString(
    _ kind: AwaitedString.Kind, _ digits: ArraySlice<UInt8>
  ) throws(ReplyError) -> Step {
    let count = try Self.number(digits)
    if count == -1 { return .value(.null) }
    guard count >= 0 else { throw .malformedNumber }
    guard count <= limits.bulkByteCountMax else { throw .tooLarge }
    awaited = AwaitedString(kind: kind, byteCount: Int(count))
    return .opened
  }

  private mutating func open(
    _ kind: Frame.Kind, _ digits: ArraySlice<UInt8>
  ) throws(ReplyError) -> Step {
    let count = try Self.number(digits)
    if count == -1 { return .value(.null) }
    guard count >= 0 else { throw .malformedNumber }
    guard count <= limits.elementCountMax, frames.count < limits.depthMax else { throw .tooLarge }
    let total = kind == .array ? Int(count) : 2 * Int(count)
    guard total > 0 else {
      if kind == .attribute { return .opened }
      return .value(kind == .map ? .map([]) : .array([]))
    }
    var frame = Frame(kind: kind, missingCount: total)
    // What is declared is not there yet: a length alone must not cost memory.
    frame.elements.reserveCapacity(min(total, 1024))
    frames.append(frame)
    return .opened
  }

  /// The next line without its CR LF, or nil until it is whole.
  private mutating func takeLine() throws(ReplyError) -> [UInt8]? {
    let bytes = input.bytes
    let end = min(bytes.count, limits.lineByteCountMax + 2)
    guard let feed = bytes[scannedByteCount..<end].firstIndex(of: 10) else {
      guard bytes.count < limits.lineByteCountMax + 2 else { throw .tooLarge }
      scannedByteCount = end
      return nil
    }
    scannedByteCount = 0
    guard feed > 0, bytes[feed - 1] == 13 else { throw .missingLineEnd }
    let line = Array(bytes[..<(feed - 1)])
    input.consume(feed + 1)
    return line
  }

  private static func number(_ digits: ArraySlice<UInt8>) throws(ReplyError) -> Int64 {
    guard let value = digits.withUnsafeBytes({ parseDecimal($0) }) else { throw .malformedNumber }
    return value
  }

  private static func truth(_ letter: ArraySlice<UInt8>) throws(ReplyError) -> Bool {
    guard letter.count == 1 else { throw .malformedNumber }
    switch letter.first {
    case UInt8(ascii: "t"): return true
    case UInt8(ascii: "f"): return false
    default: throw .malformedNumber
    }
  }
}

// MARK: Parts

/// What one look at the input gave.
private enum Step {
  case incomplete
  /// A length was read; its content follows.
  case opened
  case value(Reply)
}

/// An array, map or attribute that lacks elements.
private struct Frame {
  enum Kind { case array, map, attribute }
  var kind: Kind
  var missingCount: Int
  var elements: [Reply] = []
}

/// A string whose length is known.
private struct AwaitedString {
  enum Kind { case bulk, verbatim, error }
  var kind: Kind
  var byteCount: Int
}
