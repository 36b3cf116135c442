import Base
import Store

// Exactly once: ONCE and OUTCOME (DESIGN, guarantee 4).
extension Node {
  /// `ONCE id command...`: executes the command unless its id was executed before, and answers as
  /// it did then, also when that was an error or nothing changed. Reads are just executed.
  mutating func once(_ session: SessionPointer) {
    guard let id = OperationID(text: parser.arguments[1]), id != .none else {
      return fail("ERR an operation id is 32 hexadecimal digits in UUIDv7 layout")
    }
    let isExec = parser.arguments.count == 3 && parser.arguments[2].isWord("exec")
    if session.pointee.queue != nil, !isExec {
      session.pointee.queue!.failed = true
      return fail("ERR ONCE between MULTI and EXEC wraps EXEC only")
    }
    guard isExec || isWrappable(parser.arguments[2]) else {
      return fail("ERR ONCE wraps a command that reads or changes data, or EXEC")
    }
    parser.arguments.dropFirst(2)
    operationID = id
    resp = 2
    dispatch(session)
    operationID = nil
    resp = session.pointee.resp
  }

  private func isWrappable(_ name: UnsafeRawBufferPointer) -> Bool {
    guard let spec = commands.find(name) else { return true }  // answered as unknown
    return !spec.pointee.flags.isDisjoint(with: [.write, .readOnly])
  }

  /// Runs a changing command under `operationID`.
  mutating func executeOnce(_ command: Command, _ session: SessionPointer) {
    guard let database, let id = operationID, admit(id) else { return }
    executeAlone(command, session, database, as: id)
  }

  /// True when the id was never executed and may be; otherwise the answer has been given.
  mutating func admit(_ id: OperationID) -> Bool {
    let database = database.unsafelyUnwrapped
    let admission = database.pointee.admit(id, wallMillis: clockMillis)
    if case .new = admission { return true }
    if database.pointee.log.appended > durable { replyWaits = true }
    return answerUnlessNew(admission)
  }

  /// True when an id is new; otherwise answers what became of it.
  mutating func answerUnlessNew(_ admission: Admission) -> Bool {
    switch admission {
    case .new: return true
    case .duplicate(let status, let reply):
      counters.duplicates += 1
      replyWaitsForForce = true
      replyRecorded(status, reply)
    case .expired:
      fail("IDEXPIRED the id is at or below the horizon (unknown)")
    case .future:
      fail("IDFUTURE the id is over 60 s ahead of this node's clock (not-applied)")
    }
    return false
  }

  private mutating func replyRecorded(_ status: OutcomeStatus, _ reply: UnsafeRawBufferPointer) {
    switch status {
    case .committed: output.append(reply)
    case .committedLargeReply:
      let crc = UInt32(littleEndian: reply.loadUnaligned(as: UInt32.self))
      let count = UInt64(littleEndian: reply.loadUnaligned(fromByteOffset: 4, as: UInt64.self))
      fail("DUPLICATE applied; its reply of \(count) bytes was not kept, crc32c \(crc)")
    case .aborted where reply.count > 0:
      failed = true
      output.append(reply)
    case .aborted: fail("ABORTED the id was sealed before it was executed (not-applied)")
    }
  }

  /// `OUTCOME id [SEAL]`: what became of an id; SEAL turns `never-seen` into `aborted` first.
  mutating func outcome() {
    guard let id = OperationID(text: parser.arguments[1]), id != .none else {
      return fail("ERR an operation id is 32 hexadecimal digits in UUIDv7 layout")
    }
    var seals = false
    if parser.arguments.count > 2 {
      guard parser.arguments.count == 3, parser.arguments[2].isWord("seal") else {
        return failSyntax()
      }
      seals = true
    }
    guard let database else { return failLoading() }
    var state = database.pointee.lookup(id, wallMillis: clockMillis)
    if seals, case .neverSeen = state {
      if database.pointee.seal(id) == nil {
        return fail("IDFUTURE the id is over 60 s ahead of this node's clock (not-applied)")
      }
      state = database.pointee.lookup(id, wallMillis: clockMillis)
    }
    if database.pointee.log.appended > durable { replyWaits = true }
    switch state {
    case .committed, .committedLarge: output.reply(bulk: "committed")
    case .aborted: output.reply(bulk: "aborted")
    case .expired: output.reply(bulk: "expired")
    case .neverSeen: output.reply(bulk: "never-seen")
    }
  }
}
