import Base
import NetKit
import Store
import TPC

// The links and turns of a join. A node alone never comes here.
extension Host where Link: ~Copyable, Medium: ~Copyable {
  /// True for the link of the first contact.
  func isContact(_ id: LinkID) -> Bool {
    node.joining.isJoining && node.joining.call?.holds(id) ?? false
  }

  mutating func contactOpened(_ id: LinkID, at now: Moment) {
    node.joining.call?.opened(id, at: now.instant, into: &peerEffects)
    carryOutPeerEffects(at: now)
  }

  mutating func contactClosed(_ id: LinkID, at now: Moment) {
    node.joining.call?.closed(id, at: now.instant, into: &peerEffects)
    carryOutPeerEffects(at: now)
  }

  mutating func receive(
    _ message: UnsafeRawBufferPointer, fromContact id: LinkID, at now: Moment
  ) {
    let answer = node.joining.call?.receive(message, on: id, at: now.instant, into: &peerEffects)
    carryOutPeerEffects(at: now)
    switch answer {
    case nil, .some(.none): break
    case .welcomed(let welcome): node.welcomed(welcome)
    case .refused(let reason): node.refuseToJoin(reason)
    }
  }

  /// Takes a message of the copy from the other side of it.
  mutating func receiveCopy(
    _ message: UnsafeRawBufferPointer, from member: MemberID, at now: Moment
  ) {
    if let database = node.database, node.joining.donor?.member == member {
      node.closeRound()
      node.joining.donor?.receive(
        message, &database.pointee, at: now.instant, into: &node.copyEffects)
    } else if node.joining.welcome?.donor == member {
      node.receiveCopy(message)
    }
    carryOutCopyEffects(at: now)
  }

  /// Goes on with what is copied here or from here: once a turn, between transactions.
  mutating func workOnCopy(at now: Moment) {
    guard let database = node.database else { return }
    if node.joining.asksAgain { node.askToJoin() }
    leavePeersIfAsked(at: now)
    if node.joining.isJoining, let call = node.joining.call, call.deadline <= now.instant {
      node.joining.call?.wake(at: now.instant, into: &peerEffects)
      carryOutPeerEffects(at: now)
    }
    if node.joining.giveUpAt <= now.instant { node.giveCopyUp("its donor is silent") }
    if node.joining.dismissAt <= now.instant { dismissGuest(at: now) }
    if node.joining.donor != nil || node.joining.joiner != nil {
      node.closeRound()
      node.workAsDonor(database)
      node.workAsJoiner(database)
    }
    carryOutCopyEffects(at: now)
    if let reason = node.joining.refusal { stage = .stopped(.refused(reason)) }
  }

  /// A joiner that asks anew has nothing to say to the donor of before.
  private mutating func leavePeersIfAsked(at now: Moment) {
    guard node.joining.leavesPeers else { return }
    node.joining.leavesPeers = false
    guard node.joining.call != nil else { return }
    node.peers?.closeAll(at: now, into: &peerEffects)
    carryOutPeerEffects(at: now)
    node.peers = nil
  }

  mutating func dismissGuest(at now: Moment) {
    node.joining.dismissAt = .never
    node.endDonation()
    node.peers?.dismissGuest(at: now, into: &peerEffects)
    carryOutPeerEffects(at: now)
  }

  private mutating func carryOutCopyEffects(at now: Moment) {
    var index = 0
    while index < node.copyEffects.list.count {
      switch node.copyEffects.list[index] {
      case .send(let place): sendCopy(place, at: now)
      case .propose: node.proposeGuest()
      case .completed(let attempt): node.copyCompleted(attempt)
      case .withdraw: node.withdrawChange()
      }
      index += 1
    }
    for line in node.copyEffects.lines { log(line.level, line.text) }
    node.copyEffects.removeAll()
  }

  private mutating func sendCopy(_ place: Range<Int>, at now: Moment) {
    guard let member = node.joining.donor?.member ?? node.joining.welcome?.donor else { return }
    node.peers?.send(
      UnsafeRawBufferPointer(rebasing: node.copyEffects.bytes.bytes[place]), to: member,
      on: .copy, at: now, into: &peerEffects)
    carryOutPeerEffects(at: now)
  }

  /// When `workOnCopy` has something to do next.
  var copyDeadline: Instant {
    let now = node.now.instant
    var earliest = min(node.joining.giveUpAt, node.joining.dismissAt)
    if node.joining.isJoining, let call = node.joining.call {
      earliest = min(earliest, call.deadline)
    }
    if let donor = node.joining.donor, let database = node.database {
      earliest = min(earliest, donor.deadline(at: now, noteCount: database.pointee.noteCount))
    }
    if let joiner = node.joining.joiner { earliest = min(earliest, joiner.deadline(at: now)) }
    return earliest
  }
}

extension Host where Link: ~Copyable, Medium: ~Copyable {
  /// Once, as soon as this process is a member: which, and where it is reached.
  public mutating func takeOwnAddress() -> MemberAddress? {
    guard !node.joining.isNamed, !node.joining.isJoining, let state = node.cluster?.pointee.state,
      let own = state.present.list.entry(of: state.ownID)
    else { return nil }
    node.joining.isNamed = true
    return own
  }
}
