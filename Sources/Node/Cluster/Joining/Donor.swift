import Base
import Store
import TPC

/// Gives a copy of the database to one joiner while it goes on changing, and asks for the
/// transaction that takes it in.
///
/// Pure. The owner calls `work` in each turn between transactions, `receive` for the joiner's
/// messages, `wake` when `deadline` has come, tells it what becomes of the transaction, and carries
/// out the effects. It produces at most one chunk a turn and has `windowCountMax` on the way.
struct Donor {
  /// How far it is. `begin` starts over from every phase.
  enum Phase {
    /// Gives everything once. Can transition to: catchingUp.
    case scanning(CopyCursor)
    /// Gives what was noted, pass after pass, until little is left. Can transition to: proposing,
    /// finishing.
    case catchingUp
    /// Asks for the transaction until it is begun. Can transition to: waiting, finishing,
    /// catchingUp.
    case proposing
    /// The transaction is under way and not prepared here just now. Can transition to: finishing,
    /// catchingUp.
    case waiting
    /// It is prepared here, nothing changes: gives the last notes. Can transition to: summing,
    /// waiting, catchingUp.
    case finishing(CopyAttempt)
    /// The same, and sums up what there is. Can transition to: complete, waiting, catchingUp.
    case summing(CopyAttempt, DigestCursor)
    /// All is said; the joiner votes. Can transition to: waiting, finishing, catchingUp.
    case complete(CopyAttempt)
  }

  private struct Sent {
    var number: UInt32
    var message: [UInt8]
  }

  /// Whom it copies to.
  let member: MemberID
  private(set) var phase = Phase.catchingUp
  private(set) var copy: UInt64
  private let note: [UInt8]
  private var list = CopyList()
  private var window: [Sent] = []
  private var nextNumber: UInt32 = 0
  private var resendAt = Instant.never
  private var resendCount = 0
  private var proposeAt = Instant.zero
  private var refusalCount = 0
  private var refusal = ""
  private var begunAt: Instant
  private var saidAt: Instant
  private(set) var progress = CopyProgress()

  /// Chunks on the way at once.
  static var windowCountMax: Int { 4 }
  /// Noted keys that may be left when the transaction is begun: it holds writes up.
  static var fewCountMax: Int { 1_000 }
  /// The same after many passes, under writes that never pause.
  static var fewCountMaxLate: Int { 20_000 }
  static var latePassCount: Int { 10 }
  static var digestEntryCountMax: Int { 20_000 }
  private static var resendMin: Interval { .millis(500) }
  private static var proposeMin: Interval { .millis(500) }
  private static var doublingMax: Int { 4 }
  private static var sayInterval: Interval { .seconds(5) }

  /// Begins a copy for `member`, to which `note` tells what it needs to know of the cluster. It has
  /// a number above `last`, that of the copy which was begun last in this run: a joiner takes no
  /// other one for a new copy.
  init(
    to member: MemberID, note: [UInt8], after last: UInt64, _ database: inout Database,
    at now: Instant, into effects: inout CopyEffects
  ) {
    self.member = member
    self.note = note
    copy = last
    begunAt = now
    saidAt = now
    begin(&database, at: now, into: &effects)
  }

  /// Begins anew with another copy.
  private mutating func begin(
    _ database: inout Database, at now: Instant, into effects: inout CopyEffects
  ) {
    database.beginNotes()
    copy = max(copy + 1, database.lastStamp.nanos)
    phase = .scanning(CopyCursor())
    list = CopyList()
    window = []
    nextNumber = 0
    progress = CopyProgress()
    progress.entryCountExpected = database.count
    begunAt = now
    var buffer = ByteBuffer()
    CopyChunk(copy: copy, number: 0).append(.begin, to: &buffer)
    buffer.append(little: database.lastStamp.nanos)
    buffer.append(note)
    send(buffer, at: now, into: &effects)
  }

  // MARK: The transaction

  /// The transaction has been begun; until it is prepared nothing is to be done.
  mutating func proposalBegun() {
    if case .proposing = phase { phase = .waiting }
  }

  /// It cannot be begun now.
  mutating func proposalRefused(
    _ reason: String, at now: Instant, into effects: inout CopyEffects
  ) {
    guard case .proposing = phase else { return }
    phase = .catchingUp
    pause(at: now)
    guard reason != refusal else { return }
    refusal = reason
    effects.lines.append((.info, "member \(member) is not taken in yet: \(reason)"))
  }

  /// The attempt that was prepared last, as long as it may still be.
  var attempt: CopyAttempt? {
    switch phase {
    case .finishing(let attempt), .summing(let attempt, _), .complete(let attempt): attempt
    case .scanning, .catchingUp, .proposing, .waiting: nil
    }
  }

  /// An attempt is prepared here: as long as it is, nothing changes.
  mutating func prepared(
    _ attempt: CopyAttempt, _ database: inout Database, at now: Instant,
    into effects: inout CopyEffects
  ) {
    if case .scanning = phase { return }
    if database.notesAreOverrun { return beginAgain(&database, at: now, into: &effects) }
    list.append(database.takeNotes())
    phase = .finishing(attempt)
  }

  /// The transaction is aborted for good: another one is begun later.
  mutating func aborted(at now: Instant) {
    if case .scanning = phase { return }
    phase = .catchingUp
    pause(at: now)
  }

  private mutating func pause(at now: Instant) {
    proposeAt = now + Interval(nanos: Self.proposeMin.nanos << UInt64(refusalCount))
    refusalCount = min(refusalCount + 1, Self.doublingMax)
  }

  private mutating func beginAgain(
    _ database: inout Database, at now: Instant, into effects: inout CopyEffects
  ) {
    effects.list.append(.withdraw)
    begin(&database, at: now, into: &effects)
  }

  // MARK: A turn

  /// Produces the next chunk if there is room for one. `isLocked`: the attempt that was prepared
  /// last still is.
  mutating func work(
    _ database: inout Database, isLocked: Bool, at now: Instant, into effects: inout CopyEffects
  ) {
    if now >= saidAt + Self.sayInterval { say(at: now, into: &effects) }
    if resendAt <= now { resend(at: now, into: &effects) }
    switch phase {
    case .finishing where !isLocked, .summing where !isLocked: phase = .waiting
    default: break
    }
    guard window.count < Self.windowCountMax else { return }
    switch phase {
    case .scanning(var cursor):
      if database.notesAreOverrun { return beginAgain(&database, at: now, into: &effects) }
      give(at: now, into: &effects) { progress, buffer in
        progress.entryCount += database.copySlice(
          &cursor, into: &buffer, byteCountMax: Self.changesByteCountMax)
      }
      phase = cursor.isDone ? .catchingUp : .scanning(cursor)
    case .catchingUp: catchUp(&database, at: now, into: &effects)
    case .proposing: effects.list.append(.propose)
    case .finishing(let attempt):
      giveList(database, at: now, into: &effects)
      guard list.isDone else { return }
      phase = .summing(attempt, DigestCursor(aliveMillis: database.clockMillis))
    case .summing(let attempt, var cursor):
      let more = database.digestSlice(&cursor, entryCountMax: Self.digestEntryCountMax)
      phase = .summing(attempt, cursor)
      if !more { finish(attempt, cursor, database, at: now, into: &effects) }
    case .waiting, .complete: return
    }
  }

  private mutating func catchUp(
    _ database: inout Database, at now: Instant, into effects: inout CopyEffects
  ) {
    if database.notesAreOverrun { return beginAgain(&database, at: now, into: &effects) }
    if !list.isDone { return giveList(database, at: now, into: &effects) }
    let isLate = progress.passCount >= Self.latePassCount
    guard database.noteCount > (isLate ? Self.fewCountMaxLate : Self.fewCountMax) else {
      if window.isEmpty, proposeAt <= now {
        phase = .proposing
        effects.list.append(.propose)
      }
      return
    }
    progress.passCount += 1
    list = CopyList(database.takeNotes())
  }

  private mutating func giveList(
    _ database: borrowing Database, at now: Instant, into effects: inout CopyEffects
  ) {
    var list = list
    give(at: now, into: &effects) { progress, buffer in
      progress.entryCount += database.copyNoted(
        &list, into: &buffer, byteCountMax: Self.changesByteCountMax)
    }
    self.list = list
  }

  private mutating func finish(
    _ attempt: CopyAttempt, _ cursor: DigestCursor, _ database: borrowing Database,
    at now: Instant, into effects: inout CopyEffects
  ) {
    var buffer = ByteBuffer()
    CopyChunk(copy: copy, number: nextNumber).append(.complete, to: &buffer)
    CopyEnd(
      attempt: attempt, horizonMillis: database.horizonMillis, aliveMillis: cursor.aliveMillis,
      digest: cursor.digest
    ).append(to: &buffer)
    send(buffer, at: now, into: &effects)
    phase = .complete(attempt)
  }

  private static var changesByteCountMax: Int {
    CopyMessage.byteCountMax - CopyMessage.headerByteCount
  }

  /// Sends what `body` appends as a chunk, if it does.
  private mutating func give(
    at now: Instant, into effects: inout CopyEffects,
    _ body: (inout CopyProgress, inout ByteBuffer) -> Void
  ) {
    var changes = ByteBuffer()
    body(&progress, &changes)
    guard !changes.isEmpty else { return }
    var buffer = ByteBuffer(capacity: changes.count + CopyMessage.headerByteCount)
    CopyChunk(copy: copy, number: nextNumber).append(.changes, to: &buffer)
    buffer.append(changes.bytes)
    send(buffer, at: now, into: &effects)
  }

  // MARK: The window

  private mutating func send(
    _ message: borrowing ByteBuffer, at now: Instant, into effects: inout CopyEffects
  ) {
    if window.isEmpty { resendAt = now + Self.resendMin }
    window.append(Sent(number: nextNumber, message: Array(message.bytes)))
    nextNumber += 1
    progress.byteCount += message.count
    effects.send(message.bytes)
  }

  /// Sends all again that is not acknowledged.
  private mutating func resend(at now: Instant, into effects: inout CopyEffects) {
    for sent in window { sent.message.withUnsafeBytes { effects.send($0) } }
    progress.resendCount += window.count
    resendAt = now + Interval(nanos: Self.resendMin.nanos << UInt64(resendCount))
    resendCount = min(resendCount + 1, Self.doublingMax)
  }

  /// The joiner can be reached again: what was sent to it may be lost.
  mutating func reachable(at now: Instant) {
    resendCount = 0
    if !window.isEmpty { resendAt = now }
  }

  /// Takes a message of the joiner.
  mutating func receive(
    _ message: UnsafeRawBufferPointer, _ database: inout Database, at now: Instant,
    into effects: inout CopyEffects
  ) {
    guard case .receipt(let receipt) = CopyMessage(message), receipt.copy == copy,
      receipt.count <= nextNumber
    else { return }
    if receipt.state == .failed { return beginAgain(&database, at: now, into: &effects) }
    let before = window.count
    window.removeAll { $0.number < receipt.count }
    if window.count < before {
      resendCount = 0
      resendAt = window.isEmpty ? .never : now + Self.resendMin
    }
    if case .complete(let attempt) = phase, window.isEmpty, receipt.state == .complete {
      effects.list.append(.completed(attempt))
    }
  }

  /// When `work` has something to do; `now` when it has it at once.
  func deadline(at now: Instant, noteCount: Int) -> Instant {
    var earliest = min(resendAt, saidAt + Self.sayInterval)
    guard window.count < Self.windowCountMax else { return earliest }
    switch phase {
    case .scanning, .finishing, .summing: return now
    case .catchingUp:
      if !list.isDone || noteCount > Self.fewCountMax { return now }
      if window.isEmpty { earliest = min(earliest, proposeAt) }
    case .proposing: earliest = min(earliest, now + .millis(1))
    case .waiting, .complete: break
    }
    return earliest
  }

  // MARK: Words

  private mutating func say(at now: Instant, into effects: inout CopyEffects) {
    saidAt = now
    effects.lines.append(
      (.info, "copying to member \(member): \(progress.text(since: begunAt, at: now))"))
  }

  /// What was copied, for a line of the log.
  func summary(at now: Instant) -> String { progress.text(since: begunAt, at: now) }
}

/// How much was copied.
struct CopyProgress {
  /// Entries and outcomes, those that changed meanwhile counted each time.
  var entryCount = 0
  /// Entries when it began.
  var entryCountExpected = 0
  var byteCount = 0
  var passCount = 0
  var resendCount = 0

  func text(since: Instant, at now: Instant) -> String {
    let entries =
      entryCountExpected > 0 ? "\(entryCount) of \(entryCountExpected)" : "\(entryCount)"
    return "\(entries) entries, \(renderByteCount(UInt64(byteCount))) in "
      + Peers.seconds(now - since)
  }
}

extension CopyEffects {
  mutating func send(_ message: UnsafeRawBufferPointer) {
    let begin = bytes.count
    bytes.append(message)
    list.append(.send(begin..<bytes.count))
  }
}
