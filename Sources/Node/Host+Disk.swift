import Base
import NetKit
import Store

// The log, checkpoints and what the disk reports.
extension Host where Link: ~Copyable, Medium: ~Copyable {
  mutating func takeDiskEvents(at now: Moment) {
    while disk.hasNews, let event = disk.poll() {
      switch consume event {
      case .recovering(let done, let of): showProgress(done, of)
      case .recovered(let database): startServing(database, at: now)
      case .unrecoverable(let error): stage = .stopped(.unrecoverable(error))
      case .room(let noSpace):
        node.noSpace = noSpace
        lastReport.noSpace = noSpace
      case .failed(let fault): stage = .stopped(.diskFailed(fault))
      case .finished(let group, let report): finished(group, report, at: now)
      }
      if case .stopped = stage { return }
    }
  }

  private mutating func showProgress(_ done: UInt64, _ of: UInt64) {
    setRecovered(done, of)
  }

  private mutating func startServing(_ database: consuming Database, at now: Moment) {
    let place = UnsafeMutablePointer<Database>.allocate(capacity: 1)
    place.initialize(to: database)
    place.pointee.observe(wallNanos: now.wallNanos)
    node.database = place
    node.durable = place.pointee.log.appended
    node.durableStamp = place.pointee.lastStamp
    node.forced = node.durable
    node.forcedStamp = node.durableStamp
    if let refusal = recoverCluster(place) {
      stage = .stopped(.refused(refusal))
      return
    }
    node.control.lastSaveSeconds = now.wallMillis / 1_000
    stage = .running
    if isMember, node.durable > .zero { startPeers(at: now) }
    if isMember, let state = node.cluster?.pointee.state {
      log(
        .info,
        "member \(state.ownID) of \(state.present.list.entries.count) in cluster "
          + "\(String(state.present.clusterID, radix: 16)): \(state.present)")
    }
    log(
      .info,
      "recovered \(place.pointee.count) keys, log through \(place.pointee.log.appended.number)")
    let found = disk.recoverySummary
    if found.cutByteCount > 0 {
      log(
        .info,
        "cut a torn tail of \(found.cutByteCount) bytes from \(found.cutFile) at offset "
          + "\(found.cutOffset): nothing in it had been acknowledged")
    }
    if found.cachedByteCount > 0 {
      log(
        .info,
        "\(found.cachedByteCount) bytes of the data were read from the system's cache, not from "
          + "the disk: after a failed force, start again only when the machine was restarted")
    }
  }

  // MARK: Groups

  /// With weak durability: when what is pending is to be handed over at the latest.
  var handOverDeadline: Instant {
    if isDraining { return node.now.instant }
    if node.options.durability == .always {
      guard let database = node.database, !database.pointee.log.isUrgent else {
        return node.now.instant
      }
      return lazySince + Self.lazyForce
    }
    return lastHandOver + Self.lazyHandOver
  }

  /// With durability `every-second`: when what is written is to be forced at the latest.
  var forceDeadline: Instant? {
    guard node.options.durability == .everySecond, disk.isIdle, let database = node.database,
      node.forced < database.pointee.log.appended
    else { return nil }
    return lastForce + .seconds(1)
  }

  var isDraining: Bool {
    if case .draining = stage { return true }
    return false
  }

  /// Gives the disk the next group if it is idle and there is something to do.
  mutating func handOver(at now: Moment) {
    guard let database = node.database, disk.isIdle else { return }
    startCheckpointIfDue(database, at: now)
    let holdsRecords = holdsRecords(database, at: now)
    let hasRecords = database.pointee.log.pendingByteCount > 0 && !holdsRecords
    guard hasRecords || checkpoint != nil || mustForce(at: now) else { return }
    if hasRecords, checkpoint == nil, !isDraining, node.options.durability == .always,
      !database.pointee.log.isUrgent
    {
      // Nobody waits for these: they ride with the next group, or go by themselves a little later.
      noteLazy(database)
      if handOverDeadline > now.instant { return }
    }
    lazyFrom = .zero
    if hasRecords, checkpoint == nil, node.options.durability != .always, !mustForce(at: now),
      database.pointee.log.pendingByteCount < Self.lazyHandOverByteCount, !isDraining,
      lastHandOver + Self.lazyHandOver > now.instant
    {
      return
    }
    guard var next = group.take() else { invariantFailed("an idle disk has given its group back") }
    next.force = forces(at: now)
    #if MUTANTS
      if Mutant.active == .skipForce { next.force = false }
    #endif
    // After `force` is set: what a record says of its group depends on it. A force without records
    // ends a group too.
    if holdsRecords {
      database.pointee.log.takeNothing(into: &next)
    } else {
      // What is held back is not in flight, and waits for its force since the last one.
      database.pointee.log.take(into: &next)
      stampInFlight = database.pointee.lastStamp
      if next.force { lastForce = now.instant }
    }
    lastHandOver = now.instant
    addCheckpointSlice(database, to: &next, holdsRecords: holdsRecords)
    sliceInFlight = next.checkpointBytes.count
    node.counters.groups &+= 1
    if next.force { node.counters.forces &+= 1 }
    let mayWait = quiet.mayWait(
      commandCount: node.counters.commands, voteCount: node.voteCount, at: now.instant)
    if mayWait, node.cluster != nil, node.options.durability == .always, next.isSmall,
      !isDraining, node.ready.isEmpty
    {
      // What the turn has to say leaves before.
      link.flush(at: now)
      hasDiskNews = disk.performNow(next)
    } else {
      disk.start(next)
    }
  }

  /// Whether what is pending is to wait for the checkpoint under way, which is behind.
  private mutating func holdsRecords(
    _ database: UnsafeMutablePointer<Database>, at now: Moment
  ) -> Bool {
    guard checkpoint != nil, !checkpointIsCollected, policy.holdsRecords,
      database.pointee.log.pendingByteCount > 0
    else {
      heldSince = nil
      return false
    }
    let since = heldSince ?? now.instant
    heldSince = since
    guard since + CheckpointPolicy.holdMax > now.instant else {
      heldSince = nil
      return false
    }
    return true
  }

  /// Notes since when the oldest record waits that nobody hurries.
  private mutating func noteLazy(_ database: UnsafeMutablePointer<Database>) {
    guard let first = database.pointee.log.firstPending, first != lazyFrom else { return }
    lazyFrom = first
    lazySince = node.now.instant
  }

  /// Whether the group at hand is to be forced.
  private func forces(at now: Moment) -> Bool {
    switch node.options.durability {
    case .always: true
    case .everySecond: mustForce(at: now) || isSecondOver(at: now)
    case .never: mustForce(at: now)
    }
  }

  /// SAVE or a reply waits, or the node stops, and not everything is forced.
  private func mustForce(at now: Moment) -> Bool {
    guard let database = node.database, node.forced < database.pointee.log.appended else {
      return false
    }
    if !node.control.saveWaiters.isEmpty || isDraining { return true }
    if node.options.durability != .always, !node.gate.isEmpty { return true }
    return node.options.durability == .everySecond && isSecondOver(at: now)
  }

  private func isSecondOver(at now: Moment) -> Bool {
    #if MUTANTS
      if Mutant.active == .forgetSecond { return false }
    #endif
    return lastForce + .seconds(1) <= now.instant
  }

  private mutating func finished(
    _ returned: consuming DiskGroup, _ report: DiskReport, at now: Moment
  ) {
    group = consume returned
    lastReport = report
    hasFinishedGroup = true
    node.noSpace = report.noSpace || report.groupBlockedByNoSpace
    if report.checkpointFinished || report.checkpointFailed { checkpointEnded(report, at: now) }
    policy.note(
      report, sliceByteCount: sliceInFlight, isUnderWay: checkpoint != nil, at: now.instant)
    if report.groupBlockedByNoSpace { return }
    node.control.logByteCount = report.logByteCount
    node.control.checkpointByteCount = report.checkpointByteCount
    node.forced = report.durable
    if report.durable == report.through { node.forcedStamp = stampInFlight }
    switch node.options.durability {
    case .always:
      node.durable = report.durable
      node.durableStamp = stampInFlight
    case .everySecond, .never:
      // Nothing waits in these modes; what is appended counts as durable.
      node.durable = report.through
      node.durableStamp = stampInFlight
    }
    #if MUTANTS
      if Mutant.active == .skipForce { node.durable = report.through }
    #endif
    release(at: now)
    node.tellForced()
  }

  // MARK: Checkpoints

  /// When the next checkpoint is to be started by itself.
  var checkpointDeadline: Instant {
    guard checkpoint == nil, disk.isIdle, !node.control.checkpointRunning, !isDraining else {
      return .never
    }
    return policy.due(lastReport)
  }

  private mutating func startCheckpointIfDue(
    _ database: UnsafeMutablePointer<Database>, at now: Moment
  ) {
    guard checkpoint == nil, !node.control.checkpointRunning, !isDraining else { return }
    guard node.control.checkpointRequested || policy.due(lastReport) <= now.instant else { return }
    node.control.checkpointRequested = false
    node.control.checkpointRunning = true
    checkpoint = CheckpointCursor()
    checkpointIsNew = true
    checkpointIsCollected = false
  }

  /// Adds the next step of the checkpoint under way to a group.
  private mutating func addCheckpointSlice(
    _ database: UnsafeMutablePointer<Database>, to next: inout DiskGroup, holdsRecords: Bool
  ) {
    next.checkpoint = .none
    guard checkpoint != nil else { return }
    if isDraining {
      checkpoint = nil
      next.checkpoint = .abandon
      return
    }
    if checkpointIsNew {
      checkpointIsNew = false
      next.checkpoint = .begin(through: database.pointee.log.appended)
      return
    }
    let more =
      !checkpointIsCollected
      && database.pointee.checkpointSlice(
        &checkpoint!, into: &next.checkpointBytes,
        byteCountMax: policy.sliceByteCount(logByteCount: next.log.count))
    if more {
      next.checkpoint = .entries
    } else if holdsRecords {
      // The entries may show what is held back: they count only once that is written.
      next.checkpoint = .entries
      checkpointIsCollected = true
    } else {
      next.checkpoint = .finish(
        stamp: database.pointee.lastStamp, horizonMillis: database.pointee.horizonMillis)
      checkpoint = nil
    }
  }

  private mutating func checkpointEnded(_ report: DiskReport, at now: Moment) {
    checkpoint = nil
    node.control.checkpointRunning = false
    if report.checkpointFinished {
      node.counters.checkpoints &+= 1
      node.control.lastSaveSeconds = now.wallMillis / 1_000
      log(.info, "checkpoint of \(report.checkpointByteCount) bytes is complete")
      hasToldAbandoned = false
    } else if !isDraining, !hasToldAbandoned {
      log(.error, "checkpoint abandoned: no space on the disk; it is tried again until it fits")
      hasToldAbandoned = true
    }
  }
}
