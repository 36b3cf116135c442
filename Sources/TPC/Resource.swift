import Base

/// Something whose changes can be prepared, then committed or aborted: the store, or anything else
/// with a log of its own (rule 8).
///
/// The negotiator calls it within its own calls and on the same thread. Each of the four verbs
/// appends **one** record to the resource's log, in the order of the calls, and returns at once;
/// nothing is forced by itself. After a crash a prefix of the records is there. The negotiator's
/// own durable state is a map from keys to short records (*notes*) which the resource keeps with
/// its data: a note is written by the same log record as the change that it tells of. A note's key
/// is the 18 bytes of a transaction id, or shorter.
///
/// On start the resource gives every pair to `Negotiator.recover(key:record:)`, staged work comes
/// back staged, and `Negotiator.finishRecovery` is called.
public protocol Resource: ~Copyable {
  /// Checks whether the work can be committed (versions, conditions, room) and stages it.
  ///
  /// `.yes`: from now on it can be committed whatever happens; work staged before under this id, by
  /// a lower attempt, is replaced; the note of `id` is `record`. `.no`: nothing was changed.
  /// The names of the work are locked while this runs, and until commit or abort.
  mutating func prepare(
    _ id: TransactionID, _ attempt: Attempt, body: UnsafeRawBufferPointer,
    record: UnsafeRawBufferPointer
  ) -> Verdict

  /// Applies the staged work; the note of `id` becomes `record`.
  mutating func commit(_ id: TransactionID, record: UnsafeRawBufferPointer)

  /// Drops the staged work if there is any; the note of `id` becomes `record`, nil: it goes.
  mutating func abort(_ id: TransactionID, record: UnsafeRawBufferPointer?)

  /// Keeps `record` under `key`, without staged work; nil: the note goes.
  mutating func note(_ key: UnsafeRawBufferPointer, record: UnsafeRawBufferPointer?)

  /// The bytes of the `.yes` with which the staged work of `id` was prepared, for a vote that is
  /// repeated after a restart. Resources whose votes carry nothing leave it as it is.
  func result(of id: TransactionID) -> [UInt8]

  /// The member list that the last `commit` put in force, with its epoch; nil when it was no change
  /// of members. Asked once after each commit: from then on the negotiator is in that epoch.
  ///
  /// The work of such a change locks for writing what every other work locks for reading, so
  /// nothing is prepared beside it.
  mutating func takeMembers() -> (members: MemberSet, epoch: Epoch)?
}

extension Resource where Self: ~Copyable {
  /// Nothing.
  public func result(of id: TransactionID) -> [UInt8] { [] }

  /// Nil.
  public mutating func takeMembers() -> (members: MemberSet, epoch: Epoch)? { nil }
}
