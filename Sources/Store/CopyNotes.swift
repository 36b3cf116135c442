public import Base

/// The keys and operation ids that committed changes have touched since a copy of the database for
/// another member began, each once and in the order in which they came.
///
/// Bounds: `keyCountMax` keys of `keyByteCountMax` bytes in all and `operationCountMax` ids; beyond
/// them, or when all keys were removed at once, the notes are `isOverrun` and the copy must begin
/// again.
public struct CopyNotes: Sendable {
  /// Keys, at most.
  public static var keyCountMax: Int { 1_000_000 }
  /// Bytes of all keys, at most.
  public static var keyByteCountMax: Int { 64 << 20 }
  /// Ids, at most.
  public static var operationCountMax: Int { 1_000_000 }

  /// The keys.
  public private(set) var keys: [[UInt8]] = []
  /// The ids of operations.
  public private(set) var operations: [OperationID] = []
  /// The notes do not say everything.
  public private(set) var isOverrun = false
  private var knownKeys: Set<[UInt8]> = []
  private var knownOperations: Set<OperationID> = []
  private var keyByteCount = 0

  /// Nothing noted.
  public init() {}

  /// How many keys and ids are noted.
  public var count: Int { keys.count + operations.count }

  /// Notes a key.
  mutating func insert(_ key: UnsafeRawBufferPointer) {
    guard !isOverrun else { return }
    let key = [UInt8](key)
    guard knownKeys.insert(key).inserted else { return }
    keys.append(key)
    keyByteCount += key.count
    if keys.count > Self.keyCountMax || keyByteCount > Self.keyByteCountMax { overrun() }
  }

  /// Notes what a change touches.
  mutating func insert(_ change: Change) {
    switch change {
    case .put(let key, _, _, _), .delete(let key, _), .splice(let key, _, _, _, _),
      .expire(let key, _, _):
      insert(key)
    case .outcome(let id, _, _):
      guard !isOverrun, knownOperations.insert(id).inserted else { return }
      operations.append(id)
      if operations.count > Self.operationCountMax { overrun() }
    case .flush: overrun()
    case .horizon, .stage, .settle, .note, .unnote: break
    }
  }

  private mutating func overrun() {
    self = CopyNotes()
    isOverrun = true
  }
}

/// Noted keys and ids that are being given out, and how far that has come.
public struct CopyList: Sendable {
  var keys: [[UInt8]]
  var operations: [OperationID]
  var keyIndex = 0
  var operationIndex = 0
  /// Where in the value of the key at hand the next part begins; 0 before its first one.
  var offset = 0

  /// Gives out what is noted.
  public init(_ notes: CopyNotes = CopyNotes()) {
    keys = notes.keys
    operations = notes.operations
  }

  init(keys: [[UInt8]]) {
    self.keys = keys
    operations = []
  }

  /// Gives out further notes after what is left.
  public mutating func append(_ notes: CopyNotes) {
    keys.removeFirst(keyIndex)
    operations.removeFirst(operationIndex)
    keyIndex = 0
    operationIndex = 0
    keys += notes.keys
    operations += notes.operations
  }

  /// Everything was given out.
  public var isDone: Bool { keyIndex == keys.count && operationIndex == operations.count }
  /// How many keys and ids are left.
  public var count: Int { keys.count - keyIndex + operations.count - operationIndex }
}

/// How far giving out the whole database has come.
public struct CopyCursor: Sendable {
  enum Phase: Sendable { case entries, outcomes, done }

  var phase = Phase.entries
  var position: UInt64 = 0
  /// Entries met on the way whose values are given in parts, before the walk goes on.
  var large = CopyList(keys: [])

  /// The beginning.
  public init() {}

  /// Everything was given out.
  public var isDone: Bool {
    if case .done = phase { return true }
    return false
  }
}

/// What two databases with the same entries have in common, whatever the order of their tables:
/// against mistakes and accidents, not against people.
public struct CopyDigest: Hashable, Sendable {
  /// Entries.
  public var count: UInt64 = 0
  /// The sum of the entries' hashes, of key, value, version and expiry.
  public var sum: UInt64 = 0

  /// Of nothing.
  public init() {}

  /// As it was told.
  public init(count: UInt64, sum: UInt64) {
    self.count = count
    self.sum = sum
  }

  mutating func add(_ entry: Entry) {
    var words = (
      CRC32C.checksum(entry.key), CRC32C.checksum(entry.value), entry.version.nanos.littleEndian,
      entry.expiry.littleEndian
    )
    count += 1
    sum &+= withUnsafeBytes(of: &words) { SipHash.hash13($0, key: SipKey(k0: 0, k1: 0)) }
  }
}

/// How far summing up a database has come.
public struct DigestCursor: Sendable {
  /// Entries that expire at this time (Unix milliseconds) or before are passed over: each member
  /// removes them when it comes to it.
  public let aliveMillis: Int64
  /// Of what was seen so far.
  public internal(set) var digest = CopyDigest()
  var position: UInt64 = 0

  /// The beginning.
  public init(aliveMillis: Int64) { self.aliveMillis = aliveMillis }
}
