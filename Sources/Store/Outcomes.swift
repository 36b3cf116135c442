import Base

/// How operations with an id ended: DESIGN guarantee 4.
///
/// A keyspace of its own: the key is the id, the value its status and reply, and the expiry is the
/// time within the id, so that the heap has the oldest at hand. The horizon covers all that is
/// dropped: an id is either recorded, or above the horizon and unknown, or refused.
struct Outcomes {
  var keyspace = Keyspace()
  /// Ids of this time and before are refused. Invariant: no outcome of such an id is ever answered.
  private(set) var horizonMillis: Int64 = 0
  /// The record that raised the horizon last in this run; zero when none did.
  var horizonMark: Mark = .zero
  private let hashKey: SipKey

  init(hashKey: SipKey) {
    // Ids are hashed under another key than the entries' keys.
    self.hashKey = SipKey(k0: hashKey.k1 ^ 0x6F75_7463_6F6D_6573, k1: hashKey.k0)
  }

  /// The memory that is bounded: blocks, and a share of table and heap for each. Not what these
  /// take just now, which depends on how far a resize has come.
  var byteCount: Int { keyspace.entriesByteCount + keyspace.table.count * Self.indexByteCount }

  private static var indexByteCount: Int { 48 }

  mutating func raiseHorizon(to millis: Int64) {
    if millis > horizonMillis { horizonMillis = millis }
  }

  func find(_ id: OperationID) -> Outcome? {
    withKey(id) { key in
      keyspace.table.find(key, hash: SipHash.hash13(key, key: hashKey)).map { Outcome($0) }
    }
  }

  /// Records an outcome, over an earlier one of the same id.
  mutating func insert(
    _ id: OperationID, _ status: OutcomeStatus, _ reply: UnsafeRawBufferPointer
  ) {
    guard id.unixMillis > horizonMillis else { return }
    let new = withKey(id) { key in
      let hash = SipHash.hash13(key, key: hashKey)
      let new = Entry.allocate(
        hash: hash, key: key, valueByteCount: 1 + reply.count, capacity: 1 + reply.count)
      new.set(version: .zero, expiry: id.unixMillis)
      new.valueStart.storeBytes(of: status.rawValue, as: UInt8.self)
      if let from = reply.baseAddress, reply.count > 0 {
        (new.valueStart + 1).copyMemory(from: from, byteCount: reply.count)
      }
      return new
    }
    if let place = keyspace.table.place(new.key, hash: new.hash) {
      let old = place.entry
      keyspace.replace(place, with: new)
      old.free()
    } else {
      keyspace.insert(new)
    }
  }

  /// The time of the oldest id recorded; nil when there is none.
  var oldestMillis: Int64? { keyspace.heap.earliest?.expiry }

  /// Drops the oldest outcome if its time is `millis` or before. Returns whether it did.
  mutating func dropOldest(through millis: Int64) -> Bool {
    guard let oldest = keyspace.heap.earliest, oldest.expiry <= millis else { return false }
    keyspace.remove(keyspace.table.place(of: oldest))
    oldest.free()
    return true
  }

  private func withKey<R>(_ id: OperationID, _ body: (UnsafeRawBufferPointer) -> R) -> R {
    var words = (id.high.bigEndian, id.low.bigEndian)
    return withUnsafeBytes(of: &words) { body($0) }
  }
}

/// One recorded outcome; valid until the next mutation.
struct Outcome {
  private let entry: Entry

  init(_ entry: Entry) { self.entry = entry }

  var id: OperationID {
    let key = entry.key.baseAddress.unsafelyUnwrapped
    return OperationID(
      high: UInt64(bigEndian: key.loadUnaligned(as: UInt64.self)),
      low: UInt64(bigEndian: key.loadUnaligned(fromByteOffset: 8, as: UInt64.self)))
  }

  var status: OutcomeStatus {
    guard let status = OutcomeStatus(rawValue: entry.value[0]) else {
      invariantFailed("a recorded outcome has a status")
    }
    return status
  }

  /// The reply's bytes; of a large reply its CRC-32C (u32) and length (u64).
  var reply: UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(rebasing: entry.value[1...])
  }
}
