import Base
import NetKit
public import TPC

// Guests: who is not a member yet, but is linked like one. A member has one at a time, to which it
// gives its data.
extension Peers {
  /// The guest that was taken in by its own hello.
  public var guest: MemberID? { others.first { $0.isGuest }?.member.id }

  /// Where another one is reached, as it was written.
  func address(of member: MemberID) -> String? {
    index(of: member).map { others[$0].member.address }
  }

  /// Ends the link to the guest and forgets it.
  public mutating func dismissGuest(at now: Moment, into effects: inout PeerEffects) {
    guard let other = others.firstIndex(where: { $0.isGuest }) else { return }
    let link = others[other].link
    others.remove(at: other)
    if let index = session(of: link) { end(index, at: now, into: &effects) }
  }

  /// The same for a guest whose id another process has by now, which joined at another member.
  mutating func dismissGuest(
    unlessIn members: [Member], at now: Moment, into effects: inout PeerEffects
  ) {
    guard let guest = others.first(where: { $0.isGuest })?.member,
      let owner = members.first(where: { $0.id == guest.id }), owner.address != guest.address
    else { return }
    dismissGuest(at: now, into: &effects)
  }

  /// An address as it stands in a list of members.
  static func spelling(of address: String) -> String {
    (try? MemberList("1=\(address)"))?.entries[0].text ?? address
  }

  /// Ends all links.
  mutating func closeAll(at now: Moment, into effects: inout PeerEffects) {
    for index in sessions.indices.reversed() { end(index, at: now, into: &effects) }
  }

  // MARK: Handshake

  /// A joiner says hello: answers with ours, which tells it its id, or refuses.
  mutating func takeJoinersHello(
    _ hello: PeerHello, _ bytes: UnsafeRawBufferPointer, _ index: Int, at now: Moment,
    into effects: inout PeerEffects
  ) {
    if let reason = objection(toJoiner: hello) {
      return refuse(index, reason, at: now, into: &effects)
    }
    guard let version = Self.common(hello.versions, options.versions) else {
      return refuse(index, .version, at: now, into: &effects)
    }
    guard let address = hello.joinerAddress.map(Self.spelling),
      let id = id(forJoiner: hello, at: address)
    else {
      return refuse(index, .clusterFull, at: now, into: &effects)
    }
    challenge(index, hello, bytes, member: id, version: version, at: now, into: &effects)
    sessions[index].joinerAddress = address
  }

  /// The joiner has proven the secret: it is the guest from now on, or is refused.
  mutating func admit(
    _ index: Int, _ address: String, at now: Moment, into effects: inout PeerEffects
  ) {
    guard let id = sessions[index].member else { return }
    if let reason = objection(toGuest: id, at: address, now: now.instant)
      ?? objection(toAnewAs: id, at: address, sessions[index])
    {
      return refuse(index, reason, at: now, into: &effects)
    }
    guard let endpoint = Self.endpoint(of: address, seenAt: sessions[index].endpoint) else {
      return refuse(index, .badAddress, at: now, into: &effects)
    }
    sayWelcome(index, into: &effects)
    sessions[index].phase = .admitted
    dismissGuest(at: now, into: &effects)
    others.removeAll { $0.member.id == id }
    var guest = newcomer(Member(id: id, address: address, endpoint: endpoint), at: now)
    guest.role = .guest
    guest.isGuest = true
    others.append(guest)
    others.sort { $0.member.id < $1.member.id }
    effects.list.append(.guest(id))
    effects.lines.append((.info, "member \(id) (\(address)) asks to join"))
  }

  // MARK: Refusing

  private func objection(toJoiner hello: PeerHello) -> PeerRefusal? {
    if hello.clusterID != 0, hello.clusterID != clusterID { return .otherCluster }
    if options.authenticator != nil, !hello.hasSecret { return .secretMissing }
    if options.authenticator == nil, hello.hasSecret { return .secretUnexpected }
    return nil
  }

  /// What stands against one that begins with nothing, or elsewhere: the guest of that id may have
  /// voted for the change in doubt, which is to be asked about it.
  private func objection(
    toAnewAs id: MemberID, at address: String, _ session: PeerSession
  ) -> PeerRefusal? {
    guard let other = index(of: id), others[other].role == .guest, !others[other].isGuest,
      session.greeting?.clusterID == 0 || others[other].member.address != address
    else { return nil }
    return .joinerWaits
  }

  private func objection(
    toGuest id: MemberID, at address: String, now: Instant
  ) -> PeerRefusal? {
    if id == ownID { return .idTaken }
    for other in others where other.role == .member {
      if other.member.id == id { return .idTaken }
      if other.member.address == address { return .addressTaken }
    }
    if firstMembers.contains(where: { $0.id == ownID && $0.address == address }) {
      return .addressTaken
    }
    // A change in doubt waits for its guest's word, and another guest's change for that one.
    if let awaited = others.first(where: { $0.role == .guest && !$0.isGuest }) {
      return awaited.member.id == id ? nil : .joinerWaits
    }
    // A guest that has died is heard of by nobody; the one that comes back has its address.
    if let guest = others.first(where: { $0.isGuest }), guest.member.address != address,
      guest.isReachable || guest.lastHeard + options.timings.guestSilenceMax > now
    {
      return .joinerWaits
    }
    return nil
  }

  /// The id for a joiner: the one that it asks for, that of the guest at its address, or the lowest
  /// free one; nil when there is none.
  private func id(forJoiner hello: PeerHello, at address: String) -> MemberID? {
    if hello.sender.isValid { return hello.sender }
    if let guest = others.first(where: { $0.isGuest && $0.member.address == address }) {
      return guest.member.id
    }
    return (1...MemberID.numberMax).map(MemberID.init).first { id in
      id != ownID && !others.contains { $0.member.id == id && !$0.isGuest }
    }
  }

  /// Where to call a guest: its address if it is numeric, otherwise its port where it was seen.
  private static func endpoint(of address: String, seenAt seen: Endpoint) -> Endpoint? {
    guard let colon = address.lastIndex(of: ":"),
      let port = UInt16(address[address.index(after: colon)...]), port > 0
    else { return nil }
    let host = address[..<colon].drop { $0 == "[" }.prefix { $0 != "]" }
    if let endpoint = Endpoint(address: String(host), port: port) { return endpoint }
    var endpoint = seen
    endpoint.port = port
    return endpoint
  }
}
