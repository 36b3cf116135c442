import Base

/// One transaction as this member knows it.
struct Entry {
  /// Where it stands. A transaction coordinated here is prepared here too while `voting` and
  /// `asking`; the stages from `voting` on are the coordinator's, but for `asking`.
  enum Stage: UInt8 {
    // Participant.
    /// Waits for locks. Can transition to: prepared, dead, aborted, gone.
    case queued
    /// Staged and locked. Can transition to: prepared of a higher attempt, committed, dead,
    /// aborted.
    case prepared
    /// Kept until the coordinator's mark has passed it, so that a late prepare finds it.
    case committed
    /// No attempt up to `attempt` will be committed. Can transition to: prepared of a higher one.
    case dead
    /// No attempt will be committed.
    case aborted

    // Coordinator.
    /// Collects votes in `heard`. Can transition to: settling, dying, aborting, asking.
    case voting
    /// The death of this attempt is being forced. Can transition to: pausing, aborting.
    case dying
    /// The pause before the next attempt. Can transition to: renewing, aborting.
    case pausing
    /// The owner executes again. Can transition to: voting, aborting.
    case renewing
    /// Undecided after a restart or a forced removal: collects `prepared` in `heard`. Also at a
    /// participant whose coordinator was removed. Can transition to: settling, aborting (there:
    /// committed, dead).
    case asking
    /// The final abort is being forced. Can transition to: telling.
    case aborting
    /// The final abort is durable here, and one other has to record it before a client hears of it.
    case telling
    /// Committed; collects acknowledgements in `heard`.
    case settling
    /// One phase: the other decides.
    case delegated
  }

  var id: TransactionID
  /// The attempt of the stage; for `dead` the highest dead one.
  var attempt: Attempt
  var stage: Stage
  /// Those whose word counts: members removed since are not among them.
  var participants: MemberSet
  /// As it was begun or recorded. Invariant: it holds `participants`.
  var recorded: MemberSet
  /// What is to be sent again or checked again: only in `queued`, `voting`, `delegated`.
  var work: Work?
  /// While queued: up to which attempt a record here says `dead`.
  var lower = Attempt.none
  /// The locks held or waited for; -1: none.
  var lock: Int32 = -1
  /// The bytes of our yes.
  var result: [UInt8] = []
  var isOnePhase = false
  /// When it was queued, prepared or begun.
  var since: Instant
  /// Whose word of the present stage was heard.
  var heard = MemberSet()
  /// When something is due, and the earliest time at which a timer for it stands in the heap.
  var wakeAt = Instant.never
  var timerAt = Instant.never
  /// How often the present stage was woken.
  var tries: UInt8 = 0
  /// Set for transactions begun in this run.
  var deadline = Instant.never
  /// Why it is aborted.
  var reason = Reason.refused
  var wasCalledUnknown = false
  /// Tells a reused slot from the one that a timer meant.
  var generation: UInt32 = 0
  var isUsed = true

  init(
    _ id: TransactionID, _ attempt: Attempt, _ stage: Stage, _ participants: MemberSet,
    since: Instant
  ) {
    self.id = id
    self.attempt = attempt
    self.stage = stage
    self.participants = participants
    recorded = participants
    self.since = since
  }

  /// Staged and locked here, outcome unknown here.
  var isUndecided: Bool { stage == .prepared || stage == .voting || stage == .asking }
}

/// When an entry is due.
struct Timer: Comparable {
  var at: Instant
  var slot: Int32
  var generation: UInt32

  static func < (a: Timer, b: Timer) -> Bool { a.at != b.at ? a.at < b.at : a.slot < b.slot }
}

/// A transaction of one coordinator, in the order of the counters.
struct KnownTransaction: Comparable {
  var counter: UInt64
  var age: Stamp

  static func < (a: KnownTransaction, b: KnownTransaction) -> Bool {
    a.counter != b.counter ? a.counter < b.counter : a.age < b.age
  }
}

/// What this member keeps for one coordinator, to forget its transactions (rule 7).
struct CoordinatorMemory {
  /// Nothing is known of its counters below; late prepares there are refused. Durable as a note.
  var horizon: UInt64 = 0
  /// The greatest low-water mark heard. Invariant: horizon <= mark.
  var mark: UInt64 = 0
  var known = MinHeap<KnownTransaction>()
}

/// The entries, found by id, in slots that are used again.
struct EntryTable {
  private(set) var slots: [Entry] = []
  private var free: [Int32] = []
  private var index: [TransactionID: Int32] = [:]

  var count: Int { index.count }

  subscript(slot: Int) -> Entry {
    _read { yield slots[slot] }
    _modify { yield &slots[slot] }
  }

  func find(_ id: TransactionID) -> Int? { index[id].map(Int.init) }

  /// Adds an entry with a fresh id.
  mutating func insert(_ entry: Entry) -> Int {
    let slot: Int
    if let reused = free.popLast() {
      slot = Int(reused)
      let generation = slots[slot].generation &+ 1
      slots[slot] = entry
      slots[slot].generation = generation
    } else {
      slot = slots.count
      slots.append(entry)
    }
    let replaced = index.updateValue(Int32(slot), forKey: entry.id)
    invariant(replaced == nil, "transaction \(entry.id) was known already")
    return slot
  }

  mutating func remove(_ slot: Int) {
    index[slots[slot].id] = nil
    slots[slot].isUsed = false
    slots[slot].work = nil
    slots[slot].result = []
    slots[slot].wakeAt = .never
    free.append(Int32(slot))
  }

  /// The slots of those that satisfy a condition, oldest id first.
  func sorted(where holds: (Entry) -> Bool) -> [Int] {
    slots.indices.filter { slots[$0].isUsed && holds(slots[$0]) }
      .sorted { slots[$0].id < slots[$1].id }
  }
}
