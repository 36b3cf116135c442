import Base

/// Which transaction has locked which name, and which waits for one (rule 5).
///
/// A chained hash table with one node a (transaction, name), so that unlocking a transaction
/// touches its own nodes only. The bytes of a name are those of its transaction's `Work`.
/// Invariant: `count` nodes are in use, `waitingCount` of them belong to waiting transactions.
@usableFromInline
struct LockTable {
  /// What stands in the way of a transaction.
  enum Obstacle: Comparable {
    /// Nothing.
    case none
    /// Only younger holders: it may wait.
    case younger
    /// An older holder, or an older one that waits: it dies.
    case older
  }

  private struct Node {
    var hash: UInt64
    var owner: Int32
    var offset: UInt32
    var length: UInt16
    var flags: UInt8
    var isLinked: Bool
    var previous: Int32
    var next: Int32
    /// The next node of the same owner, or of the free list.
    var sibling: Int32
  }

  /// What the names of an owner are to it.
  enum Claim {
    /// It is prepared.
    case holds
    /// A transaction waits for them.
    case waits
    /// Work of this member waits for them that is yet to begin, or to begin again.
    case reserves
  }

  private struct Owner {
    var id: TransactionID
    var work: Work
    var first: Int32
    var claim: Claim
    var isWaiting: Bool { claim != .holds }
  }

  private let key: SipKey
  private var buckets: [Int32] = Array(repeating: -1, count: 64)
  private var nodes: [Node] = []
  private var freeNode: Int32 = -1
  private var owners: [Owner?] = []
  private var freeOwners: [Int32] = []
  private var hashes: [UInt64] = []
  /// Names locked or waited for.
  @usableFromInline private(set) var count = 0
  /// Names waited for.
  @usableFromInline private(set) var waitingCount = 0
  /// Reservations.
  private(set) var reservationCount = 0

  init(key: SipKey) { self.key = key }

  /// Names locked by prepared transactions.
  @inlinable var lockCount: Int { count - waitingCount }

  // MARK: Taking

  /// What stands in the way of `id` locking all names of `work`, all of which it may then `lock`.
  /// Reservations stand in nobody's way whose owner minds them itself.
  mutating func obstacle(
    to id: TransactionID, _ work: Work, pastReservations: Bool = false
  ) -> Obstacle {
    work.bytes.withUnsafeBytes { obstacle(to: id, $0, pastReservations: pastReservations) }
  }

  /// As above; `bytes` are those of a checked work.
  mutating func obstacle(
    to id: TransactionID, _ bytes: UnsafeRawBufferPointer, pastReservations: Bool = false
  ) -> Obstacle {
    var worst = Obstacle.none
    hashes.removeAll(keepingCapacity: true)
    forEachName(bytes) { name in
      let hash = hash(name.bytes(in: bytes), isOperation: name.isOperation)
      hashes.append(hash)
      if count > 0 { worst = max(worst, obstacle(to: id, name, hash, bytes, pastReservations)) }
    }
    return worst
  }

  private func obstacle(
    to id: TransactionID, _ name: Name, _ hash: UInt64, _ bytes: UnsafeRawBufferPointer,
    _ pastReservations: Bool
  ) -> Obstacle {
    var worst = Obstacle.none
    var index = buckets[Int(truncatingIfNeeded: hash) & (buckets.count - 1)]
    while index >= 0 {
      let node = nodes[Int(index)]
      index = node.next
      guard node.hash == hash, (node.flags | name.flags) & 1 == 1,
        isSame(node, name.bytes(in: bytes), isOperation: name.isOperation),
        let owner = owners[Int(node.owner)], owner.id != id,
        !pastReservations || owner.claim != .reserves
      else { continue }
      if owner.id < id { return .older }
      if !owner.isWaiting { worst = .younger }
    }
    return worst
  }

  /// Locks all names for `id`, or lets it wait for them. The last call of `obstacle` was for it.
  mutating func lock(_ id: TransactionID, _ work: Work, _ claim: Claim = .holds) -> Int32 {
    let handle: Int32
    if let free = freeOwners.popLast() {
      handle = free
    } else {
      handle = Int32(owners.count)
      owners.append(nil)
    }
    grow(for: hashes.count)
    var first: Int32 = -1
    var position = 0
    work.bytes.withUnsafeBytes { bytes in
      forEachName(bytes) { name in
        first = insert(name, hashes[position], owner: handle, sibling: first)
        position += 1
      }
    }
    if claim != .holds { waitingCount += position }
    if claim == .reserves { reservationCount += 1 }
    owners[Int(handle)] = Owner(id: id, work: work, first: first, claim: claim)
    return handle
  }

  // MARK: Releasing

  /// Releases what `handle` holds or waits for; the transactions that it kept from a name by
  /// holding it are appended to `awakened`. (Nobody waits for one that waits: he would be the
  /// younger.)
  mutating func unlock(_ handle: Int32, awakened: inout [TransactionID]) {
    guard let owner = owners[Int(handle)] else { invariantFailed("no locks under \(handle)") }
    var index = owner.first
    while index >= 0 {
      let node = nodes[Int(index)]
      if owner.isWaiting { waitingCount -= 1 }
      unlink(index)
      if waitingCount > 0, !owner.isWaiting { collectWaiting(node, owner.work, &awakened) }
      #if MUTANTS
        if Mutant.active == .unlockByKey { unlinkAll(like: node, owner.work) }
      #endif
      nodes[Int(index)].sibling = freeNode
      freeNode = index
      count -= 1
      index = node.sibling
    }
    if owner.claim == .reserves { reservationCount -= 1 }
    owners[Int(handle)] = nil
    freeOwners.append(handle)
  }

  private func collectWaiting(_ node: Node, _ work: Work, _ awakened: inout [TransactionID]) {
    work.bytes.withUnsafeBytes { all in
      let bytes = UnsafeRawBufferPointer(
        rebasing: all[Int(node.offset)...].prefix(Int(node.length)))
      var index = buckets[Int(truncatingIfNeeded: node.hash) & (buckets.count - 1)]
      while index >= 0 {
        let other = nodes[Int(index)]
        index = other.next
        if other.hash == node.hash, (other.flags | node.flags) & 1 == 1,
          let owner = owners[Int(other.owner)], owner.claim == .waits,
          isSame(other, bytes, isOperation: node.flags & 2 != 0)
        {
          awakened.append(owner.id)
        }
      }
    }
  }

  #if MUTANTS
    private mutating func unlinkAll(like node: Node, _ work: Work) {
      var index = buckets[Int(truncatingIfNeeded: node.hash) & (buckets.count - 1)]
      while index >= 0 {
        let other = nodes[Int(index)]
        if other.hash == node.hash { unlink(index) }
        index = other.next
      }
    }
  #endif

  // MARK: Reading

  /// The strongest mode in which a prepared transaction holds the name, and one that holds it so.
  func holder(
    _ bytes: UnsafeRawBufferPointer, isOperation: Bool
  ) -> (id: TransactionID, mode: LockMode)? {
    guard count > 0 else { return nil }
    let hash = hash(bytes, isOperation: isOperation)
    var found: (id: TransactionID, mode: LockMode)?
    var index = buckets[Int(truncatingIfNeeded: hash) & (buckets.count - 1)]
    while index >= 0 {
      let node = nodes[Int(index)]
      index = node.next
      guard node.hash == hash, let owner = owners[Int(node.owner)], !owner.isWaiting,
        isSame(node, bytes, isOperation: isOperation)
      else { continue }
      if node.flags & 1 == 1 { return (owner.id, .write) }
      found = (owner.id, .read)
    }
    return found
  }

  /// Who keeps `id` from locking the name; nil: nobody. `id` nil: a transaction that is yet to
  /// begin, younger than all. Counts as `obstacle` does: holders, and older ones that wait.
  func blocker(
    of bytes: UnsafeRawBufferPointer, isOperation: Bool, _ mode: LockMode, for id: TransactionID?
  ) -> TransactionID? {
    guard count > 0 else { return nil }
    let hash = hash(bytes, isOperation: isOperation)
    var index = buckets[Int(truncatingIfNeeded: hash) & (buckets.count - 1)]
    while index >= 0 {
      let node = nodes[Int(index)]
      index = node.next
      guard node.hash == hash, (node.flags | mode.rawValue) & 1 == 1,
        isSame(node, bytes, isOperation: isOperation),
        let owner = owners[Int(node.owner)], owner.id != id
      else { continue }
      guard owner.isWaiting, let id, id < owner.id else { return owner.id }
    }
    return nil
  }

  /// What is reserved of the name for `id` and for older ones.
  func reservation(
    of bytes: UnsafeRawBufferPointer, isOperation: Bool, _ mode: LockMode, for id: TransactionID
  ) -> ReservationState {
    guard reservationCount > 0 else { return .none }
    let hash = hash(bytes, isOperation: isOperation)
    var state = ReservationState.none
    var index = buckets[Int(truncatingIfNeeded: hash) & (buckets.count - 1)]
    while index >= 0 {
      let node = nodes[Int(index)]
      index = node.next
      guard node.hash == hash, let owner = owners[Int(node.owner)], owner.claim == .reserves,
        owner.id <= id, isSame(node, bytes, isOperation: isOperation)
      else { continue }
      if owner.id != id, (node.flags | mode.rawValue) & 1 == 1 { return .inTheWay }
      if node.flags & 1 >= mode.rawValue { state = .enough }
    }
    return state
  }

  // MARK: Parts

  @inline(__always)
  private func hash(_ bytes: UnsafeRawBufferPointer, isOperation: Bool) -> UInt64 {
    let hash = SipHash.hash13(bytes, key: key)
    return isOperation ? ~hash : hash
  }

  @inline(__always)
  private func isSame(_ node: Node, _ bytes: UnsafeRawBufferPointer, isOperation: Bool) -> Bool {
    guard Int(node.length) == bytes.count, (node.flags & 2 != 0) == isOperation,
      let owner = owners[Int(node.owner)]
    else { return false }
    return owner.work.bytes.withUnsafeBytes {
      bytesEqual($0.baseAddress! + Int(node.offset), bytes.baseAddress!, bytes.count)
    }
  }

  private mutating func insert(
    _ name: Name, _ hash: UInt64, owner: Int32, sibling: Int32
  ) -> Int32 {
    let bucket = Int(truncatingIfNeeded: hash) & (buckets.count - 1)
    let node = Node(
      hash: hash, owner: owner, offset: UInt32(name.offset), length: UInt16(name.length),
      flags: name.flags, isLinked: true, previous: -1, next: buckets[bucket], sibling: sibling)
    let index: Int32
    if freeNode >= 0 {
      index = freeNode
      freeNode = nodes[Int(index)].sibling
      nodes[Int(index)] = node
    } else {
      index = Int32(nodes.count)
      nodes.append(node)
    }
    if node.next >= 0 { nodes[Int(node.next)].previous = index }
    buckets[bucket] = index
    count += 1
    return index
  }

  private mutating func unlink(_ index: Int32) {
    let node = nodes[Int(index)]
    guard node.isLinked else { return }
    nodes[Int(index)].isLinked = false
    if node.previous >= 0 {
      nodes[Int(node.previous)].next = node.next
    } else {
      buckets[Int(truncatingIfNeeded: node.hash) & (buckets.count - 1)] = node.next
    }
    if node.next >= 0 { nodes[Int(node.next)].previous = node.previous }
  }

  private mutating func grow(for more: Int) {
    guard count + more > buckets.count else { return }
    var size = buckets.count
    while size < count + more { size *= 2 }
    buckets = Array(repeating: -1, count: size)
    for index in nodes.indices where nodes[index].isLinked {
      let bucket = Int(truncatingIfNeeded: nodes[index].hash) & (size - 1)
      let next = buckets[bucket]
      nodes[index].previous = -1
      nodes[index].next = next
      if next >= 0 { nodes[Int(next)].previous = Int32(index) }
      buckets[bucket] = Int32(index)
    }
  }
}

/// Walks the names of a checked work.
@inline(__always)
private func forEachName(_ bytes: UnsafeRawBufferPointer, _ visit: (Name) -> Void) {
  var left = UInt32(littleEndian: bytes.loadUnaligned(as: UInt32.self))
  var at = Work.headerByteCount
  while left > 0 {
    let name = Name(bytes, at: at)
    visit(name)
    at = name.end
    left -= 1
  }
}
