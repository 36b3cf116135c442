import Base

/// Watches every id: executed once or never, and told alike whenever asked.
///
/// What shows a second execution: a journal in which a token stands twice, an increment or append
/// that answers something else when its id is sent again, and outcomes that contradict what was seen.
final class ExactlyOnce {
  /// What is known of one id.
  struct Record {
    var id: OperationID
    var client: Int
    var group: String
    var words: [[UInt8]]
    /// Other things were asked in the same message: the one that sent it sends the id in no other.
    var hasCompany: Bool
    /// The token that it appends to a journal.
    var token: [UInt8]?
    /// Its answer when it was executed with a change, which every later copy must get too.
    var reply: Reply?
    /// It was told aborted: it must never be seen.
    var isAborted = false
    /// Its client was told it is committed.
    var isCommitted: Bool
  }

  private unowned let world: World
  private(set) var records: [Record] = []
  private var places: [OperationID: Int] = [:]
  private var aborted: Set<[UInt8]> = []
  /// The tokens of each journal that has been judged.
  private var held: [String: Set<[UInt8]>] = [:]
  /// FLUSHALL removes tokens; then only doubles are looked for.
  private let looksForLoss: Bool
  /// A death may take back what was done, its id with it: a copy may rightly be executed again.
  private let forgets: Bool
  private(set) var resentCount = 0

  init(world: World, swarm: Swarm) {
    self.world = world
    forgets = swarm.isWeak
    looksForLoss = swarm.flushInThousand == 0 && !forgets
  }

  // MARK: Calls

  func note(_ call: OpenCall, _ outcome: CallOutcome) {
    if call.group.kind == .journal { checkDoubles(call, outcome) }
    guard let id = call.id, !call.isTransaction, call.commands.count == 1 else { return }
    let command = call.commands[0]
    var reply: Reply?
    if case .replied(let replies) = outcome, Self.alwaysChanges(command.verb) { reply = replies[0] }
    let isCommitted = reply != nil || outcome == .executed
    var token: [UInt8]?
    if call.group.kind == .journal, case .append(let bytes) = command.verb { token = bytes }
    places[id] = records.count
    records.append(
      Record(
        id: id, client: call.group.history.calls[call.index].client, group: call.group.name,
        words: command.words(group: call.group.name), hasCompany: call.company != nil,
        token: token, reply: reply, isCommitted: isCommitted))
  }

  /// The id was durably told to be aborted.
  func noteAborted(_ id: OperationID) {
    guard let place = places[id] else { return }
    records[place].isAborted = true
    if records[place].isCommitted {
      world.fail("exactly-once", "\(id) was acknowledged and then told aborted")
    }
    if let token = records[place].token { aborted.insert(token) }
  }

  /// Verbs whose success always changes something and so is always recorded.
  private static func alwaysChanges(_ verb: SimCommand.Verb) -> Bool {
    switch verb {
    case .increment, .append: true
    default: false
    }
  }

  private func checkDoubles(_ call: OpenCall, _ outcome: CallOutcome) {
    guard case .replied(let replies) = outcome, case .bulk(let value)? = replies.first else {
      return
    }
    var seen: Set<[UInt8]> = []
    for token in Self.tokens(value) {
      if !seen.insert(token).inserted {
        world.fail(
          "exactly-once",
          "\(call.group.name) holds \(Reply.text(of: token)) twice: "
            + String(decoding: value, as: UTF8.self))
      }
      if aborted.contains(token) {
        world.fail(
          "exactly-once",
          "\(call.group.name) holds \(Reply.text(of: token)), whose id "
            + "was told aborted")
      }
    }
  }

  static func tokens(_ value: [UInt8]) -> [[UInt8]] {
    value.split(separator: UInt8(ascii: ">")).map { Array($0) + [UInt8(ascii: ">")] }
  }

  // MARK: Groups

  /// Compares a journal's last reading with what was acknowledged.
  func check(_ group: Group, final replies: [Reply]) {
    guard group.kind == .journal, looksForLoss else { return }
    var held: Set<[UInt8]> = []
    if case .bulk(let value)? = replies.first { held = Set(Self.tokens(value)) }
    self.held[group.name] = held
    for record in records where record.group == group.name && record.isCommitted {
      guard let token = record.token, !held.contains(token) else { continue }
      world.fail(
        "exactly-once",
        "\(group.name) has lost \(Reply.text(of: token)), acknowledged under "
          + "\(record.id)")
    }
  }

  // MARK: Copies

  /// An id of long ago, to be sent again.
  func oldRecord(_ chance: inout Random) -> Record? {
    if forgets { return nil }
    let candidates = records.suffix(400).filter { $0.reply != nil }
    guard !candidates.isEmpty else { return nil }
    return candidates[candidates.startIndex + chance.below(candidates.count)]
  }

  /// A copy of an executed call must get the first answer or be refused, but not as one that was
  /// never executed.
  func checkCopy(_ record: Record, _ reply: Reply) {
    resentCount += 1
    if case .error(let text) = reply, text.hasSuffix("(not-applied)") {
      world.fail(
        "exactly-once",
        "\(record.id) of \(record.group) was answered \(record.reply!.text), a copy: \(text)")
    }
    guard !reply.isError, reply != record.reply else { return }
    world.fail(
      "exactly-once",
      "\(record.id) was executed again: \(record.group) first answered "
        + "\(record.reply!.text), now \(reply.text)")
  }

  /// What `OUTCOME` may say about an id at the very end.
  func checkOutcome(_ record: Record, _ word: OutcomeWord) {
    var fits: Bool
    switch word {
    case .committed: fits = !record.isAborted
    case .aborted: fits = !record.isCommitted
    case .neverSeen: fits = forgets || !record.isCommitted && !record.isAborted
    case .expired: fits = true
    }
    if word != .expired, let token = record.token, let held = held[record.group],
      held.contains(token) != (word == .committed)
    {
      fits = false
    }
    if !fits {
      world.fail(
        "exactly-once",
        "OUTCOME \(record.id) says \(word.rawValue); acknowledged: \(record.isCommitted), "
          + "told aborted: \(record.isAborted)")
    }
  }
}
