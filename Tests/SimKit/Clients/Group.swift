import Base

/// What the keys of a group are used for; decides which commands its clients send.
enum GroupKind: Int, CaseIterable {
  /// One key under every kind of single command.
  case register
  /// One number, added to exactly once.
  case counter
  /// One value, appended to exactly once with tokens that occur nowhere else.
  case journal
  /// Three keys in transactions, some of which fail at run time.
  case bundle
  /// One key that expires.
  case fleeting
  /// Two keys, some of which expire, that are also watched and changed under WATCH.
  case watched
}

/// A group of keys on its way from use to verdict.
///
/// Can transition to: active → draining → closed.
final class Group {
  enum Stage {
    case active
    /// No new calls; its last reading is taken once all calls have had their end.
    case draining
    /// Judged, its keys removed.
    case closed
  }

  let history: History
  let kind: GroupKind
  var stage = Stage.active
  /// Calls whose end is not known yet.
  var openCount = 0
  /// Calls whose outcome stayed unknown.
  var unknownCount = 0
  /// When the last of the calls with an unknown outcome can have had its effect.
  var quietAfter = Instant.zero
  /// A client is at the last reading.
  var isBeingRead = false
  /// The versions that clients have read, by slot.
  var versions: [String?]

  init(name: String, kind: GroupKind) {
    self.kind = kind
    let keyCount = kind == .bundle ? 3 : kind == .watched ? 2 : 1
    history = History(name: name, keyCount: keyCount)
    versions = Array(repeating: nil, count: keyCount)
  }

  var name: String { history.name }
}

/// A FLUSHALL: one call on each group that it can touch, those made while it is under way included.
final class Flush {
  let client: Int
  let stream: Int
  var calls: [OpenCall] = []
  /// Until when it can have its effect; nil: it has not ended.
  var effectUntil: Instant?

  init(client: Int, stream: Int) {
    self.client = client
    self.stream = stream
  }
}

/// A call that was planned, sent perhaps several times, and is not yet ended.
final class OpenCall {
  let group: Group
  let index: Int
  let id: OperationID?
  let isTransaction: Bool
  let commands: [SimCommand]
  /// Losses of the node before it was sent first.
  var lossCount = 0
  /// How often it was sent.
  var attempts = 0
  /// The stream over which it was sent last; 0: none.
  var stream = 0
  /// What goes with it in each message over UDP; nil: nothing.
  var company: Company?
  /// It is the last reading of its group.
  var isFinal = false

  init(
    group: Group, index: Int, id: OperationID?, isTransaction: Bool, commands: [SimCommand]
  ) {
    self.group = group
    self.index = index
    self.id = id
    self.isTransaction = isTransaction
    self.commands = commands
  }

  /// The bytes of its commands; with `names` the id is in them (`ONCE`), otherwise in the datagrams.
  func body(names: Bool) -> [UInt8] {
    var bytes: [UInt8] = []
    var prefix: [[UInt8]] = []
    if names, let id { prefix = [Array("ONCE".utf8), Array("\(id)".utf8)] }
    guard isTransaction else {
      Request.append(prefix + commands[0].words(group: group.name), to: &bytes)
      return bytes
    }
    Request.append([Array("MULTI".utf8)], to: &bytes)
    for command in commands { Request.append(command.words(group: group.name), to: &bytes) }
    Request.append(prefix + [Array("EXEC".utf8)], to: &bytes)
    return bytes
  }

  var replyCount: Int { isTransaction ? commands.count + 2 : 1 }

  /// Whether it must be sent again, or asked after, before its outcome is known.
  ///
  /// A refusal of a later copy says nothing about an earlier one; only `OUTCOME` does.
  func needsRetry(after outcome: CallOutcome) -> Bool {
    guard id != nil, case .notApplied(let text) = outcome else { return false }
    return attempts > 1 ? !text.hasPrefix("ABORTED the id was sealed") : text.hasPrefix("LOADING")
  }
}
