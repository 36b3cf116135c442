import Base
import Store

/// The agreement core of a node alone: a transaction is concluded by appending its record.
///
/// This is the seam where the cluster's cores plug in (DESIGN §1): the commands have run their
/// operations on `database` within an open transaction, and the core decides how it ends. A core
/// that needs other members answers later and keeps the session stalled meanwhile; this one never
/// does.
struct Alone: ~Copyable {
  /// Ends the open transaction; its record carries `reply` under `id` when there is one.
  ///
  /// `failed`: the commands answered an error and changed nothing.
  /// Returns the mark that the reply must wait for, nil when nothing changed.
  @inline(__always) mutating func conclude(
    _ database: UnsafeMutablePointer<Database>, as id: OperationID?,
    reply: @autoclosure () -> UnsafeRawBufferPointer, failed: Bool
  ) -> Mark? {
    if let id { return database.pointee.commit(as: id, reply: reply(), failed: failed) }
    return database.pointee.commit()
  }
}
