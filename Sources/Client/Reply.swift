/// One value that a server sent: the kinds of RESP2, and those of RESP3 that carry more.
public enum Reply: Hashable, Sendable {
  /// A short line such as `OK`; big numbers arrive here too, as their digits.
  case simple([UInt8])
  /// An error, whole or as one element of a transaction's results.
  case error(ServerError)
  /// A 64-bit integer.
  case integer(Int64)
  /// Any bytes; RESP3's verbatim strings arrive here without their three-letter format.
  case bytes([UInt8])
  /// Nothing: an absent key.
  case null
  /// Replies in order; RESP3's sets and pushes arrive here too.
  case array([Reply])
  /// RESP3: keys and values by turns, as they were sent.
  case map([Reply])
  /// RESP3: a truth value.
  case boolean(Bool)
  /// RESP3: a floating-point number, as its text.
  case double([UInt8])
}

extension Reply {
  /// The bytes of a simple or bulk string; nil for the other kinds.
  public var bytes: [UInt8]? {
    switch self {
    case .simple(let bytes), .bytes(let bytes), .double(let bytes): bytes
    default: nil
    }
  }

  /// The integer, or a string that is one; nil otherwise.
  public var integer: Int64? {
    switch self {
    case .integer(let value): value
    case .simple(let digits), .bytes(let digits):
      Int64(String(decoding: digits, as: UTF8.self))
    default: nil
    }
  }

  /// The elements of an array or a map; nil for the other kinds.
  public var elements: [Reply]? {
    switch self {
    case .array(let elements), .map(let elements): elements
    default: nil
    }
  }

  /// The error, if this is one.
  public var error: ServerError? {
    if case .error(let error) = self { error } else { nil }
  }
}

/// An error that the server answered, such as `WRONGTYPE ...`: its first word says what kind it is.
public struct ServerError: Error, Hashable, Sendable, CustomStringConvertible {
  /// The whole line as it was sent, without the leading `-`.
  public var text: String

  /// Keeps the line of an error reply.
  public init(_ text: String) { self.text = text }

  /// The first word, such as `NOAUTH`; `ERR` where a server sent no code word.
  public var code: String {
    let word = text.prefix { $0 != " " }
    let isCode = !word.isEmpty && word.utf8.allSatisfy { ($0 >= 65 && $0 <= 90) || $0 == 95 }
    return isCode ? String(word) : "ERR"
  }

  /// The line without its code word, for a person.
  public var sentence: String {
    guard text.hasPrefix(code + " ") else { return text }
    return String(text.dropFirst(code.count + 1))
  }

  /// The whole line.
  public var description: String { text }
}
