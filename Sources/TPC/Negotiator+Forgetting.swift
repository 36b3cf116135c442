import Base

/// Rules 7 and 9: counters that are never given twice, and memory that is given up exactly.
extension Negotiator {
  /// The counter was given to a transaction begun here. Reserves more in time.
  mutating func take<R: Resource & ~Copyable>(
    counterOf id: TransactionID, at now: Instant, _ resource: inout R, _ effects: inout Effects
  ) {
    invariant(id.counter == nextCounter && id.counter < durableCeiling, "counters in order")
    nextCounter += 1
    counters.begun += 1
    openCountHeld += 1
    begun.append(id)
    if ceiling - nextCounter < options.counterStep / 2 { raiseCeiling(&resource, &effects) }
  }

  mutating func raiseCeiling<R: Resource & ~Copyable>(
    _ resource: inout R, _ effects: inout Effects
  ) {
    ceiling = nextCounter + options.counterStep
    scratch.removeAll(keepingCapacity: true)
    scratch.append(little: ceiling)
    scratch.withUnsafeBytes { record in
      Record.ceilingKey.withUnsafeBytes { resource.note($0, record: record) }
    }
    effects.list.append(.urgent)
    awaitForce(.ceiling(ceiling))
  }

  /// Forgets a transaction of ours that everybody is done with.
  mutating func finish<R: Resource & ~Copyable>(
    _ slot: Int, at now: Instant, _ resource: inout R, _ effects: inout Effects
  ) {
    trace(&effects, entries[slot].id, entries[slot].attempt, nil, .forgets)
    remove(noteOf: entries[slot].id, &resource)
    // Who was a member before may join again: see `remembersFormer`.
    if !entries[slot].recorded.subtracting(members).isEmpty { hasUnlocked = true }
    finishWithoutNote(slot)
  }

  /// As `finish`, for what was never recorded here.
  mutating func finishWithoutNote(_ slot: Int) {
    entries.remove(slot)
    openCountHeld -= 1
    while begunHead < begun.count, entries.find(begun[begunHead]) == nil { begunHead += 1 }
    lowWater = begunHead < begun.count ? begun[begunHead].counter : nextCounter
    if begunHead > 1_024, begunHead * 2 > begun.count {
      begun.removeFirst(begunHead)
      begunHead = 0
    }
  }

  private func remove<R: Resource & ~Copyable>(noteOf id: TransactionID, _ resource: inout R) {
    withUnsafeTemporaryAllocation(byteCount: TransactionID.byteCount, alignment: 8) { key in
      key.storeBytes(of: id.age.nanos.littleEndian, as: UInt64.self)
      key.storeBytes(of: id.node.number.littleEndian, toByteOffset: 8, as: UInt16.self)
      key.storeBytes(of: id.counter.littleEndian, toByteOffset: 10, as: UInt64.self)
      resource.note(UnsafeRawBufferPointer(key), record: nil)
    }
  }

  // MARK: Other coordinators

  /// All transactions of `peer` with counters below the mark are finished: aborted, or committed
  /// and durably so at every participant.
  mutating func hear<R: Resource & ~Copyable>(
    mark: UInt64, of peer: MemberID, at now: Instant, _ resource: inout R,
    _ effects: inout Effects
  ) {
    let index = Int(peer.number) - 1
    guard mark > coordinators[index].mark else { return }
    coordinators[index].mark = mark
    let horizon = coordinators[index].horizon
    if mark >= horizon, mark - horizon >= options.forgetStep {
      raiseHorizon(of: peer, &resource, &effects)
    } else {
      forgetAt = min(forgetAt, now + options.forgetPause)
    }
  }

  /// Uses the marks that did not rise far enough for it.
  mutating func useMarks<R: Resource & ~Copyable>(
    at now: Instant, _ resource: inout R, _ effects: inout Effects
  ) {
    forgetAt = .never
    for peer in members where coordinator(peer).mark > coordinator(peer).horizon {
      raiseHorizon(of: peer, &resource, &effects)
    }
  }

  /// Raises the horizon, and then forgets what lies below it, in this order in the log.
  private mutating func raiseHorizon<R: Resource & ~Copyable>(
    of peer: MemberID, _ resource: inout R, _ effects: inout Effects
  ) {
    let index = Int(peer.number) - 1
    let horizon = coordinators[index].mark
    coordinators[index].horizon = horizon
    recordHorizon(horizon, of: peer, &resource)
    while let first = coordinators[index].known.first, first.counter < horizon {
      _ = coordinators[index].known.pop()
      let id = TransactionID(age: first.age, node: peer, counter: first.counter)
      if let slot = entries.find(id) { forget(slot, &resource, &effects) }
    }
  }

  private func recordHorizon<R: Resource & ~Copyable>(
    _ horizon: UInt64, of peer: MemberID, _ resource: inout R
  ) {
    #if MUTANTS
      if Mutant.active == .horizonUnforced { return }
    #endif
    Record.horizonKey(peer).withUnsafeBytes { key in
      withUnsafeBytes(of: horizon.littleEndian) { resource.note(key, record: $0) }
    }
  }

  /// What is still prepared here was not committed: a commit is finished only after our word.
  private mutating func forget<R: Resource & ~Copyable>(
    _ slot: Int, _ resource: inout R, _ effects: inout Effects
  ) {
    let entry = entries[slot]
    switch entry.stage {
    case .queued:
      unqueue(slot)
      unlock(slot)
      if entry.lower > .none { remove(noteOf: entry.id, &resource) }
    case .prepared:
      trace(&effects, entry.id, entry.attempt, entry.id.node, .learnsAbort)
      unlock(slot)
      resource.abort(entry.id, record: nil)
    default: remove(noteOf: entry.id, &resource)
    }
    entries.remove(slot)
  }
}
