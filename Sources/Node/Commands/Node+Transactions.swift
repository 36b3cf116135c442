import Base
import Store

// MULTI, EXEC, WATCH.
extension Node {
  mutating func multi(_ session: SessionPointer) {
    session.pointee.queue = TransactionQueue()
    output.replyOK()
  }

  /// Copies the command at hand behind the ones queued before.
  mutating func enqueue(_ session: SessionPointer) {
    let limits = options.database
    var byteCount = session.pointee.queue!.byteCount + parser.arguments.count * 4
    for index in 0..<parser.arguments.count { byteCount += parser.arguments[index].count }
    guard byteCount <= limits.transactionByteCountMax,
      session.pointee.queue!.argumentCounts.count < limits.transactionOperationCountMax
    else {
      session.pointee.queue!.failed = true
      return fail(text(of: .transactionTooLarge))
    }
    guard queuedByteCount + byteCount <= options.queuedByteCountMax else {
      session.pointee.queue!.failed = true
      return fail(Self.queuesAreFull)
    }
    for index in 0..<parser.arguments.count {
      session.pointee.queue!.bytes.append(contentsOf: parser.arguments[index])
      session.pointee.queue!.argumentLengths.append(Int32(parser.arguments[index].count))
    }
    session.pointee.queue!.argumentCounts.append(Int32(parser.arguments.count))
    output.append("+QUEUED\r\n")
  }

  private static var queuesAreFull: String {
    "ERR the transactions and watches of all connections together are too large (not-applied)"
  }

  mutating func discard(_ session: SessionPointer) {
    guard session.pointee.queue != nil else { return fail("ERR DISCARD without MULTI") }
    session.pointee.queue = nil
    session.pointee.watches = []
    output.replyOK()
  }

  mutating func exec(_ session: SessionPointer) {
    guard let queue = session.pointee.queue else { return fail("ERR EXEC without MULTI") }
    session.pointee.queue = nil
    let watches = session.pointee.watches
    session.pointee.watches = []
    guard let database, !joining.isJoining else { return failLoading() }
    // First, for what was executed is answered as it was then, whatever stands in the way now.
    if cluster == nil, let id = operationID, !admit(id) { return }
    if queue.failed { return discardFailed() }
    if cluster == nil { expireKeys(of: queue) }
    for watch in watches where !holds(watch) { return answerNil() }
    run(queue, session, database)
  }

  /// A command was refused while queueing: nothing is executed, and under an id never will be,
  /// except on a full disk and in a cluster (see `refuse`).
  private mutating func discardFailed() {
    let start = output.count
    let isUncertain = operationID != nil && (noSpace || cluster != nil)
    fail(
      "EXECABORT Transaction discarded because of previous errors."
        + (isUncertain ? " (unknown)" : ""))
    if let id = operationID, !noSpace { recordNothingDone(as: id, from: start) }
  }

  /// A watched key has changed: nothing is executed, and under an id never will be.
  private mutating func answerNil() {
    let start = output.count
    output.replyNilArray(resp: resp)
    failed = true
    if let id = operationID { recordNothingDone(as: id, from: start) }
  }

  /// Runs the queued commands in one transaction of the database.
  private mutating func run(
    _ queue: TransactionQueue, _ session: SessionPointer,
    _ database: UnsafeMutablePointer<Database>
  ) {
    let start = output.count
    let id = operationID
    operationID = nil
    inTransaction = true
    overflowed = false
    lacksRoom = nil
    // In a cluster the round's transaction is open already, and undoes what failed.
    if cluster == nil { database.pointee.begin(multi: true) }
    output.reply(array: queue.argumentCounts.count)
    let problem = runCommands(queue, session)
    inTransaction = false
    if let problem {
      if cluster == nil { database.pointee.rollback() }
      output.truncate(to: start)
      let reason = lacksRoom?.text(isCertain: id == nil) ?? problem
      fail("EXECABORT Transaction discarded because of: \(reason)")
      if cluster != nil { return }
      // The failure tells of what it saw, so it waits for that like any other answer.
      if database.pointee.log.appended > durable { replyWaits = true }
      if let id, lacksRoom != .disk { recordNothingDone(as: id, from: start) }
      return
    }
    failed = false
    if cluster == nil { conclude(database, as: id, from: start) }
  }

  /// Runs the queued commands; returns why all must be undone, or nil.
  private mutating func runCommands(_ queue: TransactionQueue, _ session: SessionPointer)
    -> String?
  {
    queue.bytes.withUnsafeBytes { bytes in
      var offset = 0
      var argument = 0
      for count in queue.argumentCounts {
        parser.arguments.removeAll()
        for _ in 0..<count {
          let length = Int(queue.argumentLengths[argument])
          parser.arguments.append(
            UnsafeRawBufferPointer(rebasing: bytes[offset..<(offset + length)]))
          offset += length
          argument += 1
        }
        if let problem = runQueued(session) { return problem }
      }
      return nil
    }
  }

  /// Runs the queued command in the argument list.
  private mutating func runQueued(_ session: SessionPointer) -> String? {
    let start = output.count
    failed = false
    guard let spec = commands.find(parser.arguments[0]) else {
      invariantFailed("only known commands are queued")
    }
    if let refusal = refusal(spec.pointee.flags) {
      lacksRoom = refusal
      return refusal.text(isCertain: true)
    }
    call(spec.pointee.command, session)
    if output.count > options.outputByteCountMax {
      return "ERR replies exceed the connection's output bound"
    }
    guard failed, overflowed || !session.pointee.redisTransactions else { return nil }
    let text = output.bytes[(start + 1)...].prefix { $0 != 13 }
    return String(decoding: text, as: UTF8.self)
  }

  /// Removes the queued commands' keys that have expired, before the transaction opens.
  private mutating func expireKeys(of queue: TransactionQueue) {
    guard let database, database.pointee.expiringCount > 0 else { return }
    queue.bytes.withUnsafeBytes { bytes in
      var offset = 0
      for length in queue.argumentLengths {
        let argument = UnsafeRawBufferPointer(rebasing: bytes[offset..<(offset + Int(length))])
        if argument.count > 0, argument.count <= NodeOptions.keyByteCountMax,
          database.pointee.expireIfDue(argument)
        {
          counters.expired += 1
        }
        offset += Int(length)
      }
    }
  }

  // MARK: WATCH

  mutating func watch(_ session: SessionPointer) {
    guard
      session.pointee.watches.count + parser.arguments.count - 1 <= NodeOptions.watchCountMax
    else {
      return fail("ERR more than \(NodeOptions.watchCountMax) watched keys")
    }
    guard queuedByteCount <= options.queuedByteCountMax else { return fail(Self.queuesAreFull) }
    for index in 1..<parser.arguments.count {
      let key = parser.arguments[index]
      let version = lookup(key)?.version
      session.pointee.watches.append(Watch(key: [UInt8](key), version: version))
    }
    output.replyOK()
  }

  mutating func unwatch(_ session: SessionPointer) {
    session.pointee.watches = []
    output.replyOK()
  }

  private mutating func holds(_ watch: Watch) -> Bool {
    let version = watch.key.withUnsafeBytes { lookup($0)?.version }
    #if MUTANTS
      if Mutant.active == .overlookAbsence, version == nil { return true }
    #endif
    return version == watch.version
  }
}
