import Base

/// Running a transaction to see what it would change, without changing anything: what a coordinator
/// does before it asks the other members.
///
/// `begin(multi: true)`; execute, with a savepoint before each client's commands; add the outcomes
/// of operations with ids; then `takeChanges`, which undoes it all. The changes are absolute:
/// staged and settled at any member where the entries of their keys are the same, they do what they
/// did here.
extension Database {
  /// A point in the open transaction, which is `multi`, to which it can be taken back. The bounds
  /// of a transaction count anew from here: what others did before is nothing to who comes after.
  /// - Complexity: O(changes since the savepoint before).
  public mutating func savepoint() -> Savepoint {
    invariant(transaction.isOpen && transaction.isMulti, "a savepoint is within a transaction")
    transaction.disown()
    defer {
      transaction.operationCount = 0
      transaction.partStart = log.recordByteCount
    }
    return Savepoint(
      undoCount: transaction.undo.count, recordByteCount: log.recordByteCount,
      operationCount: transaction.operationCount, partStart: transaction.partStart,
      hasChanged: transaction.hasChanged,
      hasRemoved: transaction.hasRemoved, hasOutcomes: transaction.hasOutcomes)
  }

  /// Takes the open transaction back to how it was at `savepoint`, which is one of its own and was
  /// not passed in an earlier rollback. It can be used again.
  public mutating func rollback(to savepoint: Savepoint) {
    invariant(transaction.isOpen, "only an open transaction is taken back")
    invariant(savepoint.undoCount <= transaction.undo.count, "this savepoint was passed already")
    while transaction.undo.count > savepoint.undoCount, let step = transaction.pop() { undo(step) }
    if savepoint.hasChanged {
      log.truncate(recordByteCount: savepoint.recordByteCount)
    } else if transaction.hasChanged {
      log.cancel()
    }
    transaction.operationCount = savepoint.operationCount
    transaction.partStart = savepoint.partStart
    transaction.hasChanged = savepoint.hasChanged
    transaction.hasRemoved = savepoint.hasRemoved
    transaction.hasOutcomes = savepoint.hasOutcomes
  }

  /// Adds to the open transaction's changes how the operation `id` ended; it is recorded at each
  /// member when the changes are settled, and by nobody before. `failed`: it is aborted, and what
  /// it did was taken back; without a reply it is sealed. Such a transaction can only be taken or
  /// rolled back. Returns false, and does nothing, when the transaction has no room for it.
  public mutating func addOutcome(
    of id: OperationID, reply: UnsafeRawBufferPointer, failed: Bool = false
  ) -> Bool {
    invariant(transaction.isOpen && transaction.isMulti, "outcomes are added to a transaction")
    return withKept(reply, failed: failed) { database, status, kept in
      guard database.reserve(ChangeSize.outcome + kept.count) else { return false }
      database.log.body.appendOutcome(id: id, status: status, reply: kept)
      database.transaction.hasOutcomes = true
      return true
    }
  }

  /// Ends the open transaction, which is `multi`, as if it had never been, and appends its changes
  /// to `buffer`; none when it changed nothing. Returns their version. It is used up: later ones
  /// are greater.
  public mutating func takeChanges(into buffer: inout ByteBuffer) -> Stamp {
    invariant(transaction.isOpen && transaction.isMulti, "changes are taken of a transaction")
    buffer.append(log.recordBytes)
    rollback()
    lastStamp = transaction.stamp
    return lastStamp
  }
}

/// A point in a transaction; see `Database.savepoint`.
public struct Savepoint: Sendable {
  let undoCount: Int
  let recordByteCount: Int
  let operationCount: Int
  let partStart: Int
  let hasChanged: Bool
  let hasRemoved: Bool
  let hasOutcomes: Bool
}
