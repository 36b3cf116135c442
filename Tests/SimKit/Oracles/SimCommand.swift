/// One command on one key of a group, as clients send it and as the model understands it.
///
/// `slot` is the key's place within its group: the unit whose history is checked as one object.
struct SimCommand: Hashable {
  enum Verb: Hashable {
    case get
    case getVersion
    case set([UInt8], expiryMillis: Int64?)
    case setIfAbsent([UInt8])
    case update([UInt8])
    case delete
    case getDelete
    case increment(Int64)
    case append([UInt8])
    case compareAndSet(version: String, [UInt8])
    case expire(millis: Int64)
    case persist
    case flush
  }

  var slot: Int
  var verb: Verb

  var changes: Bool {
    switch verb {
    case .get, .getVersion: false
    default: true
    }
  }

  /// Bytes of its value.
  var byteCount: Int {
    switch verb {
    case .set(let value, _), .setIfAbsent(let value), .update(let value), .append(let value),
      .compareAndSet(_, let value):
      value.count
    default: 0
    }
  }

  /// The RESP words for a group called `group`.
  func words(group: String) -> [[UInt8]] {
    let key = "\(group):\(slot)"
    switch verb {
    case .get: return Self.words("GET", key)
    case .getVersion: return Self.words("GETV", key)
    case .set(let value, let expiry):
      let words = Self.words("SET", key) + [value]
      guard let expiry else { return words }
      return words + Self.words("PX", "\(expiry)")
    case .setIfAbsent(let value): return Self.words("SETNX", key) + [value]
    case .update(let value): return Self.words("UPDATE", key) + [value]
    case .delete: return Self.words("DEL", key)
    case .getDelete: return Self.words("GETDEL", key)
    case .increment(let amount): return Self.words("INCRBY", key, "\(amount)")
    case .append(let value): return Self.words("APPEND", key) + [value]
    case .compareAndSet(let version, let value):
      return Self.words("CAS", key, version) + [value]
    case .expire(let millis): return Self.words("PEXPIRE", key, "\(millis)")
    case .persist: return Self.words("PERSIST", key)
    case .flush: return Self.words("FLUSHALL")
    }
  }

  private static func words(_ words: String...) -> [[UInt8]] { words.map { Array($0.utf8) } }

  var text: String {
    switch verb {
    case .get: "get \(slot)"
    case .getVersion: "getv \(slot)"
    case .set(let value, let expiry):
      "set \(slot) \(Reply.text(of: value))" + (expiry.map { " px \($0)" } ?? "")
    case .setIfAbsent(let value): "setnx \(slot) \(Reply.text(of: value))"
    case .update(let value): "update \(slot) \(Reply.text(of: value))"
    case .delete: "del \(slot)"
    case .getDelete: "getdel \(slot)"
    case .increment(let amount): "incrby \(slot) \(amount)"
    case .append(let value): "append \(slot) \(Reply.text(of: value))"
    case .compareAndSet(let version, let value):
      "cas \(slot) \(version) \(Reply.text(of: value))"
    case .expire(let millis): "pexpire \(slot) \(millis)"
    case .persist: "persist \(slot)"
    case .flush: "flushall"
    }
  }
}
