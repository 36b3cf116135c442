public import Base
public import TPC

/// Who is in the cluster: data like any other, in the ledger of each member and changed by
/// transactions or by force.
///
/// Encoded, integers little-endian: u8 format 1, u64 cluster id, u32 epoch, u8 count of removals,
/// each u16 (they count up to the epoch's own), the list's text to the end.
public struct Membership: Hashable, Sendable {
  /// What keeps this cluster apart from others: that of its first list, for ever.
  public let clusterID: UInt64
  /// The version of the list.
  public private(set) var epoch: Epoch
  /// The members.
  public private(set) var list: MemberList
  /// Who was removed by force since the last change that all agreed on was begun, in order: what a
  /// member that was away has to learn. The last one is the removal number `epoch.forced`.
  public private(set) var removals: [MemberID]

  /// The first list of a cluster.
  public init(clusterID: UInt64, list: MemberList) {
    self.clusterID = clusterID
    epoch = Epoch(agreed: 1, forced: 0)
    self.list = list
    removals = []
  }

  /// What all of them have seen: a change that all agree on is prepared by each in the same epoch.
  /// Who says less had its id before one of them.
  public var base: Epoch {
    Epoch(agreed: epoch.agreed - 1, forced: epoch.forced - UInt16(removals.count))
  }

  /// Their ids.
  public var members: MemberSet { MemberSet(list.entries.map(\.id)) }

  /// The removals by force from number `first` on; nil: an agreed change has passed it.
  public func removals(from first: UInt16) -> [MemberID]? {
    let missing = Int(epoch.forced) - Int(first) + 1
    return missing <= removals.count ? Array(removals.suffix(max(0, missing))) : nil
  }

  /// Whether two lists, this one with the later removals, can be of one history: they differ by
  /// nothing but those, and by a change that one side has not heard of.
  func agrees(with earlier: Membership) -> Bool {
    if epoch == earlier.epoch { return list == earlier.list }
    let known = removals.dropLast(Int(epoch.forced) - Int(earlier.epoch.forced))
    let count = min(known.count, earlier.removals.count)
    return Set(known.suffix(count)) == Set(earlier.removals.suffix(count))
  }

  /// The same list without one that is no member of it any more.
  func without(_ id: MemberID) -> Membership {
    var other = self
    other.list.remove(id)
    return other
  }

  // MARK: Changes

  /// Why a change cannot be made; nil: it can.
  public func objection(to change: MembershipChange) -> String? {
    guard epoch.agreed < .max else { return "this cluster has changed as often as it may" }
    switch change {
    case .add(let newcomer):
      if list.entry(of: newcomer.id) != nil { return "member \(newcomer.id) is a member already" }
      if let other = list.entries.first(where: { $0.text == newcomer.text }) {
        return "member \(other.id) has the address \(newcomer.text)"
      }
      if list.entries.count >= MemberList.memberCountMax {
        return "a cluster has at most \(MemberList.memberCountMax) members"
      }
    case .remove(let id): return objection(toRemoving: id)
    }
    return nil
  }

  /// Why nobody of that id can be removed; nil: it can.
  public func objection(toRemoving id: MemberID) -> String? {
    if list.entry(of: id) == nil { return "\(id) is no member (\(list.text))" }
    if list.entries.count == 1 { return "member \(id) is the only one" }
    if epoch.forced == .max { return "this cluster has changed as often as it may" }
    return nil
  }

  /// Takes a change that all members agreed on, begun when the list was that of `base`. It was in
  /// doubt over a removal by force, perhaps: that one's member does not come back, and the only
  /// survivor stays.
  /// Nothing happens if it is in the list already, as another member has told it.
  public mutating func apply(_ change: MembershipChange, begunIn base: Epoch) {
    guard epoch.agreed == base.agreed else { return }
    switch change {
    case .add(let newcomer):
      if !wasRemoved(newcomer.id, since: base) { list.insert(newcomer) }
    case .remove(let id): if list.entries.count > 1 { list.remove(id) }
    }
    epoch = Epoch(agreed: epoch.agreed + 1, forced: epoch.forced)
    // Who prepared the change and was away since has yet to learn of those.
    removals = removals.suffix(max(0, Int(epoch.forced) - Int(base.forced)))
  }

  /// Whether somebody of that id was removed by force after `base`: one that was before may have
  /// joined again.
  func wasRemoved(_ id: MemberID, since base: Epoch) -> Bool {
    removals.suffix(max(0, Int(epoch.forced) - Int(base.forced))).contains(id)
  }

  /// Whether one more removal by force can be noted: the list keeps so many since the last change
  /// that all agreed on.
  var takesRemoval: Bool {
    removals.count < MemberList.memberCountMax && epoch.forced < .max
  }

  /// Takes the operator's word that a member, or a guest of a change in doubt, is gone.
  public mutating func remove(_ id: MemberID) {
    list.remove(id)
    removals.append(id)
    epoch = Epoch(agreed: epoch.agreed, forced: epoch.forced + 1)
  }

  // MARK: Bytes

  private static let format: UInt8 = 1

  /// Appends the layout above.
  public func encode(into buffer: inout ByteBuffer) {
    buffer.append(Self.format)
    buffer.append(little: clusterID)
    buffer.append(little: epoch.number)
    buffer.append(UInt8(removals.count))
    for id in removals { buffer.append(little: id.number) }
    buffer.append(string: list.text)
  }

  /// Nil when the bytes are not the layout above.
  public init?(_ bytes: UnsafeRawBufferPointer) {
    var reader = NoteReader(bytes)
    guard reader.take(UInt8.self) == Self.format, let clusterID = reader.take(UInt64.self),
      let number = reader.take(UInt32.self), let count = reader.take(UInt8.self),
      count <= MemberList.memberCountMax
    else { return nil }
    self.clusterID = clusterID
    epoch = Epoch(number)
    removals = []
    for _ in 0..<count {
      guard let id = reader.member() else { return nil }
      removals.append(id)
    }
    guard epoch.agreed > 0, removals.count <= epoch.forced,
      let list = try? MemberList(reader.text())
    else { return nil }
    self.list = list
  }
}

/// What a transaction of all members does to their list.
///
/// Encoded: u8 kind (1 add, 2 remove), u32 the epoch in which it was begun, u64 cluster id, then
/// the text `2=host:port`, or the u16 id.
public enum MembershipChange: Hashable, Sendable {
  /// A new member.
  case add(MemberAddress)
  /// A member goes, and says yes to it itself.
  case remove(MemberID)

  /// Who comes, and takes part in the change before it is a member.
  public var guest: MemberAddress? {
    if case .add(let newcomer) = self { return newcomer }
    return nil
  }
}

/// A change of a list: what it changes, and what it makes of it.
struct ProposedChange: Hashable {
  var clusterID: UInt64
  var base: Epoch
  var change: MembershipChange

  func encode(into buffer: inout ByteBuffer) {
    switch change {
    case .add: buffer.append(UInt8(1))
    case .remove: buffer.append(UInt8(2))
    }
    buffer.append(little: base.number)
    buffer.append(little: clusterID)
    switch change {
    case .add(let newcomer): buffer.append(string: "\(newcomer.id)=\(newcomer.text)")
    case .remove(let id): buffer.append(little: id.number)
    }
  }

  init(_ change: MembershipChange, of membership: Membership) {
    self.change = change
    base = membership.epoch
    clusterID = membership.clusterID
  }

  /// Nil when the bytes are not the layout of `MembershipChange`.
  init?(_ bytes: UnsafeRawBufferPointer) {
    var reader = NoteReader(bytes)
    guard let kind = reader.take(UInt8.self), let base = reader.take(UInt32.self),
      let clusterID = reader.take(UInt64.self)
    else { return nil }
    self.base = Epoch(base)
    self.clusterID = clusterID
    switch kind {
    case 1:
      guard let list = try? MemberList(reader.text()), list.entries.count == 1 else { return nil }
      change = .add(list.entries[0])
    case 2:
      guard let id = reader.member(), reader.isEmpty else { return nil }
      change = .remove(id)
    default: return nil
    }
  }
}

/// What a member keeps in its ledger of who it is and of whom it is one.
///
/// Encoded: u16 own id, `Membership`. Under the key 3; a member that is not in its list has been
/// removed, or has yet to join. Under the key 4 stands the change that is prepared and undecided:
/// 18 bytes transaction id, `ProposedChange`.
struct MembershipNote: Hashable {
  var ownID: MemberID
  var membership: Membership

  static let key: [UInt8] = [3]
  static let changeKey: [UInt8] = [4]
  /// Keys of the node's own in the ledger have one byte, from here on; the others are the
  /// negotiator's.
  static func isOwnKey(_ key: UnsafeRawBufferPointer) -> Bool { key.count == 1 && key[0] >= 3 }

  init(ownID: MemberID, membership: Membership) {
    self.ownID = ownID
    self.membership = membership
  }

  /// Its bytes.
  var bytes: ByteBuffer {
    var buffer = ByteBuffer()
    buffer.append(little: ownID.number)
    membership.encode(into: &buffer)
    return buffer
  }

  /// Nil when the bytes are not the layout above.
  init?(_ bytes: UnsafeRawBufferPointer) {
    var reader = NoteReader(bytes)
    guard let ownID = reader.member(), let membership = Membership(reader.rest) else { return nil }
    self.init(ownID: ownID, membership: membership)
  }
}

/// A change of members that is prepared here and undecided.
struct PendingChange: Hashable {
  var id: TransactionID
  var proposed: ProposedChange

  var bytes: ByteBuffer {
    var buffer = ByteBuffer()
    id.encode(into: &buffer)
    proposed.encode(into: &buffer)
    return buffer
  }

  init(id: TransactionID, proposed: ProposedChange) {
    self.id = id
    self.proposed = proposed
  }

  /// Nil when the bytes are not the layout of `MembershipNote`.
  init?(_ bytes: UnsafeRawBufferPointer) {
    guard bytes.count > TransactionID.byteCount,
      let id = TransactionID(UnsafeRawBufferPointer(rebasing: bytes[..<TransactionID.byteCount])),
      let proposed = ProposedChange(
        UnsafeRawBufferPointer(rebasing: bytes[TransactionID.byteCount...]))
    else { return nil }
    self.init(id: id, proposed: proposed)
  }
}

/// Walks little-endian bytes; nil where they end too early.
struct NoteReader {
  private(set) var rest: UnsafeRawBufferPointer

  init(_ bytes: UnsafeRawBufferPointer) { rest = bytes }

  var isEmpty: Bool { rest.isEmpty }

  mutating func take<T: FixedWidthInteger>(_: T.Type) -> T? {
    guard rest.count >= MemoryLayout<T>.size else { return nil }
    defer { rest = UnsafeRawBufferPointer(rebasing: rest[MemoryLayout<T>.size...]) }
    return T(littleEndian: rest.loadUnaligned(as: T.self))
  }

  mutating func member() -> MemberID? {
    take(UInt16.self).map { MemberID($0) }.flatMap { $0.isValid ? $0 : nil }
  }

  /// The rest as text.
  func text() -> String { String(decoding: rest, as: UTF8.self) }
}
