import Base

/// The keys of the load and the value that belongs to each, made ahead so that a request costs a
/// 16-byte copy.
///
/// Key k is `key:` and 12 digits. Its value begins with the key's bytes from the last to the first
/// (as many as fit), the rest is `x`; so a value read under the wrong key is noticed.
struct KeySpace: ~Copyable {
  static var keyByteCount: Int { 16 }

  let count: Int
  let valueByteCount: Int
  /// Bytes at the front of a value that differ from key to key.
  let prefixByteCount: Int
  private let keys: UnsafeMutableRawPointer
  private let prefixes: UnsafeMutableRawPointer

  init(count: Int, valueByteCount: Int) {
    self.count = count
    self.valueByteCount = valueByteCount
    prefixByteCount = min(valueByteCount, Self.keyByteCount)
    keys = .allocate(byteCount: count * Self.keyByteCount, alignment: 16)
    prefixes = .allocate(byteCount: count * Self.keyByteCount, alignment: 16)
    for index in 0..<count {
      let key = keys + index * Self.keyByteCount
      key.copyMemory(from: "key:", byteCount: 4)
      var rest = index
      for place in stride(from: 15, through: 4, by: -1) {
        key.storeBytes(of: UInt8(48 + rest % 10), toByteOffset: place, as: UInt8.self)
        rest /= 10
      }
      let prefix = prefixes + index * Self.keyByteCount
      for place in 0..<16 {
        prefix.storeBytes(
          of: key.load(fromByteOffset: 15 - place, as: UInt8.self), toByteOffset: place,
          as: UInt8.self)
      }
    }
  }

  deinit {
    keys.deallocate()
    prefixes.deallocate()
  }

  /// Writes key `index` at `place`.
  @inline(__always)
  func putKey(_ index: Int, at place: UnsafeMutableRawPointer) {
    place.copyMemory(from: keys + index * Self.keyByteCount, byteCount: 16)
  }

  /// Writes the part of the value that differs from key to key; the rest stands in the template.
  @inline(__always)
  func putValue(_ index: Int, at place: UnsafeMutableRawPointer) {
    place.copyMemory(from: prefixes + index * Self.keyByteCount, byteCount: prefixByteCount)
  }

  /// True when `value` is what belongs to the key that stands at `key`.
  func matches(key: UnsafeRawPointer, value: UnsafeRawPointer) -> Bool {
    for place in 0..<prefixByteCount
    where value.load(fromByteOffset: place, as: UInt8.self)
      != key.load(fromByteOffset: 15 - place, as: UInt8.self)
    {
      return false
    }
    for place in prefixByteCount..<valueByteCount
    where value.load(fromByteOffset: place, as: UInt8.self) != UInt8(ascii: "x") {
      return false
    }
    return true
  }
}

/// The bytes of one request with holes for key and value, and what its reply looks like.
struct RequestTemplate {
  var bytes: [UInt8]
  var keyOffset: Int
  /// Where the value begins, or nil when the request carries none.
  var valueOffset: Int?
  /// The reply's bytes in front of the value, or all of them when it carries none.
  var replyHead: [UInt8]
  var replyByteCount: Int
  var replyCarriesValue: Bool
  /// Bytes in the reply's head that are the key and so differ: memcached repeats it.
  var replyKeyOffset: Int?

  private static let hole = [UInt8](repeating: UInt8(ascii: "0"), count: KeySpace.keyByteCount)

  /// A RESP2 command.
  static func resp(_ verb: LoadOptions.Verb, valueByteCount: Int) -> RequestTemplate {
    let value = [UInt8](repeating: UInt8(ascii: "x"), count: valueByteCount)
    let bulk = Array("$\(valueByteCount)\r\n".utf8)
    switch verb {
    case .get:
      let head = Array("*2\r\n$3\r\nGET\r\n$16\r\n".utf8)
      return RequestTemplate(
        bytes: head + hole + Array("\r\n".utf8), keyOffset: head.count, valueOffset: nil,
        replyHead: bulk, replyByteCount: bulk.count + valueByteCount + 2, replyCarriesValue: true)
    case .set:
      let head = Array("*3\r\n$3\r\nSET\r\n$16\r\n".utf8)
      let front = head + hole + Array("\r\n".utf8) + bulk
      return RequestTemplate(
        bytes: front + value + Array("\r\n".utf8), keyOffset: head.count,
        valueOffset: front.count, replyHead: Array("+OK\r\n".utf8), replyByteCount: 5,
        replyCarriesValue: false)
    }
  }

  /// A line of memcached's text protocol.
  static func memcached(_ verb: LoadOptions.Verb, valueByteCount: Int) -> RequestTemplate {
    let value = [UInt8](repeating: UInt8(ascii: "x"), count: valueByteCount)
    switch verb {
    case .get:
      let head = Array("VALUE ".utf8) + hole + Array(" 0 \(valueByteCount)\r\n".utf8)
      return RequestTemplate(
        bytes: Array("get ".utf8) + hole + Array("\r\n".utf8), keyOffset: 4, valueOffset: nil,
        replyHead: head, replyByteCount: head.count + valueByteCount + 7, replyCarriesValue: true,
        replyKeyOffset: 6)
    case .set:
      let front = Array("set ".utf8) + hole + Array(" 0 0 \(valueByteCount)\r\n".utf8)
      return RequestTemplate(
        bytes: front + value + Array("\r\n".utf8), keyOffset: 4, valueOffset: front.count,
        replyHead: Array("STORED\r\n".utf8), replyByteCount: 8, replyCarriesValue: false)
    }
  }
}
