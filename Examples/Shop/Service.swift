import Base
import NetKit
import TPC

/// One process of the shop: a negotiator, the desk that it works with, and the network.
///
/// This is what any user of `TPC` writes once: the loop that turns messages, time and forces into
/// calls of the negotiator, and its effects into messages, forces and replies. On one thread.
struct Service<Content: Books>: ~Copyable {
  let roster: Roster
  let member: MemberID
  var link: SocketTransport
  var negotiator: Negotiator
  var desk: Desk<Content>
  var effects = Effects()
  /// What is under way for clients.
  var jobs = Jobs()

  /// Links that this member opened to the others, by number less one, and when to open the next.
  private var calls: [LinkID]
  private var callAt: [Instant]
  private var openCalls: Set<LinkID> = []

  /// The gate: messages that say what is not on disk yet, and what the negotiator wants to be told
  /// once it is. One force covers all of it.
  private var held: [(to: MemberID, message: [UInt8])] = []
  private var ticket: Ticket?
  private var forceAt = Instant.never

  private var input = ByteBuffer()
  private var output = ByteBuffer()
  private var stamp = Stamp.zero
  private var hasMoreEvents = false

  static var redialPause: Interval { .millis(100) }
  /// Records that nobody hurries wait so long for company.
  static var lazyForce: Interval { .millis(20) }
  static var eventsPerTurnMax: Int { 256 }
  /// Bytes waiting for one member above which further messages are dropped: they may be lost.
  static var outputByteCountMax: Int { 16 << 20 }

  /// Opens the network and gives the negotiator its notes back.
  init(
    _ member: MemberID, of roster: Roster, _ desk: consuming Desk<Content>, usesDatagrams: Bool
  ) throws(ListenError) {
    self.roster = roster
    self.member = member
    var sockets = SocketOptions()
    sockets.addresses = [ListenAddress(roster.place(of: member).endpoint)]
    sockets.acceptsStreams = !usesDatagrams
    sockets.acceptsDatagrams = usesDatagrams
    sockets.peersUseDatagrams = usesDatagrams
    sockets.connectionCountMax = 256
    sockets.datagrams.peerCountMax = 256
    link = try SocketTransport(sockets)
    var options = NegotiatorOptions()
    options.messageByteCountMax = 1 << 20
    options.hashKey = SipKey(k0: systemRandomWord(), k1: systemRandomWord())
    negotiator = Negotiator(
      member: member, members: roster.members, epoch: Epoch(1), options: options,
      seed: systemRandomWord())
    self.desk = desk
    calls = Array(repeating: .none, count: roster.places.count)
    callAt = Array(repeating: .zero, count: roster.places.count)
    recover(at: systemInstant())
  }

  private mutating func recover(at now: Instant) {
    var notes: [(key: [UInt8], record: [UInt8])] = []
    desk.forEachNote { notes.append((Array($0), Array($1))) }
    for note in notes {
      let isGood = note.key.withUnsafeBytes { key in
        note.record.withUnsafeBytes { negotiator.recover(key: key, record: $0) }
      }
      guard isGood else { stop("the journal holds a note that is none") }
    }
    negotiator.finishRecovery(at: now, &desk, &effects)
  }

  // MARK: The loop

  /// Serves until the process ends; there is nothing to do at an end that a crash would not need.
  mutating func run() {
    carryOut(at: systemMoment())
    while true { turn() }
  }

  private mutating func turn() {
    let now = link.wait(until: hasMoreEvents ? .zero : deadline)
    callOthers(at: now)
    takeEvents(at: now)
    if negotiator.deadline <= now.instant { negotiator.wake(at: now.instant, &desk, &effects) }
    goOnWithJobs(at: now)
    carryOut(at: now)
    answerQuestions(at: now)
    link.flush(at: now)
  }

  private var deadline: Instant {
    var earliest = min(link.deadline, negotiator.deadline, min(forceAt, jobs.deadline))
    for (index, link) in calls.enumerated() where link == .none && index + 1 != member.number {
      earliest = min(earliest, callAt[index])
    }
    return earliest
  }

  private mutating func takeEvents(at now: Moment) {
    var left = Self.eventsPerTurnMax
    while left > 0, let event = link.next(into: &input, at: now) {
      left -= 1
      switch event {
      case .opened(let id, .peer, _): if calls.contains(id) { openCalls.insert(id) }
      case .opened(let id, _, _): link.close(id, afterFlush: false, at: now)
      case .received(let id): received(on: id, at: now)
      case .closed(let id, _): closed(id, at: now)
      case .request, .ended, .drained: break
      }
    }
    hasMoreEvents = left == 0
  }

  // MARK: Links

  /// Every member calls every other one and speaks on the links that it opened.
  private mutating func callOthers(at now: Moment) {
    for index in calls.indices
    where calls[index] == .none && index + 1 != member.number && callAt[index] <= now.instant {
      calls[index] = link.connect(to: roster.places[index].endpoint, at: now)
      callAt[index] = now.instant + Self.redialPause
    }
  }

  private mutating func closed(_ id: LinkID, at now: Moment) {
    openCalls.remove(id)
    guard let index = calls.firstIndex(of: id) else { return }
    calls[index] = .none
    callAt[index] = now.instant + Self.redialPause
  }

  /// The first byte of a message says what it is: a client's request or the reply to one, or else
  /// the number of the member that a negotiator's message comes from. (Here everybody is believed.
  /// Members that strangers can reach have to prove who they are, as those of the store do.)
  private mutating func received(on id: LinkID, at now: Moment) {
    guard let first = input.bytes.first else { return }
    let rest = UnsafeRawBufferPointer(rebasing: input.bytes.dropFirst())
    if first == Wire.request {
      take(String(decoding: rest, as: UTF8.self), from: id, at: now)
    } else {
      negotiator.receive(
        rest, from: MemberID(UInt16(first)), at: now.instant, &desk, &effects)
    }
  }

  private mutating func send(_ message: UnsafeRawBufferPointer, to peer: MemberID, at now: Moment) {
    let id = calls[Int(peer.number) - 1]
    // Without a link it is lost. The negotiator sends again what matters.
    guard openCalls.contains(id), link.pendingByteCount(of: id) < Self.outputByteCountMax else {
      return
    }
    output.removeAll()
    output.append(UInt8(member.number))
    output.append(message)
    _ = link.send(output.bytes, on: id, at: now)
  }

  mutating func reply(
    _ text: String, as kind: UInt8 = Wire.reply, to id: LinkID, at now: Moment
  ) {
    output.removeAll()
    output.append(kind)
    output.append(string: text)
    _ = link.send(output.bytes, on: id, at: now)
  }

  // MARK: Effects

  /// Hybrid time: never goes back, and is above what the others have shown.
  mutating func nextStamp(at now: Moment) -> Stamp {
    let least = max(stamp, negotiator.greatestStamp)
    stamp = max(Stamp(nanos: now.wallNanos), Stamp(nanos: least.nanos + 1))
    return stamp
  }

  /// Ends a turn: does what the negotiator asks for, until it asks for nothing more.
  private mutating func carryOut(at now: Moment) {
    var goesOn = true
    while goesOn {
      negotiator.flush(stamp: nextStamp(at: now), at: now.instant, &effects)
      var renewals: [TransactionID] = []
      for effect in effects.list { carryOut(effect, &renewals, at: now) }
      effects.removeAll()
      for id in renewals { renew(id, at: now) }
      goesOn = !renewals.isEmpty
      if desk.hasPending { forceAt = min(forceAt, now.instant + Self.lazyForce) }
      if forceAt <= now.instant, force(at: now) { goesOn = true }
    }
  }

  private mutating func carryOut(
    _ effect: Effect, _ renewals: inout [TransactionID], at now: Moment
  ) {
    switch effect {
    case .send(let peer, let range, let isGated):
      let message = UnsafeRawBufferPointer(rebasing: effects.bytes.bytes[range])
      if isGated, desk.hasPending {
        held.append((peer, Array(message)))
      } else {
        send(message, to: peer, at: now)
      }
    case .notify(let ticket):
      self.ticket = ticket
      if !desk.hasPending { forceAt = now.instant }
    case .urgent: forceAt = now.instant
    case .committed(let id): conclude(id, "committed \(id)", at: now)
    case .aborted(let id, let reason): aborted(id, reason, at: now)
    case .unknown(let id): conclude(id, "unknown \(id)", at: now)
    case .renew(let id, _): renewals.append(id)
    case .unlocked: jobs.retryAt = now.instant
    case .result, .refusal, .step: break
    }
  }

  /// Makes all that was appended durable, then opens the gate. True: the negotiator was told.
  private mutating func force(at now: Moment) -> Bool {
    forceAt = .never
    // What need not wait for the disk leaves before it.
    link.flush(at: now)
    desk.force()
    for (peer, message) in held { message.withUnsafeBytes { send($0, to: peer, at: now) } }
    held.removeAll(keepingCapacity: true)
    guard let ticket else { return false }
    self.ticket = nil
    negotiator.forced(ticket, at: now.instant, &desk, &effects)
    return true
  }
}

/// The first byte of a message between processes of the shop; 1...64 are members.
enum Wire {
  static let request: UInt8 = 0
  /// The name of the transaction that an order has become; the reply follows.
  static let begun: UInt8 = 254
  static let reply: UInt8 = 255
}
