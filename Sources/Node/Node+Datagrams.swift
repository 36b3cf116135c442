import Base
import NetKit
import Store

// Requests over UDP: one message of whole commands, one message of replies, no state between them.
extension Node {
  /// Executes a request. Its reply is in `output` afterwards, unless it waits at the gate or for a
  /// password. The bytes are not kept.
  mutating func request(
    _ bytes: UnsafeRawBufferPointer, on link: LinkID, from endpoint: Endpoint, id: OperationID,
    plain: Bool, passwordAccepted: Bool? = nil
  ) {
    counters.requests &+= 1
    counters.inputBytes &+= UInt64(bytes.count)
    let head = RequestHead(
      endpoint: endpoint, id: id, plain: plain, passwordAccepted: passwordAccepted)
    if plain, !endpoint.isLoopback, !options.udpPlain || options.requiresPassword { return }
    if let cluster { return requestInCluster(bytes, on: link, head, cluster) }
    guard execute(bytes, of: head, on: link) else { return }
    if takeGateStart(), let database {
      gate.hold(
        output.bytes, for: link, until: database.pointee.log.appended,
        outcome: requestOutcome)
      output.removeAll()
    }
  }

  /// Executes the commands of a request; the replies are in `output`. False: it waits for a
  /// password.
  mutating func execute(
    _ bytes: UnsafeRawBufferPointer, of head: RequestHead, on link: LinkID
  ) -> Bool {
    let session = datagramSession
    session.pointee.endpoint = head.endpoint
    session.pointee.resp = 2
    session.pointee.queue = nil
    session.pointee.progress = .none
    session.pointee.authenticated = !options.requiresPassword
    var run = DatagramRun(
      id: head.id, plain: head.plain, passwordAccepted: head.passwordAccepted)
    let start = output.count
    let before = database?.pointee.log.pendingByteCount ?? 0
    var at = 0
    while at < bytes.count, !run.isOver {
      if isOverBound(since: start, logSince: before) {
        output.truncate(to: start)
        run.isOver = true
        let word = run.outcome.word
        fail("TOOLARGE \(word); this UDP message asks for too much at once; ask over TCP")
        break
      }
      let rest = UnsafeRawBufferPointer(rebasing: bytes[at...])
      let step = parser.parse(
        rest, &session.pointee.progress, authenticated: session.pointee.authenticated)
      guard case .command(let byteCount) = step else {
        refuse(step, plain: head.plain, rest: rest, &run)
        break
      }
      at += byteCount
      if at < bytes.count || run.commandCount > 0 { cluster?.pointee.unit.isOneCommand = false }
      if parser.arguments.count > 0 { executeDatagram(&run, head.endpoint) }
      if let cluster, cluster.pointee.unit.isDeferred { break }
    }
    if session.pointee.queue != nil {
      session.pointee.queue = nil
      run.isOver = true
      fail("ERR MULTI without EXEC in one message")
    }
    requestOutcome = run.outcome
    counters.commands &+= run.commandCount
    guard let ticket = run.waitsForTicket else { return true }
    output.truncate(to: start)
    _ = takeGateStart()
    waitingRequests.append(
      WaitingRequest(
        ticket: ticket, link: link, endpoint: head.endpoint, id: head.id, plain: head.plain,
        bytes: [UInt8](bytes)))
    return false
  }

  /// The commands so far answered or logged more than one message may, as short ones can.
  private func isOverBound(since start: Int, logSince before: Int) -> Bool {
    let logged = (database?.pointee.log.pendingByteCount ?? 0) - before
    return output.count - start > NodeOptions.replyBytesPerTurnMax
      || logged > options.database.transactionByteCountMax
  }

  private mutating func refuse(
    _ step: ParseStep, plain: Bool, rest: UnsafeRawBufferPointer, _ run: inout DatagramRun
  ) {
    counters.protocolErrors += 1
    switch step {
    case .invalid(let error):
      run.isOver = true
      fail(error.text)
    case .incomplete:
      // A bare datagram may lack its line's end: `printf 'GET k' | nc -u`.
      if plain, rest[0] != UInt8(ascii: "*"), parser.parseLine(rest) {
        executeDatagram(&run, datagramSession.pointee.endpoint)
      } else {
        run.isOver = true
        fail("ERR Protocol error: a UDP message holds whole commands")
      }
    case .http, .command:
      run.isOver = true
      fail("ERR Protocol error: not over UDP")
    }
  }

  /// Executes the command in the argument list for the request at hand.
  private mutating func executeDatagram(_ run: inout DatagramRun, _ endpoint: Endpoint) {
    let session = datagramSession
    run.commandCount += 1
    if run.plain, !endpoint.isLoopback, !isReadOnly(parser.arguments[0]) {
      fail("ERR a bare datagram from elsewhere only reads")
      run.isOver = true
      return
    }
    if parser.arguments[0].isWord("auth"), options.requiresPassword {
      return authenticate(&run)
    }
    if run.id != .none, session.pointee.queue == nil || parser.arguments[0].isWord("exec"),
      changesData(parser.arguments[0])
    {
      guard !run.idUsed else {
        fail("ERR an operation id covers one command or one MULTI ... EXEC (not-applied)")
        run.isOver = true
        return
      }
      run.idUsed = true
      operationID = run.id
    }
    let hasEffect = hasEffect(session)
    executeOne(session)
    if hasEffect {
      if failed { run.hasFailed = true } else { run.hasChanged = true }
    }
    operationID = nil
    session.pointee.closing = false
  }

  private mutating func authenticate(_ run: inout DatagramRun) {
    if let accepted = run.passwordAccepted {
      datagramSession.pointee.authenticated = accepted
      guard accepted else {
        fail("WRONGPASS invalid username-password pair or user is disabled.")
        run.isOver = true
        return
      }
      return output.replyOK()
    }
    let count = parser.arguments.count
    guard count == 2 || count == 3 && parser.arguments[1].isWord("default") else {
      run.isOver = true
      return count == 3
        ? fail("WRONGPASS invalid username-password pair or user is disabled.")
        : fail("ERR wrong number of arguments for 'auth' command")
    }
    let password = [UInt8](parser.arguments[count - 1])
    let ticket = newTicket()
    run.isOver = true
    if waitingRequests.count < NodeOptions.waitingRequestCountMax, let passwords,
      passwords.start(ticket: ticket, password: password)
    {
      run.waitsForTicket = ticket
    } else {
      fail("ERR too many passwords are being checked; try again")
    }
  }

  private func isReadOnly(_ name: UnsafeRawBufferPointer) -> Bool {
    commands.find(name)?.pointee.flags.contains(.readOnly) ?? false
  }

  private func changesData(_ name: UnsafeRawBufferPointer) -> Bool {
    guard let spec = commands.find(name) else { return false }
    return spec.pointee.flags.contains(.write) || spec.pointee.command == .exec
  }

  /// Whether the command in the argument list, executed now, leaves more than a reply.
  private func hasEffect(_ session: SessionPointer) -> Bool {
    guard let spec = commands.find(parser.arguments[0]) else { return false }
    if spec.pointee.command == .exec {
      var writes = false
      if let queue = session.pointee.queue {
        visitQueue(queue) { spec, _ in if spec.pointee.flags.contains(.write) { writes = true } }
      }
      return writes
    }
    if session.pointee.queue != nil { return false }
    switch spec.pointee.command {
    case .config: return parser.arguments.count > 1 && parser.arguments[1].isWord("set")
    case .members: return parser.arguments.count > 1
    case .outcome: return parser.arguments.count > 2
    default: return spec.pointee.flags.contains(.write)
    }
  }
}

/// What is known of a request's changes where its replies don't fit one message.
enum RequestOutcome {
  /// It has changed nothing, and has no copies that might.
  case notApplied
  /// All of its changes were executed.
  case applied
  /// Some were and some not, or another copy of its change may have been.
  case unknown

  /// The word behind `TOOLARGE`.
  var word: String {
    switch self {
    case .notApplied: "not-applied"
    case .applied: "applied"
    case .unknown: "unknown"
    }
  }
}

/// The request at hand.
private struct DatagramRun {
  var id: OperationID
  var plain: Bool
  var passwordAccepted: Bool?
  var idUsed = false
  /// What follows is not executed.
  var isOver = false
  /// A command that may change something was executed.
  var hasChanged = false
  /// One of them failed.
  var hasFailed = false
  var commandCount: UInt64 = 0
  var waitsForTicket: UInt64?

  /// Of what was executed so far.
  var outcome: RequestOutcome {
    if !isOver, !hasFailed { return hasChanged ? .applied : .notApplied }
    return hasChanged || id != .none ? .unknown : .notApplied
  }
}
