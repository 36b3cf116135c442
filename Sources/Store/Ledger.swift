import Base

/// Staged changes and notes: what an agreement core must find again after a crash, by id.
///
/// A *note* is bytes of the core's own. *Staged* changes stand aside until they are settled. Both
/// live here, in the log and in checkpoints; the core's durable state is the notes, and nothing
/// else.
///
/// A keyspace of its own; the value of an entry is: mark u64 of the record that staged its changes
/// (0: nothing is staged), note length u32, note, changes. How many there are is bounded by the
/// core, which stages at most as many transactions as it lets be open.
struct Ledger {
  var keyspace = Keyspace()
  private let hashKey: SipKey

  /// The lengths that an id may have.
  static var idByteCounts: ClosedRange<Int> { 1...32 }

  init(hashKey: SipKey) {
    // Ids are hashed under another key than the entries' keys.
    self.hashKey = SipKey(k0: hashKey.k1 ^ 0x6C65_6467_6572_6964, k1: hashKey.k0)
  }

  func find(_ id: UnsafeRawBufferPointer) -> LedgerRecord? {
    keyspace.table.find(id, hash: hash(id)).map { LedgerRecord(entry: $0) }
  }

  /// Puts a record in the place of the one there may be. `note` and `changes` may lie in that one.
  mutating func insert(
    _ id: UnsafeRawBufferPointer, stagedBy mark: Mark, note: UnsafeRawBufferPointer,
    changes: UnsafeRawBufferPointer
  ) {
    let count = LedgerRecord.headerByteCount + note.count + changes.count
    let new = Entry.allocate(hash: hash(id), key: id, valueByteCount: count, capacity: count)
    new.set(version: .zero, expiry: Change.noExpiry)
    new.valueStart.store(mark.number, 0)
    new.valueStart.store(UInt32(note.count), 8)
    new.valueStart.copy(note, LedgerRecord.headerByteCount)
    new.valueStart.copy(changes, LedgerRecord.headerByteCount + note.count)
    guard let place = keyspace.table.place(id, hash: new.hash) else { return keyspace.insert(new) }
    let old = place.entry
    keyspace.replace(place, with: new)
    old.free()
  }

  /// Replaces the note; what is staged stays.
  mutating func insert(_ id: UnsafeRawBufferPointer, note: UnsafeRawBufferPointer) {
    let before = find(id)
    let nothing = UnsafeRawBufferPointer(start: nil, count: 0)
    insert(id, stagedBy: before?.mark ?? .zero, note: note, changes: before?.changes ?? nothing)
  }

  /// Takes a record out; its block is the caller's to free, and valid until then.
  mutating func take(_ id: UnsafeRawBufferPointer) -> LedgerRecord? {
    guard let place = keyspace.table.place(id, hash: hash(id)) else { return nil }
    let entry = place.entry
    keyspace.remove(place)
    return LedgerRecord(entry: entry)
  }

  private func hash(_ id: UnsafeRawBufferPointer) -> UInt64 { SipHash.hash13(id, key: hashKey) }
}

extension ByteBuffer {
  /// Appends a record of the ledger as the change that makes it.
  mutating func append(_ record: LedgerRecord) {
    if record.isStaged {
      appendStage(id: record.id, mark: record.mark, note: record.note, changes: record.changes)
    } else {
      appendNote(id: record.id, note: record.note)
    }
  }
}

/// A note that is written by the record of another change; nil: it goes. Nothing is staged under
/// its key.
public struct LedgerNote: Hashable, Sendable {
  /// The key.
  public var key: [UInt8]
  /// The bytes.
  public var note: [UInt8]?

  /// Joins the two.
  public init(_ key: [UInt8], _ note: [UInt8]?) {
    self.key = key
    self.note = note
  }
}

/// One id's part of the ledger; valid until the next mutation of the database.
public struct LedgerRecord {
  let entry: Entry

  static var headerByteCount: Int { 12 }

  /// What it is kept under.
  public var id: UnsafeRawBufferPointer { entry.key }
  /// Whether changes are staged; there may be none of them all the same.
  public var isStaged: Bool { mark != .zero }
  /// The record that staged the changes; zero when nothing is staged.
  public var mark: Mark { Mark(entry.value.little(UInt64.self, at: 0)) }

  /// The core's own bytes.
  public var note: UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(
      rebasing: entry.value[Self.headerByteCount..<Self.headerByteCount + noteByteCount])
  }

  /// The staged `Change`s.
  public var changes: UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(rebasing: entry.value[(Self.headerByteCount + noteByteCount)...])
  }

  private var noteByteCount: Int { Int(entry.value.little(UInt32.self, at: 8)) }
}
