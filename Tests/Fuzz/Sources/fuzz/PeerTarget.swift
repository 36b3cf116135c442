import TPC

@testable import Base
@testable import NetKit
@testable import Node

/// Messages to a member from who is none: nothing traps, what is held stays bounded, nobody without the
/// secret gets in, and what was parsed is the same bytes again.
///
/// The first byte: bit 0, the cluster has no secret. Then a run of: a byte of choices, a length byte, and
/// that many bytes. Choices: bits 0 and 1 the link, bit 2 make a hello of it that is meant for this
/// member, bit 3 give it the number of the link's session, bit 4 open the link anew, bit 5 let time
/// pass, bit 6 from elsewhere than loopback.
func fuzzPeer(_ input: UnsafeRawBufferPointer) {
  guard let first = input.first else { return }
  var world = PeerFuzz(hasSecret: first & 1 == 0)
  var at = 1
  while at + 2 <= input.count {
    let choices = input[at]
    let count = min(Int(input[at + 1]), input.count - at - 2)
    world.step(choices, UnsafeRawBufferPointer(rebasing: input[(at + 2)..<(at + 2 + count)]))
    at += 2 + count
  }
  world.finish()
}

private struct FuzzAuthenticator: MessageAuthenticator {
  func code(of message: UnsafeRawBufferPointer) -> [UInt8] {
    (0..<4).flatMap { part in
      let word = SipHash.hash24(message, key: SipKey(k0: 0x5EC2_E7_5EC2_E7, k1: UInt64(part)))
      return (0..<8).map { UInt8(truncatingIfNeeded: word >> UInt64($0 * 8)) }
    }
  }
}

private struct PeerFuzz: ~Copyable {
  var peers: Peers
  var effects = PeerEffects()
  var now = Moment(instant: Instant(nanos: 1_000_000_000), wallNanos: 1_700_000_000_000_000_000)
  let hasSecret: Bool
  var links = [LinkID](repeating: .none, count: 4)
  var linkCount: UInt64 = 0
  /// The session number in the last answer on each link, xored with the caller's nonce.
  var answers = [UInt64](repeating: 0, count: 4)

  init(hasSecret: Bool) {
    self.hasSecret = hasSecret
    let members = (1...3 as ClosedRange<UInt16>).map {
      Member(
        id: MemberID($0), address: "m\($0):1", endpoint: Endpoint(ipv4: 0x7F00_0001, port: $0))
    }
    peers = Peers(
      ClusterOptions(
        ownID: MemberID(2), members: members, clusterID: 77, nonceKey: SipKey(k0: 1, k1: 2),
        authenticator: hasSecret ? FuzzAuthenticator() : nil),
      directory: 2, directories: [MemberID(1): 1])
    peers.start(at: now)
  }

  mutating func step(_ choices: UInt8, _ bytes: UnsafeRawBufferPointer) {
    let place = Int(choices & 3)
    if links[place] == .none || choices & 16 != 0 { open(place, isFar: choices & 64 != 0) }
    if choices & 32 != 0 {
      now.instant = now.instant + .millis(700)
      peers.wake(at: now, into: &effects)
      carryOut()
    }
    withHeapCopy(bytes) { copy in
      if choices & 4 != 0 { Self.makeHello(copy) }
      if choices & 8 != 0, copy.count >= 12 {
        copy[1] = 1
        copy.storeBytes(of: answers[place].littleEndian, toByteOffset: 4, as: UInt64.self)
      }
      let message = UnsafeRawBufferPointer(copy)
      checkParsing(message)
      let isOpen = peers.sessions.contains { $0.link == links[place] && $0.isOpen }
      if let delivery = peers.receive(message, on: links[place], at: now, into: &effects) {
        expect(isOpen, "a message was delivered before the proof")
        expect(!hasSecret, "a stranger's message was delivered")
        expect(delivery.payload == 12..<message.count, "a payload is what follows the header")
      }
    }
    carryOut()
    expect(peers.sessions.count <= Peers.strangerCountMax + 2, "sessions grow")
  }

  private mutating func open(_ place: Int, isFar: Bool) {
    linkCount += 1
    links[place] = LinkID(raw: 1 << 32 | linkCount)
    let source = Endpoint(ipv4: isFar ? 0xC000_0201 : 0x7F00_0001, port: 9)
    peers.opened(links[place], from: source, at: now, into: &effects)
    carryOut()
  }

  private static func makeHello(_ message: UnsafeMutableRawBufferPointer) {
    guard message.count >= PeerHello.byteCount else { return }
    message[0] = 1
    message.storeBytes(of: UInt16(2).littleEndian, toByteOffset: 6, as: UInt16.self)
    message.storeBytes(of: UInt64(77).littleEndian, toByteOffset: 8, as: UInt64.self)
  }

  /// What was understood of a message says the same when it is written again.
  private func checkParsing(_ bytes: UnsafeRawBufferPointer) {
    guard let message = PeerMessage(bytes) else { return }
    var again = ByteBuffer()
    switch message {
    case .hello(let hello):
      hello.append(to: &again)
      // Bytes after ours are a later version's; so are bits of the flags that are not ours.
      again.mutableBytes[3] |= bytes[3] & 0xFE
      again.append(UnsafeRawBufferPointer(rebasing: bytes[again.count...]))
    case .proof(let header, let rest): again.write(header, .proof, bytes, rest)
    case .welcome(let header, let rest): again.write(header, .welcome, bytes, rest)
    case .payload(let header, let rest): again.write(header, .payload, bytes, rest)
    case .ping(let header, let pulse):
      header.append(.ping, to: &again)
      pulse.append(to: &again)
    case .pong(let header, let pulse):
      header.append(.pong, to: &again)
      pulse.append(to: &again)
    case .list(let header, let rest): again.write(header, .list, bytes, rest)
    case .copy(let header, let rest): again.write(header, .copy, bytes, rest)
    case .refusal(let header, let reason):
      header.append(.refusal, to: &again)
      again.append(reason.rawValue)
    }
    expect(again.bytes.elementsEqual(bytes), "\(message) is not what was received")
  }

  private mutating func carryOut() {
    for effect in effects.list {
      switch effect {
      case .connect(let member, _):
        linkCount += 1
        peers.called(member, as: LinkID(raw: 1 << 32 | linkCount), at: now)
      case .send(let link, let place): noteAnswer(link, place)
      case .close(let link, _):
        for index in links.indices where links[index] == link { links[index] = .none }
      case .reachable: expect(!hasSecret, "a stranger got in without the secret")
      case .trust, .unreachable, .guest, .knock, .epoch, .outdated, .disowned, .resolve, .met,
        .resolveDonor:
        break
      }
    }
    effects.list.removeAll()
    effects.bytes.removeAll()
    expect(effects.lines.count <= 64, "the log grows")
    plantedMistake(when: effects.lines.contains { $0.text.hasSuffix("\(PeerRefusal.badSecret)") })
    effects.lines.removeAll()
  }

  private mutating func noteAnswer(_ link: LinkID, _ place: Range<Int>) {
    let bytes = UnsafeRawBufferPointer(rebasing: effects.bytes.bytes[place])
    guard let index = links.firstIndex(of: link), case .hello(let hello) = PeerMessage(bytes) else {
      return
    }
    answers[index] = hello.nonce.first ^ hello.answered.first
  }

  /// Long after the last message nothing is held of strangers.
  mutating func finish() {
    for _ in 0..<10 {
      now.instant = now.instant + .seconds(3)
      peers.wake(at: now, into: &effects)
      carryOut()
    }
    let held = peers.sessions.count { !$0.isCaller && !$0.isOpen }
    expect(held == 0, "\(held) strangers are held for ever")
  }
}

extension ByteBuffer {
  fileprivate mutating func write(
    _ header: PeerHeader, _ kind: PeerMessageKind, _ bytes: UnsafeRawBufferPointer,
    _ rest: Range<Int>
  ) {
    header.append(kind, to: &self)
    append(UnsafeRawBufferPointer(rebasing: bytes[rest]))
  }
}
