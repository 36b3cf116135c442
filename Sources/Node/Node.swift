import Base
import NetKit
import Store

/// One node above the transport and the disk: sessions, the client protocol, the database.
///
/// Bytes and requests go in by `receive` and `request`; what may be sent at once comes back in
/// `output`, what must wait for the log stands in `gate`. It reads no clock and does no I/O; `Host`
/// carries out what it leaves behind. One command at a time, to its end.
struct Node: ~Copyable {
  let options: NodeOptions
  /// Nil while the data is being recovered.
  var database: UnsafeMutablePointer<Database>?
  /// The seam to the agreement core: how the transaction at hand is concluded.
  var agreement = Alone()
  /// The agreement with other members; nil: the node is alone.
  var cluster: ClusterPointer?
  /// The other members; nil for a node alone.
  var peers: Peers?
  var sessions = SessionTable()
  var gate = Gate()
  /// Replies to the batch at hand that may leave at once, after `receive`, `request` or `resume`.
  var output = ByteBuffer()
  /// Sessions with whole commands left over, for the next turn.
  var ready: [LinkID] = []
  /// Links to close after what they are owed, since the last time Host looked.
  var closing: [LinkID] = []
  /// Links whose reading is to be stopped or resumed, since the last time Host looked.
  var readingChanges: [(link: LinkID, enabled: Bool)] = []
  /// UDP requests that wait for a password check.
  var waitingRequests: [WaitingRequest] = []
  var counters = NodeCounters()
  var control = NodeControl()
  /// What the transport has counted, for INFO.
  var transportCounts: [(name: String, value: UInt64)] = []
  let passwords: (any PasswordChecker)?

  var parser: RequestParser
  let commands = CommandTable()
  var chance: Random
  var now: Moment
  /// The time of the first turn.
  var startedAt: Moment

  /// Everything through this mark is durable.
  var durable = Mark.zero
  /// Every version up to this stamp is durable.
  var durableStamp = Stamp.zero
  /// Everything through this mark, and every version up to this stamp, has been forced, whatever
  /// the durability.
  var forced = Mark.zero
  var forcedStamp = Stamp.zero
  /// The disk has no room to prepare: writes that grow are refused.
  var noSpace = false

  // The command at hand.
  var replyWaits = false
  /// With weak durability too: it tells a version, or an outcome that may hold one, which a death
  /// could take back and the node give to something else.
  var replyWaitsForForce = false
  var failed = false
  /// The open transaction passed its bound: it is undone as a whole.
  var overflowed = false
  /// The open transaction came to a command for which there is no room.
  var lacksRoom: RoomRefusal?
  var resp: UInt8 = 2
  /// A transaction of the database is open.
  var inTransaction = false
  /// What is known of the changes of the UDP request at hand.
  var requestOutcome = RequestOutcome.notApplied
  /// The id under which the command at hand is recorded.
  var operationID: OperationID?
  /// Offset in `output` from which replies must wait at the gate; -1: none.
  var gateStart = -1
  /// Whose batch is being executed.
  var executing = LinkID.none
  /// Joining a cluster, or letting one join.
  var joining = Joining()
  /// What is to be done for a copy, since the last time Host looked.
  var copyEffects = CopyEffects()
  /// Lines for the log, since the last time Host looked.
  var lines: [(level: LogLevel, text: String)] = []
  /// Copies of values that a command moves within the table.
  var scratch = ByteBuffer()
  private var nextClientID: UInt64 = 1
  private var nextTicket: UInt64 = 1
  let datagramSession: SessionPointer
  var inputByteCount = 0
  /// Bytes of commands queued between MULTI and EXEC, and of watched keys, of all sessions.
  var queuedByteCount = 0

  init(
    options: NodeOptions, seed: UInt64, passwords: (any PasswordChecker)?, at now: Moment
  ) {
    self.options = options
    self.passwords = passwords
    self.now = now
    startedAt = now
    chance = Random(seed: seed)
    parser = RequestParser(bulkByteCountMax: options.database.valueByteCountMax)
    control.memoryByteCountMax = options.database.memoryByteCountMax
    datagramSession = .allocate(capacity: 1)
    datagramSession.initialize(
      to: Session(
        link: .none, clientID: 0, endpoint: Endpoint(high: 0, low: 0, port: 0), at: now.instant,
        authenticated: false))
  }

  deinit {
    datagramSession.pointee.tail.free()
    datagramSession.deinitialize(count: 1)
    datagramSession.deallocate()
    if let database {
      database.deinitialize(count: 1)
      database.deallocate()
    }
    if let cluster {
      cluster.deinitialize(count: 1)
      cluster.deallocate()
    }
  }

  // MARK: Links

  mutating func opened(_ link: LinkID, from endpoint: Endpoint) {
    let session = Session(
      link: link, clientID: nextClientID, endpoint: endpoint, at: now.instant,
      authenticated: !options.requiresPassword)
    nextClientID += 1
    counters.connections += 1
    _ = sessions.insert(session)
  }

  mutating func closed(_ link: LinkID) {
    if let session = sessions[link] {
      inputByteCount -= session.pointee.tail.buffer.count
      queuedByteCount -= session.pointee.countedByteCount
      if let cluster { endWait(session, cluster) }
    }
    sessions.remove(link)
  }

  /// The client sends no more; what it has sent is still executed and answered.
  mutating func ended(_ link: LinkID) {
    guard let session = sessions[link] else { return }
    session.pointee.ended = true
    if session.pointee.isIdle { close(session) }
  }

  // MARK: Streams

  /// Executes what a client sent; its replies are in `output` or at the gate afterwards.
  mutating func receive(_ bytes: UnsafeRawBufferPointer, on link: LinkID) {
    guard let session = sessions[link], !session.pointee.closing else { return }
    session.pointee.activeAt = now.instant
    counters.inputBytes &+= UInt64(bytes.count)
    executing = link
    var batch = Batch()
    var used = 0
    if session.pointee.mayExecute {
      used = completeTail(session, with: bytes, &batch)
      if used < bytes.count, session.pointee.mayExecute {
        let rest = UnsafeRawBufferPointer(rebasing: bytes[used...])
        used += execute(session, rest, &batch)
      }
    }
    if used < bytes.count, !session.pointee.closing {
      keep(UnsafeRawBufferPointer(rebasing: bytes[used...]), of: session)
    }
    finish(batch, session)
  }

  /// Goes on with a session that has commands left over or whose stall is over.
  mutating func resume(_ link: LinkID) {
    guard let session = sessions[link], !session.pointee.closing else { return }
    session.pointee.isReady = false
    guard session.pointee.stall == .none else {
      // It may be long until its client reads: nobody waits behind it meanwhile.
      if session.pointee.stall == .output, let cluster { leavePlace(session, cluster) }
      return
    }
    executing = link
    var batch = Batch()
    executeTail(session, &batch)
    finish(batch, session)
    if session.pointee.mayExecute { setReading(true, session) }
    if session.pointee.ended, session.pointee.isIdle { close(session) }
  }

  /// Completes the unfinished command in the tail with just the bytes that it lacks, so that what
  /// follows is executed where it lies. Returns how many bytes it took.
  private mutating func completeTail(
    _ session: SessionPointer, with bytes: UnsafeRawBufferPointer, _ batch: inout Batch
  ) -> Int {
    var used = 0
    while used < bytes.count, session.pointee.mayExecute {
      let there = session.pointee.tail.buffer.count
      guard there > 0 else { break }
      let lacking = max(1, session.pointee.progress.wanted - there)
      let taken = min(lacking, bytes.count - used)
      keep(UnsafeRawBufferPointer(rebasing: bytes[used..<(used + taken)]), of: session)
      used += taken
      if taken == lacking { executeTail(session, &batch) }
    }
    return used
  }

  private mutating func keep(_ bytes: UnsafeRawBufferPointer, of session: SessionPointer) {
    session.pointee.tail.buffer.append(bytes)
    inputByteCount += bytes.count
    if inputByteCount > options.inputByteCountMax {
      counters.closedForInput += 1
      close(session)
    } else if !session.pointee.mayExecute,
      session.pointee.tail.buffer.count > NodeOptions.unexecutedByteCountMax
    {
      setReading(false, session)
    }
  }

  /// Stops the reading of a session that cannot keep up, or resumes it once it can.
  private mutating func setReading(_ enabled: Bool, _ session: SessionPointer) {
    guard session.pointee.isRead != enabled else { return }
    session.pointee.isRead = enabled
    readingChanges.append((session.pointee.link, enabled))
  }

  private mutating func executeTail(_ session: SessionPointer, _ batch: inout Batch) {
    let before = session.pointee.tail.buffer.count
    guard before > 0 else { return }
    let used = execute(session, session.pointee.tail.buffer.bytes, &batch)
    session.pointee.tail.buffer.consume(used)
    inputByteCount -= used
    let left = session.pointee.tail.buffer.count
    if left == 0, session.pointee.tail.buffer.capacity > 16 << 10 {
      session.pointee.tail.buffer.release()
    }
  }

  /// Executes whole commands from the front of `input`; returns how many bytes it took.
  private mutating func execute(
    _ session: SessionPointer, _ input: UnsafeRawBufferPointer, _ batch: inout Batch
  ) -> Int {
    var at = 0
    var previewed = 0
    while at < input.count, session.pointee.stall == .none {
      if batch.commandCount == NodeOptions.commandsPerTurnMax
        || output.count > NodeOptions.replyBytesPerTurnMax || isLogFull
      {
        becomeReady(session)
        break
      }
      if at >= previewed, session.pointee.progress.offset == 0 {
        previewed = preview(input, from: at)
      }
      let rest = UnsafeRawBufferPointer(rebasing: input[at...])
      let step = parser.parse(
        rest, &session.pointee.progress, authenticated: session.pointee.authenticated)
      guard case .command(let byteCount) = step else {
        if case .incomplete = step { break }
        if let cluster, isInOpenRound(session, cluster) {
          // The replies that the round holds come first.
          session.pointee.progress = .none
          session.pointee.stall = .round
          break
        }
        refuse(step, session)
        return input.count
      }
      if parser.arguments.count == 0 {
        at += byteCount
        continue
      }
      batch.commandCount += 1
      if let cluster {
        beginUnit(UnsafeRawBufferPointer(rebasing: rest[0..<byteCount]), session, cluster)
      }
      executeOne(session)
      if let cluster, cluster.pointee.unit.isDeferred {
        // It stays where it is, and is executed from its beginning later.
        session.pointee.progress = .none
        break
      }
      at += byteCount
      if session.pointee.closing { return input.count }
    }
    return at
  }

  /// So much waits for the disk that no further command is executed in this turn: a short command
  /// can make a long record.
  ///
  /// So also while too many replies wait at the gate, which opens as the disk goes on.
  var isLogFull: Bool {
    guard let database else { return false }
    return gate.byteCount > NodeOptions.gateByteCountMax
      || database.pointee.log.pendingByteCount > NodeOptions.pendingLogByteCountMax
  }

  /// What one session executes in one go.
  private struct Batch {
    var commandCount = 0
  }

  /// Ends a batch: what may leave stays in `output`, the rest goes to the gate.
  private mutating func finish(_ batch: Batch, _ session: SessionPointer) {
    counters.commands &+= UInt64(batch.commandCount)
    parser.arguments.trim()
    holdReplies(session)
    executing = .none
  }

  mutating func becomeReady(_ session: SessionPointer) {
    session.pointee.isReady = true
    ready.append(session.pointee.link)
  }

  /// Answers what is no command, and closes.
  private mutating func refuse(_ step: ParseStep, _ session: SessionPointer) {
    counters.protocolErrors += 1
    switch step {
    case .invalid(let error): output.reply(error: error.text)
    case .http:
      output.append("HTTP/1.1 426 Upgrade Required\r\nUpgrade: RESP\r\n")
      output.append("Connection: close\r\nContent-Length: 0\r\n\r\n")
    case .command, .incomplete: break
    }
    close(session)
  }

  /// Ends a session after what it is owed.
  mutating func close(_ session: SessionPointer) {
    guard !session.pointee.closing else { return }
    session.pointee.closing = true
    if let cluster { endWait(session, cluster) }
    if session.pointee.heldCount == 0 { closing.append(session.pointee.link) }
  }

  // MARK: One command

  /// Executes the command in the argument list and leaves its reply in `output`.
  mutating func executeOne(_ session: SessionPointer) {
    let start = output.count
    replyWaits = false
    replyWaitsForForce = false
    failed = false
    resp = session.pointee.resp
    session.pointee.commandCount &+= 1
    dispatch(session)
    if session.pointee.countedByteCount > 0 || session.pointee.queue != nil
      || !session.pointee.watches.isEmpty
    {
      queuedByteCount += session.pointee.recount()
    }
    if let cluster, isToBeSettled(session, cluster), settleUnit(session, from: start, cluster) {
      return
    }
    if session.pointee.replies != .on, !session.pointee.stall.answersLate {
      muffle(session, from: start)
    }
    #if MUTANTS
      if Mutant.active == .replyBeforeDurable { replyWaits = false }
    #endif
    let isWeak = options.durability != .always
    if isWeak ? replyWaitsForForce : replyWaits, gateStart < 0, output.count > start,
      // What a transaction saw of its own and undid is in no record: nothing would open the gate.
      let database, database.pointee.log.appended > (isWeak ? forced : durable)
    {
      gateStart = start
    }
  }

  /// Ends all sessions after what they are owed.
  mutating func closeAll() {
    var all: [SessionPointer] = []
    sessions.visit { all.append($0) }
    for session in all { close(session) }
  }

  /// A ticket for something that ends later.
  mutating func newTicket() -> UInt64 {
    nextTicket += 1
    return nextTicket - 1
  }
}
