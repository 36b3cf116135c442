import Base

/// What the open transaction has done so far, and how to undo it.
///
/// In a transaction that may be rolled back no block leaves for good: what is replaced or removed
/// is kept aside until the end, and the values of kept blocks are never written to. A block that
/// the transaction made itself (`Entry.isOwned`) may be changed in place.
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
  }

  var isOpen = false
  var isMulti = false
  /// True when something was logged.
  var hasChanged = false
  /// True when an entry was removed.
  var hasRemoved = false
  var stamp: Stamp = .zero
  var operationCount = 0
  private(set) var undo: [Undo] = []
  /// The memory of what is kept aside.
  private(set) var keptByteCount = 0

  mutating func begin(stamp: Stamp, multi: Bool) {
    isOpen = true
    isMulti = multi
    hasChanged = false
    hasRemoved = false
    self.stamp = stamp
    operationCount = 0
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
    keptByteCount -= step.keptByteCount
    return step
  }

  /// Frees what was kept aside, as the transaction has committed. Flushed keyspaces go to
  /// `remains`.
  mutating func settle(_ remains: inout [Remains]) {
    guard !undo.isEmpty else { return }
    for step in undo {
      switch step {
      case .inserted(let new), .replaced(_, let new): new.isOwned = false
      case .removed, .touched, .flushed: break
      }
    }
    for step in undo {
      switch step {
      case .replaced(let old, _), .removed(let old): old.free()
      case .flushed(let keyspace): remains.append(Remains(keyspace))
      case .inserted, .touched: break
      }
    }
    undo.removeAll(keepingCapacity: undo.count <= 1024)
    keptByteCount = 0
  }

  /// Frees what is kept aside, as the database goes away.
  mutating func freeAll() {
    var remains: [Remains] = []
    settle(&remains)
    for var each in remains { while each.free(entryCountMax: .max) {} }
  }
}
