import Base

/// What the open transaction has done so far, and how to undo it.
///
/// In a transaction that may be rolled back no block leaves for good: what is replaced or removed
/// is kept aside until the end, and the values of kept blocks are never written to. A block that
/// the transaction made itself since the last savepoint (`Entry.isOwned`) may be changed in place.
struct Transaction {
  /// One step back.
  enum Undo {
    /// `new` was inserted.
    case inserted(Entry)
    /// `new` took the place of `old`.
    case replaced(old: Entry, new: Entry)
    case removed(Entry)
    /// Version and expiry of the entry were these.
    case touched(Entry, Stamp, Int64)
    /// The whole keyspace was this.
    indirect case flushed(Keyspace)

    /// The memory that this step keeps aside.
    var keptByteCount: Int {
      switch self {
      case .inserted, .touched: 0
      case .replaced(let old, _), .removed(let old): old.memoryByteCount
      case .flushed(let before): before.byteCount
      }
    }

    /// The block that this step made.
    var made: Entry? {
      switch self {
      case .inserted(let new), .replaced(_, let new): new
      case .removed, .touched, .flushed: nil
      }
    }
  }

  var isOpen = false
  var isMulti = false
  /// True when something was logged.
  var hasChanged = false
  /// True when an entry was removed.
  var hasRemoved = false
  /// True when an outcome was added that is not recorded here.
  var hasOutcomes = false
  var stamp: Stamp = .zero
  /// Operations since the last savepoint, or the beginning.
  var operationCount = 0
  /// Bytes of the record at the last savepoint.
  var partStart = 0
  private(set) var undo: [Undo] = []
  /// The memory of what is kept aside.
  private(set) var keptByteCount = 0
  /// The blocks that the first steps made are not owned any more: as many.
  private var disownedCount = 0

  mutating func begin(stamp: Stamp, multi: Bool) {
    isOpen = true
    isMulti = multi
    hasChanged = false
    hasRemoved = false
    hasOutcomes = false
    self.stamp = stamp
    operationCount = 0
    partStart = 0
  }

  /// Nothing is executed any more; what it did stays readable until the next `begin`.
  mutating func close() {
    isOpen = false
    isMulti = false
  }

  mutating func push(_ step: Undo) {
    undo.append(step)
    keptByteCount += step.keptByteCount
  }

  /// The last step not yet undone.
  mutating func pop() -> Undo? {
    guard let step = undo.popLast() else { return nil }
    disownedCount = min(disownedCount, undo.count)
    keptByteCount -= step.keptByteCount
    return step
  }

  /// Ends the ownership of all blocks made so far: from now on they are replaced, not changed.
  mutating func disown() {
    for step in undo[disownedCount...] { step.made?.isOwned = false }
    disownedCount = undo.count
  }

  /// Frees what was kept aside, as the transaction has committed. Flushed keyspaces go to
  /// `remains`.
  mutating func settle(_ remains: inout [Remains]) {
    guard !undo.isEmpty else { return }
    disown()
    for step in undo {
      switch step {
      case .replaced(let old, _), .removed(let old): old.free()
      case .flushed(let keyspace): remains.append(Remains(keyspace))
      case .inserted, .touched: break
      }
    }
    undo.removeAll(keepingCapacity: undo.count <= 1024)
    keptByteCount = 0
    disownedCount = 0
  }

  /// Frees what is kept aside, as the database goes away.
  mutating func freeAll() {
    var remains: [Remains] = []
    settle(&remains)
    for var each in remains { while each.free(entryCountMax: .max) {} }
  }
}
