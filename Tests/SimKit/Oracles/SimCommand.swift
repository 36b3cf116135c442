/// The bytes that a command writes, with their digest made once: the checker executes each command
/// many times.
struct Payload: Hashable {
  let bytes: [UInt8]
  let value: Value

  init(_ bytes: [UInt8]) {
    self.bytes = bytes
    value = Value(bytes)
  }
}

/// One command on one key of a group, as clients send it and as the model understands it.
///
/// `slot` is the key's place within its group: the unit whose history is checked as one object.
struct SimCommand: Hashable {
  enum Verb: Hashable {
    case get
    case getVersion
    case set(Payload, expiryMillis: Int64?)
    case setIfAbsent(Payload)
    case update(Payload)
    case delete
    case getDelete
    case increment(Int64)
    case append([UInt8])
    case compareAndSet(version: String, Payload)
    case expire(millis: Int64)
    case persist
    case flush
    /// Watches the key until the transaction that names the ticket.
    case watch(ticket: Int)
  }

  var slot: Int
  var verb: Verb

  var changes: Bool {
    switch verb {
    case .get, .getVersion, .watch: false
    default: true
    }
  }

  /// The bytes that it writes.
  var written: [UInt8]? {
    switch verb {
    case .set(let value, _), .setIfAbsent(let value), .update(let value),
      .compareAndSet(_, let value):
      value.bytes
    case .append(let bytes): bytes
    default: nil
    }
  }

  /// The RESP words for a group called `group`.
  func words(group: String) -> [[UInt8]] {
    let key = "\(group):\(slot)"
    switch verb {
    case .get: return Self.words("GET", key)
    case .getVersion: return Self.words("GETV", key)
    case .set(let value, let expiry):
      let words = Self.words("SET", key) + [value.bytes]
      guard let expiry else { return words }
      return words + Self.words("PX", "\(expiry)")
    case .setIfAbsent(let value): return Self.words("SETNX", key) + [value.bytes]
    case .update(let value): return Self.words("UPDATE", key) + [value.bytes]
    case .delete: return Self.words("DEL", key)
    case .getDelete: return Self.words("GETDEL", key)
    case .increment(let amount): return Self.words("INCRBY", key, "\(amount)")
    case .append(let value): return Self.words("APPEND", key) + [value]
    case .compareAndSet(let version, let value):
      return Self.words("CAS", key, version) + [value.bytes]
    case .expire(let millis): return Self.words("PEXPIRE", key, "\(millis)")
    case .persist: return Self.words("PERSIST", key)
    case .flush: return Self.words("FLUSHALL")
    case .watch: return Self.words("WATCH", key)
    }
  }

  private static func words(_ words: String...) -> [[UInt8]] { words.map { Array($0.utf8) } }

  var text: String {
    switch verb {
    case .get: "get \(slot)"
    case .getVersion: "getv \(slot)"
    case .set(let value, let expiry):
      "set \(slot) \(Reply.text(of: value.bytes))" + (expiry.map { " px \($0)" } ?? "")
    case .setIfAbsent(let value): "setnx \(slot) \(Reply.text(of: value.bytes))"
    case .update(let value): "update \(slot) \(Reply.text(of: value.bytes))"
    case .delete: "del \(slot)"
    case .getDelete: "getdel \(slot)"
    case .increment(let amount): "incrby \(slot) \(amount)"
    case .append(let value): "append \(slot) \(Reply.text(of: value))"
    case .compareAndSet(let version, let value):
      "cas \(slot) \(version) \(Reply.text(of: value.bytes))"
    case .expire(let millis): "pexpire \(slot) \(millis)"
    case .persist: "persist \(slot)"
    case .flush: "flushall"
    case .watch(let ticket): "watch \(slot) as \(ticket)"
    }
  }
}
