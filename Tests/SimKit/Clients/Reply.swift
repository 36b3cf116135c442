/// One RESP2 reply, as a client of its own making reads it (not the node's code read backwards).
indirect enum Reply: Hashable {
  case status(String)
  case error(String)
  case integer(Int64)
  case bulk([UInt8])
  case null
  case array([Reply])

  var isError: Bool {
    if case .error = self { return true }
    return false
  }

  /// The first word of an error.
  var errorCode: String? {
    guard case .error(let text) = self else { return nil }
    return String(text.prefix { $0 != " " })
  }

  /// Short text for failures and traces.
  var text: String {
    switch self {
    case .status(let text): "+\(text)"
    case .error(let text): "-\(text)"
    case .integer(let value): ":\(value)"
    case .bulk(let bytes): Self.text(of: bytes)
    case .null: "null"
    case .array(let items): "[" + items.map(\.text).joined(separator: " ") + "]"
    }
  }

  /// Bytes as text; long ones by their beginning and count.
  static func text(of bytes: [UInt8]) -> String {
    guard bytes.count > 40 else { return "'" + String(decoding: bytes, as: UTF8.self) + "'" }
    return "'" + String(decoding: bytes.prefix(40), as: UTF8.self) + "…'(\(bytes.count))"
  }
}

/// What `ReplyReader.next` found.
enum ReplyProgress {
  case reply(Reply)
  /// More bytes are needed.
  case incomplete
  /// These bytes are no RESP: the node's fault, for streams arrive undamaged.
  case malformed
}

/// Reads replies out of a byte stream.
struct ReplyReader {
  private var bytes: [UInt8] = []
  private var position = 0
  /// The reply that begins at `position` ends at or behind it.
  private var end = 0

  mutating func append(_ more: [UInt8]) {
    if position == bytes.count {
      bytes = more
      position = 0
      end = 0
    } else {
      bytes += more
    }
  }

  var isEmpty: Bool { position == bytes.count }

  mutating func next() -> ReplyProgress {
    guard bytes.count >= end else { return .incomplete }
    var place = position
    let progress = parse(&place)
    if case .reply = progress { position = place }
    return progress
  }

  private mutating func parse(_ place: inout Int) -> ReplyProgress {
    guard place < bytes.count else { return .incomplete }
    let kind = bytes[place]
    guard let line = line(after: place + 1) else { return .incomplete }
    let text = String(decoding: bytes[place + 1..<line], as: UTF8.self)
    place = line + 2
    switch kind {
    case UInt8(ascii: "+"): return .reply(.status(text))
    case UInt8(ascii: "-"): return .reply(.error(text))
    case UInt8(ascii: ":"): return Int64(text).map { .reply(.integer($0)) } ?? .malformed
    case UInt8(ascii: "$"): return parseBulk(Int(text), &place)
    case UInt8(ascii: "*"): return parseArray(Int(text), &place)
    case UInt8(ascii: "_"): return .reply(.null)
    default: return .malformed
    }
  }

  private func line(after start: Int) -> Int? {
    var index = start
    while index + 1 < bytes.count {
      if bytes[index] == 13, bytes[index + 1] == 10 { return index }
      index += 1
    }
    return nil
  }

  private mutating func parseBulk(_ count: Int?, _ place: inout Int) -> ReplyProgress {
    guard let count else { return .malformed }
    if count < 0 { return .reply(.null) }
    end = place + count + 2
    guard end <= bytes.count else { return .incomplete }
    let value = Array(bytes[place..<place + count])
    guard bytes[place + count] == 13, bytes[place + count + 1] == 10 else { return .malformed }
    place += count + 2
    return .reply(.bulk(value))
  }

  private mutating func parseArray(_ count: Int?, _ place: inout Int) -> ReplyProgress {
    guard let count else { return .malformed }
    if count < 0 { return .reply(.null) }
    var items: [Reply] = []
    for _ in 0..<count {
      switch parse(&place) {
      case .reply(let item): items.append(item)
      case .incomplete: return .incomplete
      case .malformed: return .malformed
      }
    }
    return .reply(.array(items))
  }
}

/// Encodes commands as RESP arrays.
enum Request {
  static func append(_ words: [[UInt8]], to bytes: inout [UInt8]) {
    bytes += Array("*\(words.count)\r\n".utf8)
    for word in words {
      bytes += Array("$\(word.count)\r\n".utf8)
      bytes += word
      bytes += [13, 10]
    }
  }
}
