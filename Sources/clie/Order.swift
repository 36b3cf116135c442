import Base
import Client

/// One thing to do, with all it needs: what the flags or a line of standard input ask for.
enum Order: Equatable {
  case update(key: [UInt8], value: [UInt8])
  case get(key: [UInt8])
  case delete(key: [UInt8])
  case put(key: [UInt8], value: [UInt8])
  case ping
  case list(pattern: [UInt8])
  case increment(key: [UInt8], by: Int64)
  case expire(key: [UInt8], after: Interval)
  case transact([TransactionStep])
  case outcome(OperationID, seal: Bool)
  case status
  case members
  /// Takes a member out; `byForce` without its consent.
  case remove(node: Int, byForce: Bool)
  /// The last steps of the protocol, of one transaction when it is named.
  case trace([UInt8]?)
  case execute(Command)

  /// The word for it, as `-o` takes it.
  var operation: Operation {
    switch self {
    case .update: .update
    case .get: .get
    case .delete: .delete
    case .put: .put
    case .ping: .ping
    case .list: .list
    case .increment: .incr
    case .expire: .expire
    case .transact: .txn
    case .outcome: .outcome
    case .status: .status
    case .members: .members
    case .remove: .remove
    case .trace: .trace
    case .execute: .exec
    }
  }

  /// The key it is about, if it is about one.
  var key: [UInt8]? {
    switch self {
    case .update(let key, _), .get(let key), .delete(let key), .put(let key, _),
      .increment(let key, _), .expire(let key, _):
      key
    default: nil
    }
  }
}

/// What the flags of `-o remove` say.
struct Removal: Equatable {
  var node: Int?
  var isForced = false
  var isStopped = false
}

extension Order {
  /// The largest key that a server takes.
  static let keyByteCountMax = 65_535

  /// The order of an operation with its key, value and further arguments.
  ///
  /// For `txn` the value is the script.
  init(
    _ operation: Operation, key: [UInt8]?, value: [UInt8]?, removal: Removal? = nil,
    arguments: [[UInt8]] = []
  ) throws(UsageError) {
    if removal != nil, operation != .remove {
      throw UsageError("--node, --force and --i-have-stopped-it are for -o remove")
    }
    if operation == .trace, let id = arguments.first ?? key, arguments.count < 2 {
      self = .trace(id)
      return
    }
    guard arguments.isEmpty || operation == .exec else {
      throw UsageError("unexpected argument \(Self.quoted(arguments[0]))")
    }
    if operation.needsKey, key?.isEmpty ?? true { throw UsageError("No key specified") }
    if let key, key.count > Self.keyByteCountMax {
      throw UsageError(
        "the key has \(key.count) bytes, at most \(Self.keyByteCountMax) are allowed")
    }
    if operation.needsValue, value == nil {
      throw UsageError("Value required for this operation type")
    }
    let key = key ?? []
    switch operation {
    case .update: self = .update(key: key, value: value ?? [])
    case .get: self = .get(key: key)
    case .delete: self = .delete(key: key)
    case .put: self = .put(key: key, value: value ?? [])
    case .ping: self = .ping
    case .list: self = .list(pattern: key.isEmpty ? Array("*".utf8) : key)
    case .incr: self = .increment(key: key, by: try Self.integer(value ?? Array("1".utf8)))
    case .expire: self = .expire(key: key, after: try Self.interval(value ?? []))
    case .txn: self = .transact(try parseTransaction(value ?? []))
    case .outcome: self = .outcome(try Self.id(key), seal: try Self.seal(value))
    case .status: self = .status
    case .members: self = .members
    case .trace: self = .trace(nil)
    case .remove:
      guard let removal, let node = removal.node else {
        throw UsageError("remove needs --node N: clie -o remove --node 3")
      }
      guard removal.isForced == removal.isStopped else {
        throw UsageError(
          "to remove a member without asking it takes both --force and --i-have-stopped-it: it "
            + "must never come back")
      }
      self = .remove(node: node, byForce: removal.isForced)
    case .exec:
      guard let command = Command(arguments: arguments), !arguments[0].isEmpty else {
        throw UsageError("exec needs a command: clie -o exec -- GET key")
      }
      self = .execute(command)
    }
  }

  /// The order of one line of standard input: the word or number of an operation, then what it
  /// needs; `exec` may be left out before a command in capital letters.
  init(words: [[UInt8]]) throws(UsageError) {
    invariant(!words.isEmpty, "a line without words is no order")
    let name = String(decoding: words[0], as: UTF8.self)
    let rest = Array(words.dropFirst())
    guard let operation = Operation(text: name) else {
      guard name.utf8.allSatisfy({ $0 >= 65 && $0 <= 90 }), !name.isEmpty else {
        throw UsageError("unknown operation \(Self.quoted(words[0]))")
      }
      try self.init(.exec, key: nil, value: nil, arguments: words)
      return
    }
    if operation == .txn { throw UsageError("txn is not for single lines: use clie -o txn") }
    if operation == .exec {
      try self.init(.exec, key: nil, value: nil, arguments: rest)
      return
    }
    try self.init(
      operation, key: rest.first, value: rest.dropFirst().first,
      arguments: Array(rest.dropFirst(operation.wordCountMax)))
  }

  // MARK: Values

  /// A whole number of 64 bits.
  static func integer(_ text: [UInt8]) throws(UsageError) -> Int64 {
    guard let number = text.withUnsafeBytes({ parseDecimal($0) }) else {
      throw UsageError("\(quoted(text)) is not a whole number")
    }
    return number
  }

  /// Seconds, or a number with a unit such as `500ms` or `2h`.
  private static func interval(_ text: [UInt8]) throws(UsageError) -> Interval {
    guard let interval = parseInterval(String(decoding: text, as: UTF8.self)) else {
      throw UsageError("\(quoted(text)) is not a time: give seconds, or 500ms, 10m, 2h, 7d")
    }
    return interval
  }

  private static func id(_ text: [UInt8]) throws(UsageError) -> OperationID {
    guard let id = text.withUnsafeBytes({ OperationID(text: $0) }), id != .none else {
      throw UsageError("\(quoted(text)) is not an operation id: 32 hexadecimal digits")
    }
    return id
  }

  private static func seal(_ word: [UInt8]?) throws(UsageError) -> Bool {
    guard let word else { return false }
    guard String(decoding: word, as: UTF8.self).lowercased() == "seal" else {
      throw UsageError("outcome takes no value but seal, not \(quoted(word))")
    }
    return true
  }

  /// For messages: bounded, and without control characters.
  static func quoted(_ text: [UInt8]) -> String {
    let shown = text.prefix(40).map { $0 < 32 || $0 == 127 ? UInt8(ascii: "?") : $0 }
    return "\"" + String(decoding: shown, as: UTF8.self) + (text.count > 40 ? "..." : "") + "\""
  }
}
