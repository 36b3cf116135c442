import Base
import NetKit
import Store
import TPC

// A member whose messages somebody else moves, without links between members: what faces the
// negotiator then is every message that was ever sent, whatever run of a member it came from. For
// the simulator.
extension Host where Link: ~Copyable, Medium: ~Copyable {
  /// Makes this node one of the members 1 to `count`; before the first turn.
  package mutating func join(
    as member: MemberID, of count: Int, seed: UInt64, options: NegotiatorOptions,
    patience: Interval
  ) {
    let text = (1...count).map { "\($0)=member:\($0)" }.joined(separator: ",")
    guard let list = try? MemberList(text) else { return }
    let note = MembershipNote(
      ownID: member, membership: Membership(clusterID: 0, list: list))
    node.joinCluster(note, seed: seed, options: options)
    let members = note.membership.members
    node.cluster?.pointee.confirmed = members
    setPatience(patience)
  }

  /// How long a command waits for a key, and a round for its decision.
  package mutating func setPatience(_ patience: Interval) {
    node.cluster?.pointee.patience = patience
  }

  /// Takes a message of another member, before the turn that begins now.
  package mutating func deliver(
    _ message: UnsafeRawBufferPointer, from member: MemberID, at now: Moment
  ) {
    guard case .running = stage else { return }
    node.now = now
    node.database?.pointee.observe(wallNanos: now.wallNanos)
    node.receive(message, from: member)
  }

  /// The next message to another member that may leave now; nil: none.
  package mutating func nextMessage() -> (member: MemberID, message: [UInt8])? {
    guard let cluster = node.cluster else { return nil }
    if let (member, message) = cluster.pointee.freeOutbox.front(durable: .zero) {
      let copy = [UInt8](message)
      cluster.pointee.freeOutbox.dropFront()
      return (member, copy)
    }
    guard let (member, message) = cluster.pointee.gatedOutbox.front(durable: node.durable) else {
      return nil
    }
    let copy = [UInt8](message)
    cluster.pointee.gatedOutbox.dropFront()
    return (member, copy)
  }

  /// Which member this is, and of whom; nil while it knows no list.
  package var membershipView: MembershipView? {
    guard let state = node.cluster?.pointee.state else { return nil }
    return MembershipView(
      ownID: state.ownID, membership: state.present, isJoining: node.joining.isJoining,
      alarm: state.alarm?.text)
  }

  /// What this member holds and waits for now; nil while it has no data yet.
  package var memberView: MemberView? {
    guard let cluster = node.cluster, let database = node.database else { return nil }
    var view = MemberView(counters: cluster.pointee.negotiator.counters)
    view.lockCount = cluster.pointee.negotiator.lockCount
    view.reservationCount = cluster.pointee.negotiator.reservationCount
    view.doubtCount = cluster.pointee.negotiator.inDoubt.count
    view.openCount = cluster.pointee.negotiator.openCount
    view.isIdle = isClusterIdle
    database.pointee.visit { entry in
      view.entries.append(
        MemberView.Entry(
          key: [UInt8](entry.key), value: [UInt8](entry.value), version: entry.version,
          expiryMillis: entry.expiry))
    }
    view.entries.sort { $0.key.lexicographicallyPrecedes($1.key) }
    return view
  }
}

/// What a member knows of its cluster's list, for oracles.
package struct MembershipView {
  /// This member, in the list or not.
  package var ownID: MemberID
  /// The list in force.
  package var membership: Membership
  /// It is not a member yet.
  package var isJoining: Bool
  /// Why the lists of two members cannot be brought together; nil: they can.
  package var alarm: String?

  /// It is one of the members.
  package var isInside: Bool { membership.list.entry(of: ownID) != nil }
}

/// A member's data and what it has open, for oracles.
package struct MemberView {
  /// One key.
  package struct Entry: Equatable {
    package var key: [UInt8]
    package var value: [UInt8]
    package var version: Stamp
    package var expiryMillis: Int64
  }

  /// Locked names, counted per transaction.
  package var lockCount = 0
  /// Places in line for names.
  package var reservationCount = 0
  /// Transactions prepared here and undecided.
  package var doubtCount = 0
  /// Transactions begun here and not finished.
  package var openCount = 0
  /// No round waits and nobody waits for a key.
  package var isIdle = true
  /// What it has done and heard since its start.
  package var counters: NegotiatorCounters
  /// All keys, in order.
  package var entries: [Entry] = []
}
