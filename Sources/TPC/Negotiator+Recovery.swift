import Base

/// Start: durable notes come back, what is undecided is locked and asked about.
extension Negotiator {
  /// Takes back one durable note. False: the bytes are not a note of ours.
  public mutating func recover(key: UnsafeRawBufferPointer, record: UnsafeRawBufferPointer) -> Bool
  {
    if let id = TransactionID(key) {
      guard let record = Record(record), entries.find(id) == nil else { return false }
      recover(id, record)
      return true
    }
    var reader = ByteReader(record)
    guard record.count == 8, let value = reader.integer(UInt64.self) else { return false }
    if key.elementsEqual(Record.ceilingKey) {
      ceiling = max(ceiling, value)
      return true
    }
    guard let peer = Record.horizonOwner(key) else { return false }
    coordinators[Int(peer.number) - 1].horizon = value
    coordinators[Int(peer.number) - 1].mark = value
    return true
  }

  private mutating func recover(_ id: TransactionID, _ record: Record) {
    let isOwn = id.node == member
    var entry = Entry(id, record.attempt, .prepared, record.participants, since: .zero)
    entry.work = record.names
    switch record.kind {
    case .prepared: entry.stage = isOwn ? .asking : .prepared
    case .alone: entry.isOnePhase = true
    case .committed: entry.stage = isOwn ? .settling : .committed
    case .dead: entry.stage = isOwn ? .dying : .dead
    case .aborted: entry.stage = isOwn ? .telling : .aborted
    }
    if isOwn { openCountHeld += 1 }
    _ = add(entry)
  }

  /// For who begins with nothing, to become a member by the next change of the list: counts from
  /// where no former member of its id has got to. A mark or a horizon of one of these would
  /// otherwise be taken for this one's. Before `finishRecovery`.
  ///
  /// Each agreed list has `countersPerList` counters for who becomes a member by the next one, and
  /// nobody becomes a member of an older list: so what the clocks say does not matter.
  public mutating func countAsNewcomer() {
    ceiling = max(ceiling, UInt64(epoch.agreed) * Self.countersPerList)
  }

  /// How many transactions one membership can coordinate: 2^48, in 890 years at 10,000 a second.
  public static var countersPerList: UInt64 { 1 << 48 }

  /// Locks what is undecided, reserves counters and begins to ask about what is in doubt. Effects
  /// about own transactions of earlier runs follow like those of this one.
  ///
  /// `guest` is who becomes a member by a change that is among what is undecided, unless it was
  /// removed by force since.
  public mutating func finishRecovery<R: Resource & ~Copyable>(
    admitting guest: MemberID? = nil, at now: Instant, _ resource: inout R,
    _ effects: inout Effects
  ) {
    let slots = entries.sorted { _ in true }
    var parties = members
    if let guest { parties.insert(guest) }
    for slot in slots {
      entries[slot].since = now
      entries[slot].participants = entries[slot].participants.intersection(parties)
      relock(slot)
    }
    begun = slots.map { entries[$0].id }.filter { $0.node == member }
    begun.sort { $0.counter < $1.counter }
    nextCounter = max(ceiling, coordinator(member).horizon, (begun.last?.counter ?? 0) + 1)
    lowWater = begun.first?.counter ?? nextCounter
    // Durable as it is: what is not recorded here is done with for good.
    durableLowWater = lowWater
    awaitedLowWater = lowWater
    raiseCeiling(&resource, &effects)
    for slot in slots where entries[slot].isUsed {
      resume(slot, at: now, &resource, &effects)
    }
    settle(at: now, &resource, &effects)
  }

  /// Locks the names that a prepared record brought back.
  private mutating func relock(_ slot: Int) {
    guard let names = entries[slot].work else { return }
    entries[slot].work = nil
    guard !entries[slot].isOnePhase else { return }
    let id = entries[slot].id
    let obstacle = locks.obstacle(to: id, names)
    invariant(obstacle == .none, "\(id) and another recovered one lock the same name")
    entries[slot].lock = locks.lock(id, names)
  }

  private mutating func resume<R: Resource & ~Copyable>(
    _ slot: Int, at now: Instant, _ resource: inout R, _ effects: inout Effects
  ) {
    switch entries[slot].stage {
    case .asking: startAsking(slot, at: now, &resource, &effects)
    case .settling:
      entries[slot].heard = MemberSet([member])
      sendDecision(.committed, slot)
      schedule(slot, at: now + backoff(slot, options.resend))
      finishIfSettled(slot, at: now, &resource, &effects)
    case .dying: abortFinally(slot, .refused, at: now, &resource, &effects)
    case .telling:
      entries[slot].stage = .aborting
      finalAbortIsDurable(entries[slot].id, at: now, &resource, &effects)
    case .prepared where entries[slot].isOnePhase:
      write(.committed, entries[slot].attempt, entries[slot].participants)
      scratch.withUnsafeBytes { resource.commit(entries[slot].id, record: $0) }
      entries[slot].stage = .committed
    case .prepared:
      if members.contains(entries[slot].id.node) {
        entries[slot].result = resource.result(of: entries[slot].id)
        schedule(slot, at: now)
      } else {
        startAsking(slot, at: now, &resource, &effects)
      }
    default: break
    }
  }
}
