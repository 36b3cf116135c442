import Base

@testable import Store

/// A database with words for tests: keys and values are strings.
struct TestDatabase: ~Copyable {
  var database: Database

  init(seed: UInt64 = 1, limits: DatabaseLimits = DatabaseLimits(), wallMillis: Int64 = 1_000_000) {
    database = Database(
      hashKey: SipKey(k0: seed, k1: seed ^ 77), limits: limits,
      log: LogWriter(after: .zero, chain: 0, identity: 5))
    observe(wallMillis)
  }

  mutating func observe(_ wallMillis: Int64) {
    database.observe(wallNanos: UInt64(wallMillis) * 1_000_000)
  }

  /// One operation in a transaction of its own.
  @discardableResult
  mutating func run(_ operation: TestOperation) -> OperationResult {
    database.begin(multi: false)
    let result = execute(operation)
    _ = database.commit()
    return result
  }

  mutating func execute(_ operation: TestOperation) -> OperationResult {
    operation.withOperation { database.execute($0) }
  }

  mutating func get(_ key: String) -> String? {
    Array(key.utf8).withUnsafeBytes { database.find($0).map { String(bytes: $0.value) } }
  }

  mutating func version(_ key: String) -> Stamp? {
    Array(key.utf8).withUnsafeBytes { database.find($0)?.version }
  }

  mutating func versionOf(_ key: String) -> Stamp? {
    Array(key.utf8).withUnsafeBytes { database.version(of: $0) }
  }

  mutating func expiry(_ key: String) -> Int64? {
    Array(key.utf8).withUnsafeBytes { database.find($0)?.expiry }
  }

  /// Takes the payloads of all finished records.
  mutating func takeRecords() -> [[UInt8]] {
    var group = DiskGroup()
    database.log.take(into: &group)
    var records: [[UInt8]] = []
    var place = 0
    let bytes = Array(group.log.bytes)
    while place < bytes.count {
      let count = (0..<4).reduce(0) { $0 | Int(bytes[place + 8 + $1]) << (8 * $1) }
      records.append(Array(bytes[place + 32..<place + 32 + count]))
      place += (32 + count + 7) & ~7
    }
    return records
  }

  mutating func apply(_ changes: [UInt8]) throws {
    try changes.withUnsafeBytes { bytes in
      var reader = ChangeReader(bytes)
      while let change = try reader.next() { database.apply(change) }
    }
  }

  /// Everything, also what has expired but is still there, the outcomes that count, and the ledger.
  func dump() -> [String: String] {
    var all: [String: String] = [:]
    var position: UInt64 = 0
    repeat {
      position = database.keyspace.table.visit(position) {
        all["key \(String(bytes: $0.key))"] =
          "\(String(bytes: $0.value)) \($0.version.nanos) \($0.expiry)"
      }
    } while position != 0
    repeat {
      position = database.outcomes.keyspace.table.visit(position) {
        let outcome = Outcome($0)
        guard outcome.id.unixMillis > database.horizonMillis else { return }
        all["id \(outcome.id)"] = "\(outcome.status) \(String(bytes: outcome.reply))"
      }
    } while position != 0
    database.visitLedger {
      all["ledger \(String(bytes: $0.id))"] =
        "\($0.mark.number) \(String(bytes: $0.note)) \(Array($0.changes))"
    }
    return all
  }

  // Copies, as `#expect` takes only what can be copied.
  var appended: Mark { database.log.appended }
  var isUrgent: Bool { database.log.isUrgent }
  var firstPending: Mark? { database.log.firstPending }

  // MARK: The ledger

  @discardableResult
  mutating func stage(
    _ id: String, note: String = "", _ changes: [UInt8], with others: [LedgerNote] = []
  ) throws -> Mark {
    try withBytes(id, note) { id, note in
      try changes.withUnsafeBytes {
        try database.stage(id, note: note, changes: $0, with: others)
      }
    }
  }

  @discardableResult
  mutating func settle(
    _ id: String, committed: Bool, note: String? = nil, with others: [LedgerNote] = []
  ) -> Mark {
    withBytes(id, note ?? "") {
      database.settle($0, committed: committed, note: note == nil ? nil : $1, with: others)
    }
  }

  @discardableResult
  mutating func note(_ id: String, _ note: String?) -> Mark {
    withBytes(id, note ?? "") { note == nil ? database.unnote($0) : database.note($0, $1) }
  }

  mutating func addOutcome(_ id: OperationID, reply: String, failed: Bool = false) -> Bool {
    Array(reply.utf8).withUnsafeBytes { database.addOutcome(of: id, reply: $0, failed: failed) }
  }

  /// The changes of the open transaction, which ends undone.
  mutating func takeChanges() -> [UInt8] {
    var buffer = ByteBuffer()
    _ = database.takeChanges(into: &buffer)
    return Array(buffer.bytes)
  }

  /// The changes that these operations would make.
  mutating func changes(_ operations: [TestOperation]) -> [UInt8] {
    database.begin(multi: true)
    for operation in operations { _ = execute(operation) }
    return takeChanges()
  }

  /// A checkpoint in slices of `byteCountMax`, `between` being called after each.
  mutating func checkpoint(
    byteCountMax: Int, between: (inout TestDatabase) -> Void = { _ in }
  ) -> [UInt8] {
    var cursor = CheckpointCursor()
    var all: [UInt8] = []
    var more = true
    while more {
      var buffer = ByteBuffer()
      more = database.checkpointSlice(&cursor, into: &buffer, byteCountMax: byteCountMax)
      all += Array(buffer.bytes)
      if more { between(&self) }
    }
    return all
  }
}

private func withBytes<R>(
  _ a: String, _ b: String,
  _ body: (UnsafeRawBufferPointer, UnsafeRawBufferPointer) throws -> R
) rethrows -> R {
  try Array(a.utf8).withUnsafeBytes { a in try Array(b.utf8).withUnsafeBytes { try body(a, $0) } }
}

/// An operation that owns its bytes.
enum TestOperation {
  case put(String, String, PutOptions = .plain)
  case delete(String)
  case increment(String, Int64)
  case incrementFloat(String, LongDouble)
  case append(String, String)
  case setRange(String, Int, String)
  case expire(String, Int64, ExpireCondition = .always)
  case persist(String)
  case check(String, Stamp?)
  case flush

  func withOperation<R>(_ body: (Operation) -> R) -> R {
    let (key, value) = parts
    return Array(key.utf8).withUnsafeBytes { key in
      Array(value.utf8).withUnsafeBytes { value in body(operation(key, value)) }
    }
  }

  private var parts: (String, String) {
    switch self {
    case .put(let key, let value, _): (key, value)
    case .append(let key, let value), .setRange(let key, _, let value): (key, value)
    case .delete(let key), .increment(let key, _), .incrementFloat(let key, _): (key, "")
    case .expire(let key, _, _), .persist(let key), .check(let key, _): (key, "")
    case .flush: ("", "")
    }
  }

  private func operation(
    _ key: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer
  ) -> Operation {
    switch self {
    case .put(_, _, let options): .put(key: key, value: value, options)
    case .delete: .delete(key: key)
    case .increment(_, let amount): .increment(key: key, by: amount)
    case .incrementFloat(_, let amount): .incrementFloat(key: key, by: amount)
    case .append: .append(key: key, value: value)
    case .setRange(_, let offset, _): .setRange(key: key, offset: offset, value: value)
    case .expire(_, let millis, let condition): .expire(key: key, at: millis, condition)
    case .persist: .persist(key: key)
    case .check(_, let version): .check(key: key, version: version)
    case .flush: .flush
    }
  }
}

extension String {
  init(bytes: UnsafeRawBufferPointer) { self = String(decoding: bytes, as: UTF8.self) }
}

extension OperationResult {
  /// For comparing in tests.
  var text: String { "\(self)" }
}
