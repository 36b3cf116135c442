import Base

/// Two-phase commit of one member: coordinator, participant, inquiry and locks.
///
/// Pure: events go in with the time, effects are appended to a buffer of the caller. A turn of the
/// owner is any number of calls, then `flush`, then the effects in order. `wake` is called at
/// `deadline`. docs/protocol.md numbers the rules; the code names them.
public struct Negotiator: ~Copyable {
  /// This member.
  public let member: MemberID
  /// The member list, this one included.
  public internal(set) var members: MemberSet
  /// Its version.
  public internal(set) var epoch: Epoch
  /// What happened so far.
  public internal(set) var counters = NegotiatorCounters()
  /// The greatest hybrid stamp that a message carried; feed the node's clock with it.
  public internal(set) var greatestStamp: Stamp = .zero

  let options: NegotiatorOptions
  var chance: Random
  var entries = EntryTable()
  @usableFromInline var locks: LockTable
  var timers = MinHeap<Timer>()
  var outbox: Outbox
  /// Transactions whose locks may have become free; looked at before the call ends.
  var awakened: [TransactionID] = []
  var hasUnlocked = false

  // Forces.
  var lastTicket = Ticket(0)
  var awaited: [Awaited] = []
  var awaitedHead = 0

  // Counters of own transactions (rules 7 and 9).
  /// Invariant: nextCounter <= ceiling; below the durable ceiling when given out.
  var nextCounter: UInt64 = 1
  var ceiling: UInt64 = 0
  var durableCeiling: UInt64 = 0
  /// Own transactions in the order of their counters, finished ones not yet skipped included.
  var begun: [TransactionID] = []
  var begunHead = 0
  var openCountHeld = 0
  /// All own counters below are finished; what the headers say is the durable one.
  var lowWater: UInt64 = 1
  var durableLowWater: UInt64 = 0
  /// The one whose force is awaited; only to await it once.
  var awaitedLowWater: UInt64 = 0

  /// By member number less one.
  var coordinators: [CoordinatorMemory]
  /// When marks that did not make a whole step are used.
  var forgetAt = Instant.never
  /// When commits that are held must leave; `never`: none are.
  var heldUntil = Instant.never
  var scratch: [UInt8] = []

  /// Something that waits for a force.
  struct Awaited {
    enum What {
      case ownVote(TransactionID, Attempt)
      case death(TransactionID, Attempt)
      case finalAbort(TransactionID)
      case ceiling(UInt64)
      case lowWater(UInt64)
    }
    var ticket: Ticket
    var what: What
  }

  /// Makes the negotiator of `member`, which is one of `members`. Next: `recover` for each note
  /// that is durable, then `finishRecovery`. `seed` decides the jitter.
  public init(
    member: MemberID, members: MemberSet, epoch: Epoch, options: NegotiatorOptions, seed: UInt64
  ) {
    invariant(members.contains(member), "a member is in its member list")
    self.member = member
    self.members = members
    self.epoch = epoch
    self.options = options
    chance = Random(seed: seed)
    locks = LockTable(key: options.hashKey)
    outbox = Outbox(byteCountMax: options.messageByteCountMax)
    coordinators = Array(repeating: CoordinatorMemory(), count: Int(MemberID.numberMax))
  }

  /// A second one in the same state, for explorers that try several futures.
  public init(copying other: borrowing Negotiator) {
    member = other.member
    members = other.members
    epoch = other.epoch
    counters = other.counters
    greatestStamp = other.greatestStamp
    options = other.options
    chance = other.chance
    entries = other.entries
    locks = other.locks
    timers = other.timers
    outbox = other.outbox
    awakened = other.awakened
    hasUnlocked = other.hasUnlocked
    lastTicket = other.lastTicket
    awaited = other.awaited
    awaitedHead = other.awaitedHead
    nextCounter = other.nextCounter
    ceiling = other.ceiling
    durableCeiling = other.durableCeiling
    begun = other.begun
    begunHead = other.begunHead
    openCountHeld = other.openCountHeld
    lowWater = other.lowWater
    durableLowWater = other.durableLowWater
    awaitedLowWater = other.awaitedLowWater
    coordinators = other.coordinators
    forgetAt = other.forgetAt
    heldUntil = other.heldUntil
  }

  // MARK: Events

  /// Takes a message that came from `sender`. Bad bytes are dropped and counted.
  ///
  /// `isJoining`: the sender says that it was never a member. It is answered what it asks also when
  /// it takes part in nothing here: it has voted for the change that was to make it a member, and
  /// that came to nothing. Who was removed is not: that change may be forgotten, too, and was
  /// committed.
  public mutating func receive<R: Resource & ~Copyable>(
    _ message: UnsafeRawBufferPointer, from sender: MemberID, isJoining: Bool = false,
    at now: Instant, _ resource: inout R, _ effects: inout Effects
  ) {
    var reader = ByteReader(message)
    guard let header = Message.header(&reader), header.sender == sender, sender != member else {
      counters.malformed += 1
      return
    }
    let isMember = members.contains(sender)
    let isStranger = !isMember && !isGuest(sender)
    guard !isStranger || isJoining else {
      counters.strangers += 1
      return
    }
    counters.messagesReceived += 1
    if !isStranger { greatestStamp = max(greatestStamp, header.stamp) }
    while !reader.isEmpty {
      guard let item = Message.item(&reader) else {
        counters.malformed += 1
        break
      }
      counters.itemsReceived += 1
      if isStranger, !item.isInquiry {
        counters.strangers += 1
        continue
      }
      take(item, header, at: now, &resource, &effects)
    }
    // That of another epoch may be of an earlier life under the sender's id; it is said again.
    if isMember, header.epoch == epoch {
      hear(mark: header.lowWater, of: sender, at: now, &resource, &effects)
    }
    settle(at: now, &resource, &effects)
  }

  private mutating func take<R: Resource & ~Copyable>(
    _ item: Message.Item, _ header: Message.Header, at now: Instant, _ resource: inout R,
    _ effects: inout Effects
  ) {
    let (id, attempt, sender) = (item.id, item.attempt, header.sender)
    switch item.content {
    case .prepare(let participants, let work, let isOnePhase):
      receivePrepare(
        id, attempt, participants, work, isOnePhase: isOnePhase, header, at: now, &resource,
        &effects)
    case .yes(let result):
      guard isOfThisEpoch(header) else { return }
      receiveYes(id, attempt, result, from: sender, at: now, &resource, &effects)
    case .no(let reason, let detail):
      receiveNo(id, attempt, reason, detail, from: sender, at: now, &resource, &effects)
    case .decision(let word):
      receiveDecision(id, attempt, word, from: sender, at: now, &resource, &effects)
    case .acknowledgement(let word):
      receiveAcknowledgement(id, attempt, word, from: sender, at: now, &resource, &effects)
    case .inquiry(let participants):
      receiveInquiry(id, attempt, participants, from: sender, at: now, &resource, &effects)
    case .answer(let word):
      guard word == .committed || isOfThisEpoch(header) else { return }
      receiveAnswer(id, attempt, word, from: sender, at: now, &resource, &effects)
    }
  }

  /// Prepares, yes votes and answers of another epoch do not count. The rest stays true: decisions,
  /// acknowledgements, and a no, after which the coordinator may abort as it always may.
  mutating func isOfThisEpoch(_ header: Message.Header) -> Bool {
    #if MUTANTS
      if Mutant.active == .acceptOldEpoch { return true }
    #endif
    if header.epoch == epoch { return true }
    counters.otherEpochs += 1
    return false
  }

  /// Everything appended before the effect `notify(ticket)`, and before lower ones, is durable.
  public mutating func forced<R: Resource & ~Copyable>(
    _ ticket: Ticket, at now: Instant, _ resource: inout R, _ effects: inout Effects
  ) {
    while awaitedHead < awaited.count, awaited[awaitedHead].ticket <= ticket {
      let what = awaited[awaitedHead].what
      awaitedHead += 1
      switch what {
      case .ownVote(let id, let attempt):
        countOwnVote(id, attempt, at: now, &resource, &effects)
      case .death(let id, let attempt): deathIsDurable(id, attempt, at: now, &resource, &effects)
      case .finalAbort(let id): finalAbortIsDurable(id, at: now, &resource, &effects)
      case .ceiling(let value): durableCeiling = max(durableCeiling, value)
      case .lowWater(let value): durableLowWater = max(durableLowWater, value)
      }
    }
    if awaitedHead > 1_024, awaitedHead * 2 > awaited.count {
      awaited.removeFirst(awaitedHead)
      awaitedHead = 0
    }
    settle(at: now, &resource, &effects)
  }

  /// Ends a turn: the messages collected in it become effects, commits after `decisionDelay` at
  /// the latest, or at once if `hurried`. `stamp` is the node's hybrid stamp.
  public mutating func flush(
    stamp: Stamp, hurried: Bool = false, at now: Instant, _ effects: inout Effects
  ) {
    if lowWater > awaitedLowWater {
      awaitedLowWater = lowWater
      awaitForce(.lowWater(lowWater))
    }
    let header = Message.Header(
      sender: member, epoch: epoch, stamp: stamp, lowWater: durableLowWater)
    let holds = !hurried && mayHold(at: now)
    counters.messagesSent += UInt64(outbox.flush(header, holding: holds, &effects))
    if outbox.isEmpty { heldUntil = .never }
    dropIdleTimers()
    if let last = awaited.last, awaitedHead < awaited.count, last.ticket > lastTicket {
      lastTicket = last.ticket
      effects.list.append(.notify(lastTicket))
    }
  }

  /// Whether commits may wait for a message to ride with.
  private mutating func mayHold(at now: Instant) -> Bool {
    guard options.decisionDelay > .zero else { return false }
    if heldUntil == .never, !outbox.isEmpty { heldUntil = now + options.decisionDelay }
    return now < heldUntil
  }

  // MARK: Parts

  mutating func awaitForce(_ what: Awaited.What) {
    awaited.append(Awaited(ticket: Ticket(lastTicket.number + 1), what: what))
  }

  /// Lets waiting prepares try again, and tells the owner of unlocked names. Ends every event.
  mutating func settle<R: Resource & ~Copyable>(
    at now: Instant, _ resource: inout R, _ effects: inout Effects
  ) {
    while !awakened.isEmpty {
      var ids = awakened
      awakened = []
      ids.sort()
      for id in ids { tryQueued(id, at: now, &resource, &effects) }
    }
    guard hasUnlocked else { return }
    hasUnlocked = false
    effects.list.append(.unlocked)
  }

  mutating func unlock(_ slot: Int) {
    let lock = entries[slot].lock
    guard lock >= 0 else { return }
    entries[slot].lock = -1
    locks.unlock(lock, awakened: &awakened)
    hasUnlocked = true
  }

  /// Writes a record into `scratch`.
  mutating func write(
    _ kind: Record.Kind, _ attempt: Attempt, _ participants: MemberSet, names: Work? = nil
  ) {
    Record(kind, attempt, participants, names: names).encode(into: &scratch)
  }

  mutating func trace(
    _ effects: inout Effects, _ id: TransactionID, _ attempt: Attempt, _ peer: MemberID?,
    _ action: TraceStep.Action
  ) {
    guard options.tracesSteps else { return }
    effects.list.append(
      .step(
        TraceStep(
          member: member, isCoordinator: id.node == member, id: id, attempt: attempt, peer: peer,
          action: action)))
  }
}
