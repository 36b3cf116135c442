import Base

/// The items of one turn, collected for each member and each class, so that a turn costs a member
/// at most one message of each class (rule 6).
struct Outbox {
  private struct Box {
    var bytes: [UInt8] = []
    /// Where a further message begins, because the one before is full.
    var cuts: [Int] = []
    var lastCut = 0
  }

  private let byteCountMax: Int
  private var free: [Box]
  private var gated: [Box]
  /// Members with anything to send, by class.
  private var freeMembers = MemberSet()
  private var gatedMembers = MemberSet()
  /// Members for whom there is something of the free class that may not be held.
  private var urgentMembers = MemberSet()

  init(byteCountMax: Int) {
    self.byteCountMax = byteCountMax
    free = Array(repeating: Box(), count: Int(MemberID.numberMax))
    gated = free
  }

  var isEmpty: Bool { freeMembers.isEmpty && gatedMembers.isEmpty }

  // MARK: Items

  mutating func prepare(
    _ id: TransactionID, _ attempt: Attempt, _ participants: MemberSet, _ work: Work,
    isOnePhase: Bool, to member: MemberID
  ) {
    item(isOnePhase ? .onePhase : .prepare, id, attempt, to: member, gated: false, work.bytes.count)
    {
      $0.append(little: participants.bits)
      $0.append(little: UInt32(work.bytes.count))
      $0.append(contentsOf: work.bytes)
    }
  }

  mutating func vote(
    _ id: TransactionID, _ attempt: Attempt, no reason: Reason?, result: [UInt8] = [],
    to member: MemberID, gated: Bool
  ) {
    item(.vote, id, attempt, to: member, gated: gated, result.count) {
      $0.append(reason?.rawValue ?? 0)
      $0.append(little: UInt32(result.count))
      $0.append(contentsOf: result)
    }
  }

  /// Decision, acknowledgement or answer. Patient: it may be held until something else goes to the
  /// member.
  mutating func word(
    _ kind: Message.Kind, _ id: TransactionID, _ attempt: Attempt, _ word: Message.Word,
    to member: MemberID, gated: Bool, patient: Bool = false
  ) {
    item(kind, id, attempt, to: member, gated: gated, patient: patient, 1) {
      $0.append(word.rawValue)
    }
  }

  mutating func inquiry(
    _ id: TransactionID, _ attempt: Attempt, _ participants: MemberSet, to member: MemberID,
    gated: Bool
  ) {
    item(.inquiry, id, attempt, to: member, gated: gated, 8) {
      $0.append(little: participants.bits)
    }
  }

  private mutating func item(
    _ kind: Message.Kind, _ id: TransactionID, _ attempt: Attempt, to member: MemberID,
    gated isGated: Bool, patient: Bool = false, _ byteCount: Int,
    _ rest: (inout [UInt8]) -> Void
  ) {
    let index = Int(member.number) - 1
    if isGated {
      gatedMembers.insert(member)
      Self.append(kind, id, attempt, byteCount, byteCountMax, &gated[index], rest)
    } else {
      freeMembers.insert(member)
      if !patient { urgentMembers.insert(member) }
      Self.append(kind, id, attempt, byteCount, byteCountMax, &free[index], rest)
    }
  }

  /// Static: it would be given a copy of the outbox, and the box that it changes then be one of a
  /// copy of all.
  private static func append(
    _ kind: Message.Kind, _ id: TransactionID, _ attempt: Attempt, _ byteCount: Int,
    _ byteCountMax: Int, _ box: inout Box, _ rest: (inout [UInt8]) -> Void
  ) {
    let begun = box.bytes.count - box.lastCut
    if begun > 0, begun + byteCount + 64 > byteCountMax {
      box.lastCut = box.bytes.count
      box.cuts.append(box.lastCut)
    }
    box.bytes.append(kind.rawValue)
    box.bytes.append(id)
    box.bytes.append(little: attempt.number)
    rest(&box.bytes)
  }

  // MARK: Flushing

  /// Makes messages of what was collected, or only of what may not be held and of what goes to the
  /// same members; returns how many.
  mutating func flush(
    _ header: Message.Header, holding: Bool, _ effects: inout Effects
  ) -> Int {
    guard !isEmpty else { return 0 }
    var count = 0
    let leaving = holding ? urgentMembers : freeMembers
    for member in leaving {
      count += Self.flush(&free[Int(member.number) - 1], member, gated: false, header, &effects)
    }
    for member in gatedMembers {
      count += Self.flush(&gated[Int(member.number) - 1], member, gated: true, header, &effects)
    }
    freeMembers = freeMembers.subtracting(leaving)
    urgentMembers = MemberSet()
    gatedMembers = MemberSet()
    return count
  }

  /// Forgets all that was collected, as if it had been lost on its way.
  mutating func removeAll() {
    for member in freeMembers { free[Int(member.number) - 1] = Box() }
    for member in gatedMembers { gated[Int(member.number) - 1] = Box() }
    freeMembers = MemberSet()
    urgentMembers = MemberSet()
    gatedMembers = MemberSet()
  }

  private static func flush(
    _ box: inout Box, _ member: MemberID, gated: Bool, _ header: Message.Header,
    _ effects: inout Effects
  ) -> Int {
    var start = 0
    let ends = box.cuts + [box.bytes.count]
    for end in ends {
      let from = effects.bytes.count
      append(header, &effects.bytes)
      box.bytes.withUnsafeBytes {
        effects.bytes.append(UnsafeRawBufferPointer(rebasing: $0[start..<end]))
      }
      effects.list.append(.send(to: member, bytes: from..<effects.bytes.count, gated: gated))
      start = end
    }
    box.bytes.removeAll(keepingCapacity: box.bytes.capacity <= ByteBuffer.keepCapacityMax)
    box.cuts.removeAll()
    box.lastCut = 0
    return ends.count
  }

  private static func append(_ header: Message.Header, _ bytes: inout ByteBuffer) {
    bytes.append(Message.version)
    bytes.append(UInt8(0))
    bytes.append(little: header.sender.number)
    bytes.append(little: header.epoch.number)
    bytes.append(little: header.stamp.nanos)
    bytes.append(little: header.lowWater)
  }
}
