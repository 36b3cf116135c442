import Base

/// The table, the recorded outcomes, and the log records of what changes them: the deterministic
/// heart of a node. Pure: time comes in through `observe`, records leave through `log`.
///
/// One transaction at a time: `begin`, `execute` any number of operations, then `commit` or
/// `rollback`. All changes of a transaction carry its stamp as their version and go in one log
/// record, so that its checksum makes them all or nothing. A record states what became of each key,
/// never what was asked for, so replaying it is idempotent.
///
/// A reader may be answered when the record that made the entry is durable: wait for it when
/// `entry.version` is above the last durable stamp; for an absent key wait for `lastRemoval`.
public struct Database: ~Copyable, @unchecked Sendable {
  /// The bounds; may be changed at any time but within a transaction.
  public var limits: DatabaseLimits
  /// Where the records of committed transactions wait for the disk.
  public var log: LogWriter
  /// The greatest stamp ever used or seen.
  public internal(set) var lastStamp: Stamp = .zero
  /// The record of the last delete, expiry or flush: what a reader of an absent key waits for.
  public internal(set) var lastRemoval: Mark = .zero
  /// The hybrid clock in Unix milliseconds, as of `observe` and `begin`; expiry is compared with
  /// it.
  public internal(set) var clockMillis: Int64 = 0

  @usableFromInline let hashKey: SipKey
  @usableFromInline var keyspace = Keyspace()
  var remains: [Remains] = []
  var wallNanos: UInt64 = 0
  var transaction = Transaction()
  var outcomes: Outcomes
  var ledger: Ledger
  /// What committed changes have touched since a copy for another member began; nil: none is made.
  var notes: CopyNotes?

  /// An empty database whose table hashes with `hashKey`, which nobody else may know.
  public init(hashKey: SipKey, limits: DatabaseLimits, log: consuming LogWriter) {
    self.hashKey = hashKey
    self.limits = limits
    self.log = log
    outcomes = Outcomes(hashKey: hashKey)
    ledger = Ledger(hashKey: hashKey)
  }

  deinit {
    var keyspace = keyspace
    keyspace.free()
    var recorded = outcomes.keyspace
    recorded.free()
    var kept = ledger.keyspace
    kept.free()
    var transaction = transaction
    transaction.freeAll()
    for var each in remains { while each.free(entryCountMax: .max) {} }
  }

  // MARK: Time

  /// Sets the clock for what follows to max(wall, greatest stamp): it never goes back.
  public mutating func observe(wallNanos: UInt64) {
    self.wallNanos = wallNanos
    clockMillis = Stamp(nanos: max(wallNanos, lastStamp.nanos)).millis
  }

  /// Takes another member's stamp into the hybrid clock: stamps drawn from now on are greater, and
  /// expiry is judged at least as late as there. Between transactions only. Returns false, and does
  /// nothing, for a stamp that no clock can have reached.
  @discardableResult
  public mutating func observe(stamp: Stamp) -> Bool {
    invariant(!transaction.isOpen, "stamps are observed between transactions")
    guard stamp <= .greatest else { return false }
    lastStamp = max(lastStamp, stamp)
    clockMillis = max(clockMillis, lastStamp.millis)
    return true
  }

  // MARK: Reading

  // What every command asks for is `mutating`, though it changes nothing: a value of this size that
  // is only borrowed through a pointer is handed over as a copy, 632 bytes each time.

  /// The number of entries, those that are due but not yet removed included.
  @inlinable public var count: Int { keyspace.table.count }

  /// The number of entries that expire some day.
  public var expiringCount: Int { keyspace.heap.count }

  /// The memory of entries, table, expiry heap, outcomes and ledger, of what the open transaction
  /// keeps aside, and of what is still to be freed.
  public var usedByteCount: Int {
    mutating get {
      var sum = keyspace.byteCount + outcomes.keyspace.byteCount + ledger.keyspace.byteCount
      sum += transaction.keptByteCount
      if remains.isEmpty { return sum }
      for each in remains { sum += each.byteCount }
      return sum
    }
  }

  /// What the recorded outcomes take of that.
  public var outcomesUsedByteCount: Int { outcomes.keyspace.byteCount }
  /// What the ledger takes of it.
  public var ledgerUsedByteCount: Int { ledger.keyspace.byteCount }

  /// The number of recorded outcomes.
  public var outcomeCount: Int { outcomes.keyspace.table.count }
  /// Their memory, as it is bounded by `outcomeByteCountMax`.
  public var outcomeByteCount: Int { outcomes.byteCount }

  /// Ids of this time and before are refused. Only rises, each time by a logged record.
  public var horizonMillis: Int64 { outcomes.horizonMillis }

  /// The entry of `key` if there is one that has not expired; valid until the next mutation.
  @inlinable public mutating func find(_ key: UnsafeRawBufferPointer) -> Entry? {
    let hash = SipHash.hash13(key, key: hashKey)
    guard let entry = keyspace.table.find(key, hash: hash) else { return nil }
    return entry.expiry > clockMillis ? entry : nil
  }

  /// The version of `key`'s entry; nil when there is none, or when it has expired by the hybrid
  /// clock. What a prepare compares, for equality only.
  public mutating func version(of key: UnsafeRawBufferPointer) -> Stamp? { find(key)?.version }

  // MARK: Housekeeping

  /// Moves resizing, freeing and the ageing of outcomes on, by about `budget` entries each. To be
  /// called once a turn, between transactions. Returns true when there is more to do at once. May
  /// log a record (the horizon).
  public mutating func step(budget: Int) -> Bool {
    invariant(!transaction.isOpen, "housekeeping is done between transactions")
    var more = keyspace.table.move(bucketCountMax: budget)
    more = outcomes.keyspace.table.move(bucketCountMax: budget) || more
    more = ledger.keyspace.table.move(bucketCountMax: budget) || more
    if !remains.isEmpty, !remains[remains.count - 1].free(entryCountMax: budget) {
      remains.removeLast()
    }
    return ageOutcomes(budget: budget) || more || !remains.isEmpty
  }
}

/// The bounds of a database.
public struct DatabaseLimits: Sendable {
  /// The longest value in bytes.
  public var valueByteCountMax = 16 << 20
  /// The memory above which commands that grow the data are refused, by who executes them.
  public var memoryByteCountMax = Int.max
  /// The most bytes of changes in one transaction.
  public var transactionByteCountMax = 64 << 20
  /// The most operations in one transaction.
  public var transactionOperationCountMax = 100_000
  /// The memory of recorded outcomes.
  public var outcomeByteCountMax = 64 << 20
  /// How long an outcome is kept; an id older than that is refused.
  public var outcomesAgeMillis: Int64 = 24 * 3_600_000
  /// A reply above this is recorded as checksum and length.
  public var largeReplyByteCount = 64 << 10
  /// How far ahead of the clock an id's time may be.
  public var futureMillisMax: Int64 = 60_000

  /// The defaults.
  public init() {}
}
