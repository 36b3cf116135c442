import Base
import NetKit
import Store

extension Node {
  /// Finds the command, checks whether it may run, and runs or queues it.
  mutating func dispatch(_ session: SessionPointer) {
    let name = parser.arguments[0]
    guard let spec = commands.find(name) else { return unknownCommand(session) }
    guard spec.pointee.accepts(argumentCount: parser.arguments.count) else {
      return failArity(spec, session)
    }
    let flags = spec.pointee.flags
    if flags.contains(.container), !checkSubcommand(spec, session) { return }
    session.pointee.lastCommand = spec.pointee.command
    #if MUTANTS
      if Mutant.active == .openDoor { session.pointee.authenticated = true }
    #endif
    if !session.pointee.authenticated, !flags.contains(.noAuth) {
      return fail("NOAUTH Authentication required.")
    }
    if database == nil || joining.isJoining, !flags.contains(.loading) {
      session.pointee.queue?.failed = true
      return failLoading()
    }
    if flags.contains(.noDatagram), session.pointee.link == .none {
      session.pointee.queue?.failed = true
      return fail("ERR '\(Self.lowerName(spec))' needs a connection; not over UDP")
    }
    guard checkKeys(spec) else {
      session.pointee.queue?.failed = true
      return
    }
    if let refusal = refusal(flags) { return refuse(refusal, session) }
    if session.pointee.queue != nil {
      if flags.contains(.noMulti) { return failInsideMulti(spec.pointee.command, session) }
      if !flags.contains(.notQueued) { return enqueue(session) }
    }
    execute(spec, session)
  }

  /// Refuses what needs the data, which is not there yet.
  mutating func failLoading() {
    fail(
      joining.isJoining
        ? "LOADING Tuppence is joining a cluster"
        : "LOADING Tuppence is loading the dataset in memory")
  }

  /// True when all keys of the command at hand are within bounds; answers the error otherwise.
  @inline(__always) private mutating func checkKeys(_ spec: UnsafePointer<CommandSpec>) -> Bool {
    let first = spec.pointee.firstKey
    guard first > 0 else { return true }
    let last =
      spec.pointee.lastKey > 0
      ? spec.pointee.lastKey : parser.arguments.count + spec.pointee.lastKey
    var index = first
    while index <= last {
      let count = parser.arguments[index].count
      if count == 0 || count > NodeOptions.keyByteCountMax {
        fail("ERR a key has 1 to 65535 bytes")
        return false
      }
      index += spec.pointee.step
    }
    return true
  }

  /// Why a command that grows the data is refused now, or nil.
  @inline(__always) func refusal(_ flags: CommandFlags) -> RoomRefusal? {
    guard flags.contains(.denyOOM), let database else { return nil }
    if database.pointee.usedByteCount > control.memoryByteCountMax { return .memory }
    return noSpace ? .disk : nil
  }

  /// Answers a command for which there is no room. Under an id, what was executed before is
  /// answered as it was then, room or not; otherwise the refusal is recorded, so that a late copy
  /// finds it when there is room again. Not so on a full disk, where what is reserved for deletes
  /// would go to refusals: there only the client can end its id, by sealing it.
  private mutating func refuse(_ refusal: RoomRefusal, _ session: SessionPointer) {
    guard session.pointee.queue == nil else {
      session.pointee.queue!.failed = true
      return fail(refusal.text(isCertain: true))
    }
    if let cluster {
      // Not recorded: every member would have to agree to it.
      if settlesID(session, cluster) { return }
      return fail(refusal.text(isCertain: operationID == nil))
    }
    if let id = operationID, !admit(id) { return }
    let start = output.count
    fail(refusal.text(isCertain: operationID == nil))
    if let id = operationID, refusal == .memory { recordNothingDone(as: id, from: start) }
  }

  /// Runs a command, changes in a transaction of their own unless one is open.
  @inline(__always) mutating func execute(
    _ spec: UnsafePointer<CommandSpec>, _ session: SessionPointer
  ) {
    if let cluster {
      if readsAtOnce(spec, cluster) { return call(spec.pointee.command, session) }
      return executeInCluster(spec, session, cluster)
    }
    guard spec.pointee.flags.contains(.write), !inTransaction, let database else {
      return call(spec.pointee.command, session)
    }
    if database.pointee.nextExpiry <= database.pointee.clockMillis { expireKeys(spec) }
    if operationID != nil { return executeOnce(spec.pointee.command, session) }
    executeAlone(spec.pointee.command, session, database, as: nil)
  }

  /// Runs a changing command in a transaction of its own; its record carries the reply under `id`.
  @inline(__always) mutating func executeAlone(
    _ command: Command, _ session: SessionPointer, _ database: UnsafeMutablePointer<Database>,
    as id: OperationID?
  ) {
    let start = output.count
    inTransaction = true
    database.pointee.begin(multi: false)
    call(command, session)
    inTransaction = false
    conclude(database, as: id, from: start)
  }

  /// Removes those of the command's keys that have expired, before its transaction opens: what it
  /// then tells of their absence is logged.
  private mutating func expireKeys(_ spec: UnsafePointer<CommandSpec>) {
    guard spec.pointee.firstKey > 0, let database else { return }
    let last =
      spec.pointee.lastKey > 0
      ? spec.pointee.lastKey : parser.arguments.count + spec.pointee.lastKey
    for index in stride(from: spec.pointee.firstKey, through: last, by: spec.pointee.step)
    where database.pointee.expireIfDue(parser.arguments[index]) {
      counters.expired += 1
    }
  }

  /// Ends the open transaction; the reply waits for its record or for what it saw.
  @inline(__always) mutating func conclude(
    _ database: UnsafeMutablePointer<Database>, as id: OperationID?, from start: Int
  ) {
    let mark = agreement.conclude(
      database, as: id, reply: UnsafeRawBufferPointer(rebasing: output.bytes[start...]),
      failed: failed)
    if mark != nil || database.pointee.log.appended > durable { replyWaits = true }
  }

  /// Records the answer from `start` on under an id for which nothing was done, so that no other
  /// copy does anything. In a cluster the round records it.
  mutating func recordNothingDone(as id: OperationID, from start: Int) {
    guard cluster == nil else { return }
    let database = database.unsafelyUnwrapped
    database.pointee.begin(multi: false)
    conclude(database, as: id, from: start)
  }

  // MARK: Errors

  /// Answers an error; the command at hand has changed nothing.
  mutating func fail(_ text: String) {
    failed = true
    counters.errors += 1
    output.reply(error: text)
  }

  mutating func failNotInteger() { fail("ERR value is not an integer or out of range") }
  mutating func failSyntax() { fail("ERR syntax error") }

  /// EXEC ends its transaction in any case, as in Redis.
  private mutating func failArity(
    _ spec: UnsafePointer<CommandSpec>, _ session: SessionPointer
  ) {
    let text = "wrong number of arguments for '\(Self.lowerName(spec))' command"
    guard spec.pointee.command == .exec else {
      session.pointee.queue?.failed = true
      return fail("ERR " + text)
    }
    session.pointee.queue = nil
    session.pointee.watches = []
    fail("EXECABORT Transaction discarded because of: " + text)
  }

  private mutating func failInsideMulti(_ command: Command, _ session: SessionPointer) {
    switch command {
    case .multi: fail("ERR MULTI calls can not be nested")
    case .watch: fail("ERR WATCH inside MULTI is not allowed")
    default:
      session.pointee.queue!.failed = true
      fail("ERR Command not allowed inside a transaction")
    }
  }

  private mutating func unknownCommand(_ session: SessionPointer) {
    session.pointee.queue?.failed = true
    let name = parser.arguments[0]
    if name.isWord("post") || name.isWord("host:") {
      control.securityWarnings += 1
      failed = true
      return close(session)
    }
    var text = "ERR unknown command '\(name.text())', with args beginning with: "
    var index = 1
    while index < parser.arguments.count, text.utf8.count < 200 {
      text += "'\(parser.arguments[index].text(limit: 100))' "
      index += 1
    }
    fail(text)
  }

  static func lowerName(_ spec: UnsafePointer<CommandSpec>) -> String {
    spec.pointee.name.description
  }

  // MARK: Reading

  /// The entry of a key, or nil; notes what the reply must wait for.
  @inline(__always) mutating func lookup(_ key: UnsafeRawBufferPointer) -> Entry? {
    let database = database.unsafelyUnwrapped
    if let entry = database.pointee.find(key) {
      if entry.version > durableStamp { replyWaits = true }
      return entry
    }
    lookupAbsent(key)
    return nil
  }

  /// An absent key: if it has just expired its removal is logged first, so that it stays absent
  /// through a crash and a clock that steps back.
  private mutating func lookupAbsent(_ key: UnsafeRawBufferPointer) {
    let database = database.unsafelyUnwrapped
    if !inTransaction, cluster == nil, database.pointee.expiringCount > 0,
      database.pointee.expireIfDue(key)
    {
      counters.expired += 1
    }
    if database.pointee.lastRemoval > durable { replyWaits = true }
  }

  /// Runs one operation in the open transaction; answers its failure and returns nil.
  @inline(__always) mutating func perform(_ operation: Operation) -> OperationResult? {
    let result = database.unsafelyUnwrapped.pointee.execute(operation)
    if case .failed(let failure) = result {
      if failure == .transactionTooLarge { overflowed = true }
      fail(text(of: failure))
      return nil
    }
    return result
  }

  /// The error. `isCertain`: it holds for every copy of the request.
  func text(of failure: OperationFailure, isCertain: Bool = true) -> String {
    switch failure {
    case .notInteger: "ERR value is not an integer or out of range"
    case .overflow: "ERR increment or decrement would overflow"
    case .notFloat: "ERR value is not a valid float"
    case .nanOrInfinity: "ERR increment would produce NaN or Infinity"
    case .tooLarge: "ERR string exceeds maximum allowed size (proto-max-bulk-len)"
    case .transactionTooLarge:
      "ERR transaction exceeds its bound of \(options.database.transactionOperationCountMax) "
        + "operations or \(options.database.transactionByteCountMax) bytes "
        + (isCertain ? "(not-applied)" : "(unknown)")
    case .versionMismatch: "CONFLICT the key has another version (not-applied)"
    }
  }
}

/// Which room a command that grows the data lacks.
enum RoomRefusal {
  case memory, disk

  /// The error. Under an id a full disk's refusal is not certain for good, as it is not recorded.
  func text(isCertain: Bool) -> String {
    switch self {
    case .memory: "OOM command not allowed when used memory > 'maxmemory'."
    case .disk:
      "NOSPACE the disk is full; reads and deletes go on "
        + (isCertain ? "(not-applied)" : "(unknown)")
    }
  }
}
