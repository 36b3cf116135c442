import Base
import NetKit
import TPC

// Which data directory each member has: one that comes with another one has lost what it promised,
// or is another process under its id.
extension Peers {
  /// Whether a member comes with another directory than before.
  func isStrange(_ hello: PeerHello, _ other: Int) -> Bool {
    guard others[other].role == .member, hello.directory != 0,
      let known = directories[hello.sender]
    else { return false }
    return known != hello.directory
  }

  /// Whether another process speaks for the member now, as far as can be told: one that died may
  /// have left no trace but its silence.
  func isTwin(_ hello: PeerHello, _ other: Int, at now: Instant) -> Bool {
    guard others[other].role == .member, others[other].link != .none, others[other].isReachable,
      let known = others[other].greeting
    else { return false }
    return known.incarnation != hello.incarnation
      && now - others[other].lastHeard < options.timings.twinSilence
  }

  /// Why who calls is not taken for the member that it says to be; nil: it is, or is to be told
  /// that it is none.
  func impostor(_ hello: PeerHello, at now: Instant) -> PeerRefusal? {
    guard let other = index(of: hello.sender), !isOutdated(hello) else { return nil }
    if isStrange(hello, other) { return .otherDirectory }
    return isTwin(hello, other, at: now) ? .alreadyHere : nil
  }

  /// Remembers the directory of a member that was met for the first time.
  mutating func meet(_ other: Int, into effects: inout PeerEffects) {
    let id = others[other].member.id
    guard others[other].role == .member, directories[id] == nil,
      let greeting = others[other].greeting, greeting.directory != 0,
      base.isCovered(by: greeting.epoch)
    else { return }
    directories[id] = greeting.directory
    effects.list.append(.met)
  }

  /// Forgets the directory of who is a member no more.
  mutating func forget(_ id: MemberID) { directories[id] = nil }

  /// The same, to be kept.
  mutating func forget(_ id: MemberID, into effects: inout PeerEffects) {
    if directories.removeValue(forKey: id) != nil { effects.list.append(.met) }
  }

  /// Forgets those of who is no member, and meets those who are by now.
  mutating func meetMembers(into effects: inout PeerEffects) {
    for id in directories.keys where !others.contains(where: { $0.isMember(id) }) {
      forget(id, into: &effects)
    }
    for other in others.indices { meet(other, into: &effects) }
  }
}

extension PeerMember {
  fileprivate func isMember(_ id: MemberID) -> Bool { member.id == id && role == .member }
}

/// The directories of the other members, kept in the ledger of each under the key 6.
///
/// Encoded, integers little-endian: for each member, by rising id, u16 id, u64 name of its
/// directory.
struct DirectoriesNote {
  var directories: [MemberID: UInt64]

  static let key: [UInt8] = [6]

  init(_ directories: [MemberID: UInt64]) { self.directories = directories }

  var bytes: ByteBuffer {
    var buffer = ByteBuffer()
    for (id, directory) in directories.sorted(by: { $0.key < $1.key }) {
      buffer.append(little: id.number)
      buffer.append(little: directory)
    }
    return buffer
  }

  /// Nil when the bytes are not the layout above.
  init?(_ bytes: UnsafeRawBufferPointer) {
    var reader = NoteReader(bytes)
    directories = [:]
    while !reader.isEmpty {
      guard let id = reader.member(), let directory = reader.take(UInt64.self) else { return nil }
      directories[id] = directory
    }
  }
}
