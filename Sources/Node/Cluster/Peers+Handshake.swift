import Base
import NetKit
import TPC

// Hello, answer, proof and welcome; refusals.
extension Peers {
  // MARK: The caller

  /// The transport has opened our call: says hello.
  mutating func greet(_ index: Int, at now: Moment, into effects: inout PeerEffects) {
    guard let member = sessions[index].member else { return }
    let hello = makeHello(to: member, answering: PeerNonce())
    sessions[index].callerHello = Self.encode(hello)
    sessions[index].phase = .greeting
    say(sessions[index].callerHello, index, at: now, into: &effects)
  }

  /// Our hello was answered: sends the proof.
  private mutating func takeAnswer(
    _ hello: PeerHello, _ bytes: UnsafeRawBufferPointer, _ index: Int, at now: Moment,
    into effects: inout PeerEffects
  ) {
    guard let own = Self.decode(sessions[index].callerHello), hello.answered == own.nonce,
      hello.receiver == ownID
    else {
      counters.stale += 1
      return
    }
    if let reason = objection(to: hello) {
      return refuse(index, reason, at: now, into: &effects)
    }
    guard hello.sender == sessions[index].member else {
      return refuse(index, .otherMember, at: now, into: &effects)
    }
    if let other = self.index(of: hello.sender), isStrange(hello, other) {
      return refuse(index, .otherDirectory, at: now, into: &effects)
    }
    guard let version = Self.common(hello.versions, options.versions) else {
      return refuse(index, .version, at: now, into: &effects)
    }
    sessions[index].answererHello = Array(bytes)
    sessions[index].agree(with: hello, own: own, version: version)
    sessions[index].phase = .proving
    sayProof(index, at: now, into: &effects)
  }

  private mutating func sayProof(_ index: Int, at now: Moment, into effects: inout PeerEffects) {
    sessions[index].nextRepeat = now.instant + options.timings.repeatInterval
    let code = code(by: .caller, index)
    put(.proof, index, at: nil, into: &effects) { $0.append(code) }
  }

  private mutating func takeWelcome(
    _ header: PeerHeader, _ code: UnsafeRawBufferPointer, _ index: Int, at now: Moment,
    into effects: inout PeerEffects
  ) {
    guard belongs(header, to: index) else {
      counters.stale += 1
      return
    }
    guard equalInConstantTime(code, self.code(by: .answerer, index)) else {
      return refuse(index, .badSecret, at: now, into: &effects)
    }
    open(index, at: now, into: &effects)
  }

  // MARK: Who is called

  /// A stranger says hello: answers with ours, or refuses.
  private mutating func takeHello(
    _ hello: PeerHello, _ bytes: UnsafeRawBufferPointer, _ index: Int, at now: Moment,
    into effects: inout PeerEffects
  ) {
    if hello.joinerAddress != nil {
      return takeJoinersHello(hello, bytes, index, at: now, into: &effects)
    }
    sessions[index].member = hello.sender
    welcomeFormer(hello, sessions[index].endpoint, at: now)
    if let reason = objection(to: hello) ?? objection(toCallOf: hello, at: now.instant) {
      return refuse(index, reason, at: now, into: &effects)
    }
    guard let version = Self.common(hello.versions, options.versions) else {
      return refuse(index, .version, at: now, into: &effects)
    }
    challenge(
      index, hello, bytes, member: hello.sender, version: version, at: now, into: &effects)
  }

  /// Answers a hello of `member`.
  mutating func challenge(
    _ index: Int, _ hello: PeerHello, _ bytes: UnsafeRawBufferPointer, member: MemberID,
    version: UInt8, at now: Moment, into effects: inout PeerEffects
  ) {
    let answer = makeHello(to: member, answering: hello.nonce)
    sessions[index].member = member
    sessions[index].callerHello = Array(bytes)
    sessions[index].answererHello = Self.encode(answer)
    sessions[index].agree(with: hello, own: answer, version: version)
    sessions[index].phase = .challenging
    say(sessions[index].answererHello, index, at: now, into: &effects)
  }

  /// Who was a member before, and does not know that it is none any more, is heard once more: to
  /// be told. So is a guest that has voted; another one has but to ask anew.
  private mutating func welcomeFormer(
    _ hello: PeerHello, _ endpoint: Endpoint, at now: Moment
  ) {
    guard index(of: hello.sender) == nil, hello.sender.isValid, hello.sender != ownID,
      !epoch.isCovered(by: hello.epoch),
      hello.guestAddress == nil || hello.hasVoted
    else { return }
    var former = PeerMember(
      Member(id: hello.sender, address: endpoint.description, endpoint: endpoint),
      at: now.instant)
    former.role = .leaving
    former.leavesAt = now.instant + options.timings.farewell
    others.append(former)
    others.sort { $0.member.id < $1.member.id }
  }

  private mutating func takeProof(
    _ header: PeerHeader, _ code: UnsafeRawBufferPointer, _ index: Int, at now: Moment,
    into effects: inout PeerEffects
  ) {
    guard belongs(header, to: index) else {
      counters.stale += 1
      return
    }
    guard equalInConstantTime(code, self.code(by: .caller, index)) else {
      return refuse(index, .badSecret, at: now, into: &effects)
    }
    if let address = sessions[index].joinerAddress {
      return admit(index, address, at: now, into: &effects)
    }
    // Another one may have been met since the hello.
    if let hello = sessions[index].greeting, let reason = impostor(hello, at: now.instant) {
      return refuse(index, reason, at: now, into: &effects)
    }
    sayWelcome(index, into: &effects)
    guard let hello = sessions[index].greeting, isOutdated(hello) else {
      return open(index, at: now, into: &effects)
    }
    sessions[index].phase = .admitted
    effects.list.append(.outdated(sessions[index].link))
  }

  /// Answers the effect `outdated`: tells the list, if there is one to tell, and ends the link. Who
  /// does not conclude from it that it is out asks again.
  mutating func tell(
    _ list: UnsafeRawBufferPointer?, on link: LinkID, at now: Moment,
    into effects: inout PeerEffects
  ) {
    guard let index = session(of: link) else { return }
    if let list { put(.list, index, at: nil, into: &effects) { $0.append(list) } }
    refuse(index, .unknownMember, at: now, into: &effects)
  }

  mutating func sayWelcome(_ index: Int, into effects: inout PeerEffects) {
    let code = code(by: .answerer, index)
    put(.welcome, index, at: nil, into: &effects) { $0.append(code) }
  }

  // MARK: Both

  /// Takes a message on a link that is not proven: nothing but the handshake, and little of it.
  mutating func takeHandshake(
    _ bytes: UnsafeRawBufferPointer, _ index: Int, at now: Moment, into effects: inout PeerEffects
  ) {
    sessions[index].strangerMessageCount += 1
    guard sessions[index].strangerMessageCount <= Self.strangerMessageCountMax,
      let message = PeerMessage(bytes)
    else {
      counters.malformed += 1
      counters.failedHandshakes += 1
      return end(index, at: now, into: &effects)
    }
    switch (message, sessions[index].phase) {
    case (.hello(let hello), .greeting):
      takeAnswer(hello, bytes, index, at: now, into: &effects)
    case (.hello(let hello), .listening):
      takeHello(hello, bytes, index, at: now, into: &effects)
    case (.hello, .proving) where bytes.elementsEqual(sessions[index].answererHello):
      sayProof(index, at: now, into: &effects)
    case (.hello, .challenging) where bytes.elementsEqual(sessions[index].callerHello):
      say(sessions[index].answererHello, index, at: now, into: &effects)
    case (.proof(let header, let code), .challenging):
      takeProof(
        header, UnsafeRawBufferPointer(rebasing: bytes[code]), index, at: now, into: &effects)
    case (.proof(let header, _), .admitted):
      // It has not seen our welcome.
      if belongs(header, to: index) { sayWelcome(index, into: &effects) }
    case (.welcome(let header, let code), .proving):
      takeWelcome(
        header, UnsafeRawBufferPointer(rebasing: bytes[code]), index, at: now, into: &effects)
    case (.refusal(_, let reason), _): refused(index, reason, at: now, into: &effects)
    default: counters.stale += 1
    }
  }

  /// Says again what has got no answer; gives up when it takes too long.
  mutating func wakeHandshake(_ index: Int, at now: Moment, into effects: inout PeerEffects) {
    guard sessions[index].handshakeEnd > now.instant else {
      counters.failedHandshakes += 1
      return end(index, at: now, into: &effects)
    }
    guard sessions[index].nextRepeat <= now.instant else { return }
    switch sessions[index].phase {
    case .greeting: say(sessions[index].callerHello, index, at: now, into: &effects)
    case .proving: sayProof(index, at: now, into: &effects)
    case .connecting, .listening, .challenging, .admitted, .open:
      sessions[index].nextRepeat = .never
    }
  }

  /// Sends a hello; who called says it again until it is answered.
  private mutating func say(
    _ hello: [UInt8], _ index: Int, at now: Moment, into effects: inout PeerEffects
  ) {
    if sessions[index].isCaller {
      sessions[index].nextRepeat = now.instant + options.timings.repeatInterval
    }
    let begin = effects.bytes.count
    effects.bytes.append(hello)
    effects.list.append(.send(sessions[index].link, begin..<effects.bytes.count))
  }

  private mutating func makeHello(to member: MemberID, answering nonce: PeerNonce) -> PeerHello {
    var hello = PeerHello(
      versions: options.versions, hasSecret: options.authenticator != nil,
      sender: ownID, receiver: member, clusterID: clusterID, epoch: epoch,
      incarnation: incarnation, stamp: stamp, nonce: nextNonce(), answered: nonce)
    hello.directory = directory
    if epoch == Epoch(0) {
      hello.guestAddress = guestAddress
      hello.hasVoted = onlyCalled == nil
    }
    return hello
  }

  private func code(by role: PeerProof.Role, _ index: Int) -> [UInt8] {
    PeerProof.code(
      by: role, caller: sessions[index].callerHello, answerer: sessions[index].answererHello,
      options.authenticator)
  }

  /// True for a message of the link's session from the member that is there.
  func belongs(_ header: PeerHeader, to index: Int) -> Bool {
    header.session == sessions[index].number && header.sender == sessions[index].member
      && header.version == sessions[index].version
  }

  // MARK: Refusing

  /// What stands against talking to who sent a hello.
  private func objection(to hello: PeerHello) -> PeerRefusal? {
    if hello.clusterID != clusterID { return .otherCluster }
    if hello.sender == ownID { return .sameMember }
    guard let other = index(of: hello.sender) else { return .unknownMember }
    if others[other].role == .guest, isElsewhere(hello, other) { return .unknownMember }
    if options.authenticator != nil, !hello.hasSecret { return .secretMissing }
    if options.authenticator == nil, hello.hasSecret { return .secretUnexpected }
    return nil
  }

  /// Whether a guest is another process than the one that is known here. Two that asked two members
  /// may have been given one id, and who has voted keeps its own until it hears what came of it.
  private func isElsewhere(_ hello: PeerHello, _ other: Int) -> Bool {
    guard let address = hello.guestAddress else { return false }
    return address != Self.spelling(of: others[other].member.address)
  }

  /// What stands against being called by who sent a hello. One with a higher id asks whether it is
  /// still a member: who is none any more is heard, so that it can be told.
  private func objection(toCallOf hello: PeerHello, at now: Instant) -> PeerRefusal? {
    if hello.receiver != ownID { return .otherMember }
    guard let other = index(of: hello.sender), others[other].role != .leaving,
      !isOutdated(hello)
    else { return nil }
    return impostor(hello, at: now) ?? (hello.sender > ownID ? .wrongDirection : nil)
  }

  /// Whether the id of who sent a hello is another one's by now, whose link it must not get: a
  /// member's counts of lists and of removals never fall. It is told the list and nothing else.
  func isOutdated(_ hello: PeerHello) -> Bool {
    guard let other = index(of: hello.sender), others[other].role != .leaving else { return false }
    if others[other].role == .member {
      if isElsewhere(hello, other) { return true }
      if hello.guestAddress == nil, !base.isCovered(by: hello.epoch) { return true }
    }
    // A guest says so, or is a member by a list that is not known here yet.
    if others[other].role == .guest, hello.guestAddress == nil,
      hello.epoch.agreed <= epoch.agreed
    {
      return true
    }
    guard let known = others[other].greeting, known.incarnation != hello.incarnation else {
      return false
    }
    return !known.epoch.isCovered(by: hello.epoch)
  }

  /// The newest version that both speak.
  static func common(_ a: ClosedRange<UInt8>, _ b: ClosedRange<UInt8>) -> UInt8? {
    a.overlaps(b) ? min(a.upperBound, b.upperBound) : nil
  }

  /// Tells the other side why, ends the link, and logs it once.
  mutating func refuse(
    _ index: Int, _ reason: PeerRefusal, at now: Moment, into effects: inout PeerEffects
  ) {
    sessions[index].isRefused = true
    let session = sessions[index]
    put(.refusal, index, at: nil, into: &effects) { $0.append(reason.rawValue) }
    complain(of: session, reason, isOurs: true, at: now, into: &effects)
    end(index, afterFlush: true, at: now, into: &effects)
  }

  mutating func refused(
    _ index: Int, _ reason: PeerRefusal, at now: Moment, into effects: inout PeerEffects
  ) {
    // It passes when the other process is gone; soon, if it was this member's last run.
    sessions[index].isRefused = reason != .alreadyHere
    if reason == .unknownMember, sessions[index].isCaller, let member = sessions[index].member {
      disowned(by: member, on: sessions[index].link, at: now, into: &effects)
    }
    complain(of: sessions[index], reason, isOurs: false, at: now, into: &effects)
    end(index, at: now, into: &effects)
  }

  /// Nothing that it said counts any more, unless it talks to us on another link.
  private mutating func disowned(
    by member: MemberID, on link: LinkID, at now: Moment, into effects: inout PeerEffects
  ) {
    guard let other = index(of: member), others[other].link == .none || others[other].link == link
    else { return }
    effects.list.append(.disowned(by: member))
    others[other].greeting = nil
    lose(other, because: "knows another member of this id", at: now, into: &effects)
  }

  /// Logs a refusal: of a member once until there is a session with it, of a stranger now and then.
  /// That a member is to wait for a call is nothing to complain of, nor that its last run was heard
  /// a moment ago.
  private mutating func complain(
    of session: PeerSession, _ reason: PeerRefusal, isOurs: Bool, at now: Moment,
    into effects: inout PeerEffects
  ) {
    if reason == .wrongDirection { return }
    counters.refusals += 1
    if session.joinerAddress == nil, let member = session.member,
      let other = self.index(of: member)
    {
      if reason == .alreadyHere {
        others[other].twinCount += 1
        guard others[other].twinCount >= Self.twinCountMin else { return }
      }
      guard others[other].note(reason, isOurs: isOurs) else { return }
    } else {
      guard mayLogStranger(isOurs ? Int(reason.rawValue) : 0, at: now.instant) else { return }
    }
    let who =
      session.joinerAddress.map { "who wants to join as \($0)" }
      ?? session.member.map { "member \($0)" } ?? "a stranger"
    let name = "\(who) (\(session.endpoint))"
    let text = isOurs ? "refused \(name)" : "\(name) refused this one"
    effects.lines.append((.error, "\(text): \(reason)"))
  }

  /// A second process of a member that was refused so often is no run that follows another.
  private static var twinCountMin: Int { 8 }

  private mutating func mayLogStranger(_ kind: Int, at now: Instant) -> Bool {
    if let last = strangerLogs[kind], now - last < options.timings.strangerLogInterval {
      return false
    }
    strangerLogs[kind] = now
    return true
  }

  // MARK: Bytes

  private static func encode(_ hello: PeerHello) -> [UInt8] {
    var buffer = ByteBuffer(capacity: PeerHello.byteCount)
    hello.append(to: &buffer)
    return Array(buffer.bytes)
  }

  private static func decode(_ bytes: [UInt8]) -> PeerHello? {
    bytes.withUnsafeBytes { PeerHello($0) }
  }
}
