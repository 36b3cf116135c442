import Base
import NetKit
import Store

/// Whether the loop goes on.
public enum HostState {
  /// The data is being recovered; clients are answered `-LOADING`.
  case loading
  case running
  case stopped(StopReason)
}

/// Why the loop ended.
public enum StopReason: Sendable {
  /// `requestStop` or SHUTDOWN: everything acknowledged is forced.
  case requested
  /// The data could not be recovered.
  case unrecoverable(RecoveryError)
  /// The directory is not that of the member that was asked for: this says what to do.
  case refused(String)
  /// A write or force failed; nothing more was acknowledged.
  case diskFailed(DiskFault)
}

/// How important a line of the log is.
public enum LogLevel: UInt8, Comparable, Sendable {
  case error, info, debug
  public static func < (a: LogLevel, b: LogLevel) -> Bool { a.rawValue < b.rawValue }
}

/// The body of the loop: one node over some transport and some disk.
///
/// `serve` and the simulator run the same one. A turn is: wait, read the clock once, take what the
/// disk finished and let go what waited for it, take a bounded number of events and execute, hand
/// the turn's records to the disk, flush. To be used from one thread.
public struct Host<Link: Transport & ~Copyable, Medium: Disk & ~Copyable>: ~Copyable {
  /// The transport; its counters and options may be looked at.
  public var link: Link
  /// The disk.
  public var disk: Medium
  /// Where lines of the log go; set before the first turn. Never called once a command.
  public var log: (LogLevel, String) -> Void = { _, _ in }
  /// Progress of recovery, in bytes, for who wants to show it.
  public private(set) var recovered: (done: UInt64, of: UInt64) = (0, 0)

  var node: Node
  var stage = Stage.fresh
  /// The group to hand over next; its buffers go to the disk and come back.
  var group: DiskGroup?
  var checkpoint: CheckpointCursor?
  var checkpointIsNew = false
  /// All entries of the checkpoint under way are handed over; what is left is to finish it.
  var checkpointIsCollected = false
  var policy: CheckpointPolicy
  /// The log says that a checkpoint had no room; it says so again only after one that had.
  var hasToldAbandoned = false
  var lastReport = DiskReport(
    through: .zero, durable: .zero, logByteCount: 0, checkpointByteCount: 0)
  /// The greatest stamp among the records of the group in flight.
  var stampInFlight = Stamp.zero
  /// Bytes of entries of a checkpoint in the group in flight.
  var sliceInFlight = 0
  var lastForce = Instant.zero
  var lastHandOver = Instant.zero
  var quiet = Quiet()
  /// The disk has done the last group already, and wakes nobody for it.
  var hasDiskNews = false
  /// A group ended in this turn.
  var hasFinishedGroup = false
  /// The oldest record that nobody hurries, and since when it waits.
  var lazyFrom = Mark.zero
  var lazySince = Instant.zero
  /// Since when records wait for the checkpoint under way; nil: none do.
  var heldSince: Instant?
  /// This node is a member of a cluster.
  let isMember: Bool
  /// Finds out what names of members mean; nil: there are none.
  let resolver: (any NameResolver)?
  /// The list of members has changed with this record.
  var listMark: Mark?
  /// This node is no member any more, since then.
  var removedSince: Instant?
  /// What is to be done for the other members; reused.
  var peerEffects = PeerEffects()
  private var lastCounts = Instant.zero
  private var input = ByteBuffer(capacity: 64 << 10)

  enum Stage {
    case fresh, loading, running
    /// Asked to stop: no new work; ends when all is forced and sent, or at the deadline.
    case draining(deadline: Instant)
    case stopped(StopReason)
  }

  /// Time given to clients to take what they are owed when the server stops.
  static var drainTimeout: Interval { .seconds(3) }
  /// How much of it is kept for forcing and sending, after the last command was taken.
  static var drainReserve: Interval { .seconds(2) }
  /// How old the network's counts in INFO may be.
  static var countsInterval: Interval { .millis(100) }
  /// How long records that nobody waits for may wait for a group to ride with.
  static var lazyForce: Interval { .millis(20) }
  /// With weak durability records are handed over this late, or when they pass the byte count.
  static var lazyHandOver: Interval { .millis(10) }
  static var lazyHandOverByteCount: Int { 512 << 10 }

  /// Begins nothing before the first turn. The seed is for RANDOMKEY only.
  public init(
    link: consuming Link, disk: consuming Medium, options: NodeOptions, seed: UInt64,
    passwords: (any PasswordChecker)?
  ) {
    self.link = link
    self.disk = disk
    policy = options.checkpoints
    isMember = options.cluster != nil
    resolver = options.cluster?.resolver
    node = Node(
      options: options, seed: seed, passwords: passwords,
      at: Moment(instant: .zero, wallNanos: 0))
    group = DiskGroup()
  }

  /// Asks the loop to end: what has been received is executed, forced and answered first.
  public mutating func requestStop() { node.control.stopRequested = true }

  /// One turn of the loop.
  public mutating func turn() -> HostState {
    let isFirst = isFresh
    if isFirst {
      stage = .loading
      disk.recover()
    }
    let now = link.wait(until: deadline)
    if isFirst { node.startedAt = now }
    begin(at: now)
    hasDiskNews = false
    takeDiskEvents(at: now)
    #if MUTANTS
      FailPoint.passDurable(node.durable)
    #endif
    if case .stopped(let reason) = stage { return .stopped(reason) }
    takePasswords(at: now)
    if isMember { takeNames(at: now) }
    sendLateReplies(at: now)
    if !waitsForDisk {
      resumeSessions(at: now)
      takeEvents(at: now)
      if isMember { wakePeers(at: now) }
      if isMember { workOnCopy(at: now) }
    }
    if case .stopped(let reason) = stage { return .stopped(reason) }
    if hasFinishedGroup {
      hasFinishedGroup = false
      quiet.ended(
        after: now.instant - lastHandOver, commandCount: node.counters.commands,
        voteCount: node.voteCount, at: now.instant)
    }
    concludeClusterTurn(at: now)
    #if MUTANTS
      if FailPoint.isAtHandOver {
        link.flush(at: now)
        FailPoint.strike()
      }
    #endif
    housekeep(at: now)
    handOver(at: now)
    carryOutClosings(at: now)
    link.flush(at: now)
    link.holdBack(waitsForDisk)
    return finish(at: now)
  }

  private var isFresh: Bool {
    if case .fresh = stage { return true }
    return false
  }

  /// The disk is behind by as much as may wait for it.
  private var waitsForDisk: Bool {
    node.isLogFull && !disk.isIdle
  }

  private mutating func begin(at now: Moment) {
    node.now = now
    node.counters.turns &+= 1
    node.database?.pointee.observe(wallNanos: now.wallNanos)
    if node.control.stopRequested { startDraining(at: now) }
    if now.instant - lastCounts >= Self.countsInterval {
      lastCounts = now.instant
      node.transportCounts = link.counts
    }
  }

  mutating func setRecovered(_ done: UInt64, _ of: UInt64) { recovered = (done, of) }

  // MARK: Events

  private mutating func takeEvents(at now: Moment) {
    var left = NodeOptions.eventsPerTurnMax
    while left > 0, !node.isLogFull, let event = link.next(into: &input, at: now) {
      left -= 1
      switch event {
      case .received(let id):
        if isMember, isContact(id) {
          receive(input.bytes, fromContact: id, at: now)
          continue
        }
        if isMember, node.isPeer(id) {
          receive(input.bytes, fromPeer: id, at: now)
          continue
        }
        node.receive(input.bytes, on: id)
        sendOutput(on: id, at: now)
      case .request(let id, let endpoint, let operation, let plain):
        node.request(input.bytes, on: id, from: endpoint, id: operation, plain: plain)
        sendRequestOutput(on: id, at: now)
      case .opened(let id, let kind, let endpoint): opened(id, kind, endpoint, at: now)
      case .ended(let id): node.ended(id)
      case .drained(let id): drained(id)
      case .closed(let id, let end):
        node.closed(id)
        if isMember { peerClosed(id, end, at: now) }
      }
    }
    hasMoreEvents = left == 0 || node.isLogFull
  }

  /// The last turn took as many events as it may: there may be more without waiting.
  private var hasMoreEvents = false

  private mutating func opened(
    _ id: LinkID, _ kind: LinkKind, _ endpoint: Endpoint, at now: Moment
  ) {
    if kind == .peer { return peerOpened(id, from: endpoint, at: now) }
    node.opened(id, from: endpoint)
  }

  private mutating func drained(_ id: LinkID) {
    guard let session = node.sessions[id] else { return }
    node.endOutputStall(session, unsent: link.pendingByteCount(of: id))
  }

  /// Sends what the node left for a link in this batch.
  private mutating func sendOutput(on id: LinkID, at now: Moment) {
    let count = node.output.count
    guard count > 0 else { return }
    node.counters.outputBytes &+= UInt64(count)
    _ = link.send(node.output.bytes, on: id, at: now)
    node.output.removeAll()
    // A small reply cannot pass the bound unless much is pending already; ask only then.
    if let session = node.sessions[id], session.pointee.stall == .none {
      let unsent = link.pendingByteCount(of: id)
      if unsent > 0 { node.stallOnOutput(session, unsent: unsent) }
    }
  }

  private mutating func sendRequestOutput(on id: LinkID, at now: Moment) {
    guard node.output.count > 0 else { return }
    let count = node.output.count
    node.counters.outputBytes &+= UInt64(count)
    if case .tooLarge = link.send(node.output.bytes, on: id, at: now) {
      sendTooLarge(count, on: id, outcome: node.requestOutcome, at: now)
    }
    node.output.removeAll()
  }

  mutating func sendTooLarge(
    _ count: Int, on id: LinkID, outcome: RequestOutcome, at now: Moment
  ) {
    var error = ByteBuffer()
    error.reply(
      error: "TOOLARGE \(outcome.word); the reply of \(count) bytes "
        + "exceeds a UDP message's \(link.messageByteCountMax); ask over TCP")
    _ = link.send(error.bytes, on: id, at: now)
  }

  private mutating func resumeSessions(at now: Moment) {
    guard !node.ready.isEmpty else { return }
    let links = node.ready
    node.ready.removeAll(keepingCapacity: true)
    for (index, id) in links.enumerated() {
      if node.isLogFull {
        // Those that had no turn go first in the next one.
        node.ready.insert(contentsOf: links[index...], at: 0)
        return
      }
      node.resume(id)
      sendOutput(on: id, at: now)
    }
  }

  private mutating func takePasswords(at now: Moment) {
    guard let passwords = node.passwords else { return }
    while let (ticket, accepted) = passwords.poll() {
      if let id = node.passwordChecked(ticket: ticket, accepted: accepted) {
        sendOutput(on: id, at: now)
        continue
      }
      guard let at = node.waitingRequests.firstIndex(where: { $0.ticket == ticket }) else {
        continue
      }
      let waiting = node.waitingRequests.remove(at: at)
      waiting.bytes.withUnsafeBytes { bytes in
        node.request(
          bytes, on: waiting.link, from: waiting.endpoint, id: waiting.id, plain: waiting.plain,
          passwordAccepted: accepted)
      }
      sendRequestOutput(on: waiting.link, at: now)
    }
  }

  // MARK: Letting go

  /// Sends what waited at the gate and is durable now.
  mutating func release(at now: Moment) {
    while let (id, bytes, outcome) = node.gate.front(durable: node.releasable) {
      node.counters.outputBytes &+= UInt64(bytes.count)
      let count = bytes.count
      if case .tooLarge = link.send(bytes, on: id, at: now) {
        sendTooLarge(count, on: id, outcome: outcome, at: now)
      }
      node.gate.dropFront()
      node.released(id, byteCount: count, unsent: link.pendingByteCount(of: id))
    }
    for id in node.finishSaves(forced: node.forced) {
      node.answerSave(id)
      sendOutput(on: id, at: now)
    }
  }

  mutating func carryOutClosings(at now: Moment) {
    for change in node.readingChanges { link.setReading(change.enabled, on: change.link) }
    node.readingChanges.removeAll(keepingCapacity: true)
    for id in node.closing { link.close(id, afterFlush: true, at: now) }
    node.closing.removeAll(keepingCapacity: true)
    if node.control.securityWarnings > 0 {
      log(
        .error,
        "\(node.control.securityWarnings) connection(s) sent POST or Host: as a command and were "
          + "closed; a web page may be trying to reach this port")
      node.control.securityWarnings = 0
    }
  }

  // MARK: Time

  /// When there is something to do; zero: at once.
  var deadline: Instant {
    if hasDiskNews { return .zero }
    if !waitsForDisk, !node.ready.isEmpty || hasMoreEvents { return .zero }
    if checkpoint != nil, disk.isIdle { return .zero }
    if node.control.stopRequested, !isDraining { return .zero }
    var earliest = link.deadline
    if let database = node.database {
      if moreHousekeeping { return .zero }
      earliest = min(earliest, expiryDeadline, clusterDeadline, checkpointDeadline)
      if database.pointee.log.pendingByteCount > 0, disk.isIdle {
        earliest = min(earliest, handOverDeadline)
      }
      if let force = forceDeadline { earliest = min(earliest, force) }
    }
    if case .draining(let deadline) = stage { earliest = min(earliest, deadline) }
    if isMember, !waitsForDisk { earliest = min(earliest, peersDeadline, copyDeadline) }
    return earliest
  }

  private var expiryDeadline: Instant {
    guard nextExpiry != Change.noExpiry else { return .never }
    // By the wall clock: after it has stepped back the hybrid clock stands still until then.
    let left = max(1, min(nextExpiry &- node.now.wallMillis, 3_600_000))
    return node.now.instant + .millis(UInt64(left))
  }

  private var moreHousekeeping = false
  /// The earliest expiry to wait for. Keys that are due and locked don't count: they are looked at
  /// in the turn that unlocks them, as in any.
  private var nextExpiry = Change.noExpiry

  private mutating func housekeep(at now: Moment) {
    guard let database = node.database else { return }
    moreHousekeeping = false
    nextExpiry = database.pointee.nextExpiry
    if nextExpiry <= database.pointee.clockMillis {
      let pass = node.expireDue(database, limit: 512)
      node.counters.expired &+= UInt64(pass.removedCount)
      nextExpiry = pass.isCut ? Change.noExpiry : pass.nextExpiry
      if pass.isCut, pass.removedCount > 0 { moreHousekeeping = true }
    }
    if database.pointee.step(budget: 64) { moreHousekeeping = true }
  }

  // MARK: Stopping

  private mutating func startDraining(at now: Moment) {
    switch stage {
    case .running: break
    case .loading:
      stage = .stopped(.requested)
      return
    case .fresh, .draining, .stopped: return
    }
    stage = .draining(deadline: now.instant + Self.drainTimeout)
    link.stopListening()
    log(.info, "stopping: no new connections, forcing what is acknowledged")
  }

  /// Ends the drain once all is forced and sent.
  private mutating func finish(at now: Moment) -> HostState {
    switch stage {
    case .fresh, .loading: return .loading
    case .running: return .running
    case .stopped(let reason): return .stopped(reason)
    case .draining(let deadline):
      guard let database = node.database else { return .running }
      let isForced =
        disk.isIdle && database.pointee.log.pendingByteCount == 0 && isClusterIdle
      // Clients that never pause are not waited for: their last writes are still forced.
      let isLate = now.instant + Self.drainReserve >= deadline
      if isForced && node.gate.isEmpty || isLate { closeAll(at: now) }
      let isOver = now.instant >= deadline
      guard isForced && node.gate.isEmpty && node.sessions.count == 0 || isOver else {
        return .running
      }
      if let fault = disk.shutDown(clean: isForced) {
        stage = .stopped(.diskFailed(fault))
        return .stopped(.diskFailed(fault))
      }
      stage = .stopped(.requested)
      return .stopped(.requested)
    }
  }

  private mutating func closeAll(at now: Moment) {
    node.closeAll()
    carryOutClosings(at: now)
  }
}
