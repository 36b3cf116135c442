import Base
import Store
import TPC

@testable import Node

/// A donor and a joiner over a network that loses, repeats and reorders, a joiner's disk that lags
/// behind, and a donor's database that changes all the while.
final class CopyWorld {
  /// Of a hundred messages.
  var lost = 0
  var repeated = 0
  var latencyMillis = 1...1
  /// Changes at the donor in a millisecond, of a hundred.
  var changes = 0
  /// Tries to begin the transaction that are refused before one is not.
  var refusals = 0
  /// Attempts that die before one does not.
  var deaths = 0
  /// Transactions that are aborted before one is not.
  var aborts = 0

  private(set) var now = Instant(nanos: 1_000_000_000)
  var chance: Random
  var donorData: Database
  var joinerData: Database
  var donor: Donor?
  var joiner = Joiner()
  private var donorEffects = CopyEffects()
  private var joinerEffects = CopyEffects()
  private var toJoiner: [(at: Instant, bytes: [UInt8])] = []
  private var toDonor: [(at: Instant, bytes: [UInt8])] = []
  /// When what the joiner appended becomes durable.
  private var forces: [(at: Instant, mark: Mark)] = []
  /// The attempt that is prepared at the donor.
  private(set) var prepared: CopyAttempt?
  private var prepareAt = Instant.never
  private var dieAt = Instant.never
  private var attemptNumber: UInt32 = 1
  private var transactionNumber: UInt64 = 0
  /// The attempt with which the joiner was taken in.
  private(set) var end: CopyAttempt?
  private(set) var lines: [String] = []
  private(set) var begins = 0
  private(set) var withdrawals = 0
  private(set) var messages = 0
  /// Chunks and receipts are changed by it on their way.
  var tamper: ([UInt8]) -> [UInt8] = { $0 }

  init(seed: UInt64) {
    chance = Random(seed: seed)
    donorData = Self.database(seed: seed)
    joinerData = Self.database(seed: seed ^ 0xFFFF)
    for index in 0..<chance.within(0...400) { change("key \(index)") }
  }

  private static func database(seed: UInt64) -> Database {
    var database = Database(
      hashKey: SipKey(k0: seed, k1: 5), limits: DatabaseLimits(),
      log: LogWriter(after: .zero, chain: 0, identity: 5))
    database.observe(wallNanos: 1_700_000_000_000_000_000)
    return database
  }

  /// A copy begins, as after the joiner's first word.
  func start() {
    donor = Donor(
      to: MemberID(4), note: Array("note".utf8), after: donor?.copy ?? 0, &donorData, at: now,
      into: &donorEffects)
    prepared = nil
    prepareAt = .never
    end = nil
    carryOut()
  }

  /// The joiner dies and comes back with an empty table; its donor begins again.
  func restartJoiner() {
    end = nil
    joinerData.clearForCopy(keeping: UnsafeRawBufferPointer(start: nil, count: 0))
    joiner = Joiner()
    toJoiner = []
    toDonor = []
    forces = []
    start()
  }

  /// Lets time pass until the joiner is taken in; false when it takes longer than `seconds`.
  func run(seconds: Int = 60) -> Bool {
    for _ in 0..<(seconds * 1_000) {
      if end != nil { return true }
      step()
    }
    return end != nil
  }

  func step() {
    now = now + .millis(1)
    if prepared == nil, chance.chance(changes, in: 100) { change(nil) }
    deliver()
    transact()
    if donor != nil {
      let isLocked = prepared != nil
      donor?.work(&donorData, isLocked: isLocked, at: now, into: &donorEffects)
    }
    carryOut()
    joiner.work(&joinerData, at: now, into: &joinerEffects)
    let mark = joinerData.log.appended
    if forces.last?.mark != mark {
      forces.append((now + .millis(UInt64(chance.within(1...5))), mark))
    }
    while let first = forces.first, first.at <= now {
      joiner.durable(first.mark, into: &joinerEffects)
      forces.removeFirst()
    }
    carryOutJoiner()
  }

  // MARK: The transaction

  private func transact() {
    if prepareAt <= now {
      prepareAt = .never
      let attempt = CopyAttempt(
        id: TransactionID(age: Stamp(nanos: 5), node: MemberID(1), counter: transactionNumber),
        attempt: Attempt(attemptNumber))
      attemptNumber += 1
      prepared = attempt
      donor?.prepared(attempt, &donorData, at: now, into: &donorEffects)
      if deaths > 0 || aborts > 0 { dieAt = now + .millis(UInt64(chance.within(0...30))) }
    }
    guard dieAt <= now else { return }
    dieAt = .never
    prepared = nil
    if deaths > 0 {
      deaths -= 1
      prepareAt = now + .millis(UInt64(chance.within(0...10)))
    } else {
      aborts -= 1
      donor?.aborted(at: now)
    }
  }

  private func propose() {
    if refusals > 0 {
      refusals -= 1
      donor?.proposalRefused("busy", at: now, into: &donorEffects)
      return
    }
    transactionNumber += 1
    donor?.proposalBegun()
    prepareAt = now + .millis(UInt64(chance.within(0...3)))
  }

  // MARK: Changes

  /// Commits a change at the donor as a member does.
  private func change(_ key: String?) {
    let key = key ?? "key \(chance.below(500))"
    var changes = ByteBuffer()
    donorData.begin(multi: true)
    Array(key.utf8).withUnsafeBytes { key in
      if chance.chance(1, in: 8) {
        _ = donorData.execute(.delete(key: key))
      } else {
        let count = chance.chance(1, in: 40) ? chance.below(90_000) : chance.below(60)
        let value = [UInt8](repeating: UInt8(truncatingIfNeeded: chance.next()), count: count)
        value.withUnsafeBytes { _ = donorData.execute(.put(key: key, value: $0, .plain)) }
      }
    }
    let id = OperationID(unixMillis: donorData.clockMillis, random: chance.next(), chance.next())
    let done = Array("+OK".utf8).withUnsafeBytes { donorData.addOutcome(of: id, reply: $0) }
    precondition(done)
    _ = donorData.takeChanges(into: &changes)
    Array("t".utf8).withUnsafeBytes { name in
      do {
        _ = try donorData.stage(name, note: name, changes: changes.bytes)
      } catch {
        fatalError("\(error)")
      }
      _ = donorData.settle(name, committed: true, note: nil)
    }
  }

  // MARK: The network

  private func deliver() {
    let arrived = toJoiner.filter { $0.at <= now }
    toJoiner.removeAll { $0.at <= now }
    for message in arrived {
      message.bytes.withUnsafeBytes { bytes in
        let arrival = joiner.receive(bytes, &joinerData, at: now, into: &joinerEffects)
        guard case .begins(let stamp, let note) = arrival else { return }
        precondition(note.elementsEqual("note".utf8))
        begins += 1
        joinerData.observe(stamp: stamp)
        joinerData.clearForCopy(keeping: UnsafeRawBufferPointer(start: nil, count: 0))
        joiner.begun(joinerData)
      }
    }
    let answers = toDonor.filter { $0.at <= now }
    toDonor.removeAll { $0.at <= now }
    for message in answers {
      message.bytes.withUnsafeBytes {
        donor?.receive($0, &donorData, at: now, into: &donorEffects)
      }
      carryOut()
    }
  }

  private func carryOut() {
    var index = 0
    while index < donorEffects.list.count {
      switch donorEffects.list[index] {
      case .send(let place): pass(donorEffects.bytes.bytes[place], &toJoiner)
      case .propose: propose()
      case .completed(let attempt):
        // The last attempt is decided by it; one that is to die does so for another reason.
        if attempt == prepared, deaths == 0, aborts == 0 { end = attempt }
      case .withdraw:
        withdrawals += 1
        prepared = nil
        prepareAt = .never
      }
      index += 1
    }
    lines += donorEffects.lines.map(\.text)
    donorEffects.removeAll()
  }

  private func carryOutJoiner() {
    for effect in joinerEffects.list {
      guard case .send(let place) = effect else { fatalError("a joiner only sends") }
      pass(joinerEffects.bytes.bytes[place], &toDonor)
    }
    lines += joinerEffects.lines.map(\.text)
    joinerEffects.removeAll()
  }

  private func pass(
    _ bytes: Slice<UnsafeRawBufferPointer>, _ queue: inout [(at: Instant, bytes: [UInt8])]
  ) {
    messages += 1
    precondition(bytes.count <= CopyMessage.byteCountMax)
    guard !chance.chance(lost, in: 100) else { return }
    for _ in 0..<(chance.chance(repeated, in: 100) ? 2 : 1) {
      queue.append((now + .millis(UInt64(chance.within(latencyMillis))), tamper(Array(bytes))))
    }
  }

  // MARK: Questions

  var areEqual: Bool {
    Self.digest(donorData) == Self.digest(joinerData)
      && donorData.outcomeCount == joinerData.outcomeCount
      && donorData.horizonMillis == joinerData.horizonMillis
  }

  private static func digest(_ database: borrowing Database) -> CopyDigest {
    var cursor = DigestCursor(aliveMillis: 0)
    while database.digestSlice(&cursor, entryCountMax: 1_000_000) {}
    return cursor.digest
  }
}
