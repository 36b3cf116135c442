import Base
import NetKit
import Store
import TPC

/// The agreement of a node with the other members: its negotiator, the rounds under way, and who
/// waits.
///
/// Belongs to one `Node`, which executes; `Host` moves the messages.
struct Cluster: ~Copyable {
  /// The two-phase commit of this member.
  var negotiator: Negotiator
  /// The list of members, and what is being done to it.
  let state: MembershipState
  /// What the negotiator wants done; reused.
  var effects = Effects()
  /// The round that this turn's commands run in.
  var open: Round?
  /// The part of `output` before the unit at hand, and what it is made of.
  var unit = UnitAtHand()
  /// Rounds that wait for their decision, by transaction.
  var rounds: [TransactionID: Round] = [:]
  /// Rounds whose next attempt is due, in the order of their age.
  var renewals: [Round] = []
  /// Rounds that were refused here as a whole, whose units are to be tried alone.
  var parted: [Round] = []
  /// Sessions whose next command waits for a key.
  var blockedSessions: [LinkID] = []
  /// Requests over UDP that wait for a key.
  var blockedRequests: [BlockedRequest] = []
  var blockedByteCount = 0
  /// Keys have been released, or a member came back: who waits is to be tried again.
  var mayUnblock = false
  /// Replies to commands of earlier turns, for Host to send: link by link, bytes in `lateBytes`.
  var late: [(link: LinkID, byteCount: Int, outcome: RequestOutcome)] = []
  var lateBytes = ByteBuffer()
  /// Sessions whose rounds have ended: they go on once those replies are sent.
  var released: [LinkID] = []
  /// Messages to members that may leave at once, and those that wait at the gate.
  var freeOutbox = Outbox()
  var gatedOutbox = Outbox()
  /// What the negotiator wants to hear once it is durable, in rising order of marks.
  var tickets: [(mark: Mark, ticket: Ticket)] = []
  /// Members that have confirmed the membership since this one started.
  var confirmed = MemberSet()
  /// What was in doubt when a member was removed by force, and is not decided yet.
  var doubtful: Set<TransactionID> = []
  var roundNumber: UInt64 = 0
  let hashKey: SipKey
  /// What a message to a member may hold; told by Host.
  var messageByteCountMax = Int.max
  var counters = ClusterCounters()
  /// The changes of the round that is being closed, and what is made of them; reused.
  var changes = ByteBuffer()
  var builder = WorkBuilder()
  /// The last steps of the protocol, for people.
  var steps = StepRing()
  /// The oldest wait for a key since `unblock` ran last.
  var blockedSince: Instant?
  /// How the proposal of a change of members waits that is no client's.
  var proposalWait: Wait?
  /// The age of who began to wait last.
  var lastWaitAge = Stamp.zero

  /// The name that stands for all keys: transactions read it, one that changes all keys writes it.
  /// As an operation's id it names nothing, so no client can use it.
  static var allKeys: OperationID { .none }

  /// Bytes of commands, replies and changes above which a round is closed and the next one opened.
  static var roundByteCountMax: Int { 512 << 10 }
  /// Bytes of a message besides one transaction's work.
  static var messageOverheadByteCount: Int { 1_024 }
  /// Commands of one round, and keys, those of its last command aside.
  static var roundUnitCountMax: Int { 4_096 }
  /// How long a command waits for a key, and a round for its decision, before its client is told.
  var patience = Interval.seconds(5)
  /// Commits ride with the next prepares, if these come soon: the others are woken once for both.
  static var negotiatorOptions: NegotiatorOptions {
    var options = NegotiatorOptions()
    options.decisionDelay = .micros(250)
    return options
  }
  /// How long a command waits for keys that go from one transaction to the next before it takes a
  /// place in line, so that it is its turn. Earlier would be fairer and cost more: each turn that
  /// goes from one member to another is an attempt that dies.
  static var placePause: Interval { .millis(10) }
  /// How long a joiner may take for the last part of its copy.
  static var patienceForJoiner: Interval { .seconds(30) }
  /// Requests over UDP that wait at once, and their bytes.
  static var blockedRequestCountMax: Int { 10_000 }
  static var blockedByteCountMax: Int { 64 << 20 }
}

extension Cluster {
  /// Every other member has confirmed the membership since this one started: local reads are sound.
  /// Not so any more once this one has been removed, though it goes on for a moment.
  var isConfirmed: Bool {
    if state.isOutside { return false }
    var known = confirmed
    known.insert(negotiator.member)
    return known.isSuperset(of: negotiator.members)
  }

  /// Takes a round out of those under way.
  mutating func take(_ id: TransactionID) -> Round? {
    if let round = rounds.removeValue(forKey: id) { return round }
    guard let at = renewals.firstIndex(where: { $0.id == id }) else { return nil }
    return renewals.remove(at: at)
  }

  /// Notes that somebody waits since then.
  mutating func noteBlocked(since: Instant) {
    blockedSince = blockedSince.map { min($0, since) } ?? since
  }

  /// When somebody has waited long enough to be told; `never` when nobody waits.
  var patienceDeadline: Instant { blockedSince.map { $0 + patience } ?? .never }
}

/// The unit being executed.
struct UnitAtHand {
  /// Something of it but its bytes may have been set.
  var isTouched = true
  /// Its bytes as they were received.
  var bytes = UnsafeRawBufferPointer(start: nil, count: 0)
  var request: RequestHead?
  /// What EXEC takes from its session.
  var queue: TransactionQueue?
  var watches: [Watch] = []
  /// A command of it runs in the open round.
  var hasJoined = false
  /// The ids that its commands seal in the open round.
  var sealed: [OperationID] = []
  /// A command of it came under an id.
  var hasID = false
  /// It must wait and be run again from its beginning; nothing of it has been done.
  var isDeferred = false
  /// Of a request: how it waits for keys; nil when it comes for the first time.
  var wait: Wait?
  /// It is a single command.
  var isOneCommand = true
}

/// Counts of the cluster's part since the start.
struct ClusterCounters {
  var rounds: UInt64 = 0
  var units: UInt64 = 0
  var conflicts: UInt64 = 0
  var aborted: UInt64 = 0
  var unknown: UInt64 = 0
  var messages: UInt64 = 0
}

/// Messages to members that wait until what they say is durable.
struct Outbox: ~Copyable {
  private var entries: [(mark: Mark, member: MemberID, byteCount: Int)] = []
  private var head = 0
  private var bytes = ByteBuffer()

  var isEmpty: Bool { head == entries.count }
  var byteCount: Int { bytes.count }

  /// Queues a message behind `mark`, which is never below an earlier one's.
  mutating func push(_ message: UnsafeRawBufferPointer, to member: MemberID, after mark: Mark) {
    invariant(isEmpty || entries[entries.count - 1].mark <= mark, "marks of messages only rise")
    bytes.append(message)
    entries.append((mark, member, message.count))
  }

  /// The first message if its mark is durable.
  func front(durable: Mark) -> (member: MemberID, message: UnsafeRawBufferPointer)? {
    guard !isEmpty, entries[head].mark <= durable else { return nil }
    let entry = entries[head]
    return (entry.member, UnsafeRawBufferPointer(rebasing: bytes.bytes[0..<entry.byteCount]))
  }

  mutating func dropFront() {
    bytes.consume(entries[head].byteCount)
    head += 1
    if head == entries.count {
      entries.removeAll(keepingCapacity: entries.count < 4_096)
      head = 0
    }
  }
}
