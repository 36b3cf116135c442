import Base

/// A place among those who wait for names of this member (rule 5).
///
/// To be given back with `release`, once: until then it keeps the names from younger transactions.
public struct Reservation: Sendable {
  let lock: Int32
}

/// What is reserved of a name.
public enum ReservationState: Sendable {
  /// Nothing that matters to who asks.
  case none
  /// It is reserved for who asks, or for older work that reads it, too: as good as that.
  case enough
  /// It is reserved for older work, which keeps who asks from locking it.
  case inTheWay
}

/// Rule 5 for work that is yet to begin, or to begin again: a name that passes from one transaction
/// of another member to the next is never free here, so who waits for that needs a place in line.
extension Negotiator {
  /// The name of work that waits since `age` and is yet to begin; ages differ from one such work to
  /// the next. No transaction ever has it.
  public func waiter(since age: Stamp) -> TransactionID {
    TransactionID(age: age, node: member, counter: 0)
  }

  /// Keeps the names of `work` from transactions of other members that are younger than `waiter`:
  /// their prepares get `conflict`. Those of this member are kept from nothing: their owner minds
  /// `blocker`. `waiter`: work that is yet to begin, or a transaction that was begun here and is to
  /// be renewed. Volatile.
  ///
  /// - Complexity: O(n) in the names.
  public mutating func reserve(_ work: Work, for waiter: TransactionID) -> Reservation {
    invariant(waiter.node == member, "each member minds who waits there")
    _ = locks.obstacle(to: waiter, work)
    return Reservation(lock: locks.lock(waiter, work.withoutBody, .reserves))
  }

  /// Gives a place back. Who came after it may come first now.
  public mutating func release(_ reservation: Reservation) {
    locks.unlock(reservation.lock, awakened: &awakened)
    invariant(awakened.isEmpty, "no transaction waits for a reservation")
  }

  /// Reservations that have not been given back.
  public var reservationCount: Int { locks.reservationCount }

  /// What is reserved of a key that `waiter` needs.
  public func reservation(
    of key: UnsafeRawBufferPointer, _ mode: LockMode, for waiter: TransactionID
  ) -> ReservationState {
    locks.reservation(of: key, isOperation: false, mode, for: waiter)
  }

  /// As for a key.
  public func reservation(
    of operation: OperationID, _ mode: LockMode, for waiter: TransactionID
  ) -> ReservationState {
    var pair = (operation.high.bigEndian, operation.low.bigEndian)
    return withUnsafeBytes(of: &pair) {
      locks.reservation(of: $0, isOperation: true, mode, for: waiter)
    }
  }
}
