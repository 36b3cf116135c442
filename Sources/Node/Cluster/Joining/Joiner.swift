import Base
import Store
import TPC

/// Takes the copy that a donor gives.
///
/// Pure. The owner calls `receive` for the donor's messages, `work` in each turn between
/// transactions, `durable` when records were forced, and carries out the effects. Nothing else may
/// change the database meanwhile, expiry neither.
struct Joiner {
  /// How far it is. `begin` of a later copy starts over from every phase.
  enum Phase: Equatable {
    /// No copy has begun. Can transition to: copying.
    case waiting
    /// Applies chunks. Can transition to: summing, failed.
    case copying
    /// All is applied for this attempt: compares. Can transition to: complete, failed.
    case summing(CopyEnd)
    /// Has just what the donor has while this attempt is prepared there. Can transition to:
    /// copying, when the attempt came to nothing.
    case complete(CopyAttempt)
    /// The copy is not what the donor has: it is to begin again.
    case failed
  }

  /// What a message was.
  enum Arrival {
    /// Nothing that the owner has to do something for.
    case taken
    /// A copy begins: the owner clears the database and keeps the note; then it calls `begun`.
    case begins(Stamp, note: UnsafeRawBufferPointer)
  }

  private(set) var phase = Phase.waiting
  private(set) var copy: UInt64 = 0
  private(set) var progress = CopyProgress()
  private var cursor = DigestCursor(aliveMillis: 0)
  /// Chunks applied.
  private var count: UInt32 = 0
  private var durableCount: UInt32 = 0
  /// Marks of the records of applied chunks that are not durable yet, in rising order.
  private var marks: [(count: UInt32, mark: Mark)] = []
  private var begunAt = Instant.zero
  private var saidAt = Instant.zero

  private static var sayInterval: Interval { .seconds(5) }

  // MARK: Chunks

  /// Takes a message of the donor. Bad ones are dropped.
  mutating func receive(
    _ message: UnsafeRawBufferPointer, _ database: inout Database, at now: Instant,
    into effects: inout CopyEffects
  ) -> Arrival {
    guard case .chunk(let chunk, let content) = CopyMessage(message) else { return .taken }
    if case .begin(let stamp, let note) = content, chunk.number == 0, chunk.copy > copy {
      self = Joiner()
      copy = chunk.copy
      phase = .copying
      begunAt = now
      saidAt = now
      return .begins(stamp, note: note)
    }
    guard chunk.copy == copy, phase != .waiting else { return .taken }
    guard phase != .failed, chunk.number == count else {
      // Said again if it is known: the receipt may be lost.
      if chunk.number < count || phase == .failed { acknowledge(into: &effects) }
      return .taken
    }
    if case .summing = phase { return .taken }
    take(content, &database, at: now, into: &effects)
    progress.byteCount += message.count
    return .taken
  }

  /// The note of a copy that begins is kept.
  mutating func begun(_ database: borrowing Database) { applied(database) }

  private mutating func take(
    _ content: CopyContent, _ database: inout Database, at now: Instant,
    into effects: inout CopyEffects
  ) {
    switch content {
    case .begin: break
    case .changes(let changes):
      do throws(ChangeError) {
        _ = try database.applyCopied(changes)
        phase = .copying
        applied(database)
      } catch {
        fail("a chunk \(error.reason)", into: &effects)
      }
    case .complete(let end):
      database.raiseHorizon(to: end.horizonMillis)
      cursor = DigestCursor(aliveMillis: end.aliveMillis)
      phase = .summing(end)
    }
  }

  private mutating func applied(_ database: borrowing Database) {
    count += 1
    marks.append((count, database.log.appended))
  }

  private mutating func fail(_ reason: String, into effects: inout CopyEffects) {
    phase = .failed
    effects.lines.append((.error, "the copy is wrong (\(reason)): asking for another one"))
    acknowledge(into: &effects)
  }

  // MARK: A turn

  /// Compares a further part, once all is there.
  mutating func work(
    _ database: inout Database, at now: Instant, into effects: inout CopyEffects
  ) {
    if phase != .waiting, now >= saidAt + Self.sayInterval {
      saidAt = now
      progress.entryCount = database.count
      effects.lines.append(
        (.info, "receiving the data: \(progress.text(since: begunAt, at: now))"))
    }
    guard case .summing(let end) = phase,
      !database.digestSlice(&cursor, entryCountMax: Donor.digestEntryCountMax)
    else { return }
    guard cursor.digest == end.digest else {
      return fail(
        "\(cursor.digest.count) entries with sum \(cursor.digest.sum), the donor has "
          + "\(end.digest.count) with \(end.digest.sum)", into: &effects)
    }
    phase = .complete(end.attempt)
    applied(database)
  }

  /// Everything through `mark` is durable: says so to the donor.
  mutating func durable(_ mark: Mark, into effects: inout CopyEffects) {
    guard let first = marks.first, first.mark <= mark else { return }
    let rest = marks.drop { $0.mark <= mark }
    durableCount = marks[rest.startIndex - 1].count
    marks = Array(rest)
    acknowledge(into: &effects)
  }

  private func acknowledge(into effects: inout CopyEffects) {
    var state = CopyReceipt.State.copying
    if case .complete = phase, marks.isEmpty { state = .complete }
    if case .failed = phase { state = .failed }
    var buffer = ByteBuffer()
    CopyReceipt(copy: copy, count: durableCount, state: state).append(to: &buffer)
    effects.send(buffer.bytes)
  }

  /// When `work` has something to do; `now` when it has it at once.
  func deadline(at now: Instant) -> Instant {
    switch phase {
    case .waiting: .never
    case .summing: now
    case .copying, .complete, .failed: saidAt + Self.sayInterval
    }
  }

  /// What was received, for a line of the log.
  mutating func summary(_ database: borrowing Database, at now: Instant) -> String {
    progress.entryCount = database.count
    return progress.text(since: begunAt, at: now)
  }
}
