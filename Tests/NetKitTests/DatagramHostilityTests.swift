import Base
import Testing

@testable import NetKit

/// What strangers, forgers and broken networks may send.
@Suite struct DatagramHostilityTests {
  @Test func everyPrefixOfEveryKindIsDropped() {
    for specimen in specimens() {
      for count in 0..<specimen.count {
        var core = freshCore()
        give(Array(specimen[..<count]), &core, from: endpoint(2, 5000))
        let isDropped = core.counters.malformed + core.counters.damaged == 1
        if !isDropped || !core.outgoing.isEmpty { Issue.record("taken after \(count) bytes") }
      }
    }
  }

  @Test func everyFlippedBitOfEveryKindIsDropped() {
    for specimen in specimens() {
      for bit in 0..<specimen.count * 8 {
        var bytes = specimen
        bytes[bit / 8] ^= 1 << UInt8(bit % 8)
        var core = freshCore()
        give(bytes, &core, from: endpoint(2, 5000))
        if core.counters.accepted > 0 || !core.outgoing.isEmpty { Issue.record("bit \(bit)") }
      }
    }
  }

  @Test func aDamagedReplyNeverReachesTheClient() {
    var running = exchange([1], to: loopback(9099), at: .zero)
    let header = DatagramHeader(
      kind: .reply, id: OperationID(high: 7, low: 1), messageByteCount: 3)
    let reply = sealed(header, [1, 2, 3])
    for bit in 0..<reply.count * 8 {
      var bytes = reply
      bytes[bit / 8] ^= 1 << UInt8(bit % 8)
      bytes.withUnsafeBytes { running.handle($0, at: .zero) }
    }
    for count in 0..<reply.count {
      reply[..<count].withUnsafeBytes { running.handle($0, at: .zero) }
    }
    #expect(running.state == .waiting)
    #expect(running.droppedCount == reply.count * 9)
    reply.withUnsafeBytes { running.handle($0, at: .zero) }
    #expect(running.state == .answered)
  }

  /// Fields drawn at random around the values that mean something, under a right checksum: what a
  /// malicious client can send. Nothing traps, each datagram is counted once, bounds hold, and the
  /// state goes away with time.
  @Test(arguments: 1...12)
  func wellSealedNonsenseIsHarmless(seed: Int) {
    var chance = Random(seed: UInt64(seed))
    var options = DatagramOptions()
    options.exchangeCountMax = 16
    options.transferCountMax = 8
    options.peerCountMax = 4
    options.messageByteCountMax = 1 << 20
    options.reassemblyByteCountMax = 2 << 20
    options.replyByteCountMax = 1 << 20
    options.outgoingByteCountMax = 1 << 20
    var world = ServerWorld(seed: UInt64(seed), options: options, address: loopback(9099))
    let sources = [loopback(5000), loopback(5001), endpoint(9, 5002)]
    let reply = randomBytes(3_000, &chance)
    for _ in 0..<3_000 {
      world.wire.now = world.wire.now + .micros(UInt64(chance.below(20_000)))
      let source = sources[chance.chance(4, in: 5) ? 0 : chance.below(3)]
      let cookie = world.core.cookies.make(for: source, at: world.wire.now)
      let bytes = nonsense(&chance, cookie: cookie, &world.core)
      bytes.withUnsafeBytes { world.core.handle($0, from: source, at: world.wire.now) }
      world.work { _, _ in
        chance.chance(1, in: 3) ? nil : Array(reply[..<(1 + chance.below(3_000))])
      }
      world.wire.flights.removeAll()
      if world.core.deadline <= world.wire.now { world.core.wake(at: world.wire.now) }
      if world.core.exchanges.count > 16 || world.core.transfers.count > 8
        || world.core.reassemblyByteCount > 2 << 20 || world.core.replyByteCount > 1 << 20
      {
        Issue.record("a bound is passed")
      }
    }
    #expect(world.core.counters.received == 3_000)
    #expect(world.core.counters.sorted == 3_000)
    #expect(world.core.counters.accepted > 300, "enough of it is taken to matter")
    world.settle(200) { _, _ in nil }
    #expect(world.core.transfers.isEmpty && world.core.exchanges.count == 0)
    #expect(world.core.peers.count == 0)
    #expect(world.core.reassemblyByteCount == 0 && world.core.replyByteCount == 0)
  }

  @Test(arguments: 1...20)
  func anAddressThatHasNotProvenItselfNeverGetsMoreThanItSent(seed: Int) {
    var chance = Random(seed: UInt64(seed))
    var options = DatagramOptions()
    options.plainFrom = seed % 2 == 0 ? .anywhere : .loopback
    options.provesLoopback = true
    var world = ServerWorld(seed: UInt64(seed), options: options)
    let sources = (0..<8).map { $0 < 4 ? endpoint(UInt32($0), 5000) : loopback(6000 + UInt16($0)) }
    for _ in 0..<2_000 {
      world.wire.now = world.wire.now + .micros(UInt64(chance.below(2_000)))
      let source = sources[chance.below(8)]
      let bytes: [UInt8]
      if chance.chance(1, in: 3) {
        let length = 1 + chance.below(60)
        bytes = Array("GET key1\r\n".utf8) + [UInt8](repeating: 32, count: length)
      } else {
        bytes = nonsense(&chance, cookie: chance.next(), &world.core)
      }
      world.wire.bytesFrom[source, default: 0] += bytes.count
      world.arrive(bytes, from: source) { request, _ in
        [UInt8](repeating: 43, count: 1 + request.count * 2 * (seed % 3) / 2)
      }
      if world.wire.bytesTo[source, default: 0] > world.wire.bytesFrom[source, default: 0] {
        Issue.record("\(source) got more than it sent")
      }
    }
    world.settle(100) { _, _ in nil }
    for source in sources {
      #expect(world.wire.bytesTo[source, default: 0] <= world.wire.bytesFrom[source, default: 0])
    }
    #expect(world.core.transfers.count == 0 && world.core.peers.count == 0)
  }

  @Test func bareDatagramsAreTakenFromLoopbackOnlyUnlessAllowed() {
    let command = Array("GET k\r\n".utf8)
    var core = freshCore()
    give(command, &core, from: endpoint(2, 5000))
    #expect(core.counters.refused == 1)
    give(command, &core, from: loopback(5000))
    #expect(core.counters.accepted == 1)
    for reply in ["+PONG\r\n", "-ERR x\r\n", ":1\r\n", "$1\r\na\r\n", "*1\r\n", "_\r\n", "%1\r\n"] {
      give(Array(reply.utf8), &core, from: loopback(9099))
    }
    #expect(core.counters.refused == 8, "replies are not taken for commands")
  }

  @Test func aBareReplyLongerThanTheRequestIsDroppedAndCountedOutsideOfLoopback() {
    var options = DatagramOptions()
    options.plainFrom = .anywhere
    var world = ServerWorld(seed: 8, options: options)
    let command = Array("GET k\r\n".utf8)
    for (source, reply, sent) in [
      (endpoint(2, 5000), 7, 1), (endpoint(2, 5000), 8, 0), (loopback(5000), 8, 1),
      (loopback(5000), 16_384, 1),
    ] {
      let before = world.wire.sentCount
      world.arrive(command, from: source) { _, _ in [UInt8](repeating: 1, count: reply) }
      #expect(world.wire.sentCount - before == sent)
    }
    #expect(world.core.counters.plainReplies == 1)
  }

  @Test func aSourceAboveItsRateIsThrottledAndOthersAreNot() {
    var options = DatagramOptions()
    options.sourceRate = DatagramRate(perSecond: 100, burst: 10)
    options.strangerRate = DatagramRate(perSecond: 10, burst: 5)
    var world = ServerWorld(seed: 9, options: options)
    func knock(_ last: UInt32) -> [UInt8] {
      let running = exchange([1], to: world.address, at: world.wire.now)
      return [UInt8](running.outgoing.bytes(at: 0))
    }
    for _ in 0..<20 { world.arrive(knock(2), from: endpoint(2, 5000)) { bytes, _ in bytes } }
    #expect(world.core.counters.challenged == 5)
    #expect(world.core.counters.throttled == 15)
    world.arrive(knock(3), from: endpoint(3, 5000)) { bytes, _ in bytes }
    #expect(world.core.counters.challenged == 6)
    world.wire.now = world.wire.now + .millis(100)
    for _ in 0..<20 { world.arrive(knock(2), from: endpoint(2, 5000)) { bytes, _ in bytes } }
    #expect(world.core.counters.challenged == 7)
  }

  @Test func cookiesHoldForThisHourAndTheLastAndForOneAddress() {
    let cookies = Cookie(secret: SipKey(k0: 1, k1: 2))
    let start = Instant.zero + .seconds(7_200)
    let cookie = cookies.make(for: endpoint(1, 1), at: start)
    #expect(cookies.accepts(cookie, from: endpoint(1, 1), at: start + .seconds(7_199)))
    #expect(!cookies.accepts(cookie, from: endpoint(1, 1), at: start + .seconds(7_200)))
    #expect(!cookies.accepts(cookie, from: endpoint(1, 2), at: start))
    #expect(!cookies.accepts(cookie, from: endpoint(2, 1), at: start))
    #expect(!cookies.accepts(0, from: endpoint(1, 1), at: start))
    let others = Cookie(secret: SipKey(k0: 1, k1: 3))
    #expect(!others.accepts(cookie, from: endpoint(1, 1), at: start))
  }

  @Test func unfinishedMessagesAreBoundedForOneAddressAndForAll() {
    var options = DatagramOptions()
    options.transferCountMax = 8
    options.reassemblyByteCountMax = 4 << 20
    var core = DatagramCore(
      options: options, secret: SipKey(k0: 1, k1: 2), seed: 1, slotBase: 0)
    func begin(_ id: UInt64, _ byteCount: Int, from source: Endpoint) {
      var header = DatagramHeader(kind: .request, id: OperationID(high: 1, low: id))
      header.token = core.cookies.make(for: source, at: .zero)
      (header.count, header.stride) = (UInt16((byteCount + 1_023) / 1_024), 1_024)
      header.messageByteCount = UInt32(byteCount)
      give(sealed(header, [UInt8](repeating: 1, count: 1_024)), &core, from: source)
    }
    for id in 1...6 as ClosedRange<UInt64> { begin(id, 1 << 20, from: endpoint(2, 5_000)) }
    #expect(core.reassemblyByteCount == 2 << 20)
    for id in 7...20 as ClosedRange<UInt64> {
      begin(id, 4_096, from: endpoint(2, 5_000 + UInt16(id)))
    }
    #expect(core.transfers.count <= 5)
    for id in 1...20 as ClosedRange<UInt64> {
      begin(id, 4_096, from: endpoint(UInt32(id + 2), 5_000))
    }
    #expect(core.transfers.count == 8)
    #expect(core.counters.overloaded == core.counters.received - 8)
    core.wake(at: .zero + .seconds(11))
    #expect(core.transfers.isEmpty && core.reassemblyByteCount == 0)
    #expect(core.counters.reassembliesExpired == 8)
  }

  // MARK: Parts

  private func freshCore() -> DatagramCore {
    var options = DatagramOptions()
    options.sourceCountMax = 4
    options.exchangeCountMax = 4
    options.transferCountMax = 2
    options.peerCountMax = 2
    options.eventCountMax = 64
    return DatagramCore(options: options, secret: SipKey(k0: 3, k1: 4), seed: 5, slotBase: 0)
  }

  private func give(_ bytes: [UInt8], _ core: inout DatagramCore, from source: Endpoint) {
    bytes.withUnsafeBytes { core.handle($0, from: source, at: .zero) }
  }

  /// One of each kind that a stranger may send with its cookie, all of which would be taken.
  private func specimens() -> [[UInt8]] {
    let cookie = Cookie(secret: SipKey(k0: 3, k1: 4)).make(for: endpoint(2, 5000), at: .zero)
    let id = OperationID(high: 1, low: 2)
    let payload = [UInt8](repeating: 7, count: 256)
    return [
      sealed(DatagramHeader(kind: .request, id: id, token: cookie, messageByteCount: 256), payload),
      sealed(
        DatagramHeader(
          kind: .request, index: 1, count: 3, stride: 256, id: id, token: cookie,
          messageByteCount: 600), payload),
      sealed(DatagramHeader(kind: .replyAck, index: 1, count: 1, id: id, token: cookie), []),
      sealed(
        DatagramHeader(kind: .hello, id: OperationID(high: 0, low: 9), token: cookie), []),
      sealed(DatagramHeader(kind: .ping, id: OperationID(high: 1, low: 0), token: 5), []),
    ]
  }

  /// A datagram that makes sense, one time in four with a field that does not, always under a right
  /// checksum.
  private func nonsense(
    _ chance: inout Random, cookie: UInt64, _ core: inout DatagramCore
  ) -> [UInt8] {
    let kinds: [DatagramKind] = [
      .request, .request, .request, .replyAck, .hello, .message, .message, .message, .messageAck,
      .ping, .pong,
    ]
    var kind = kinds[chance.below(kinds.count)]
    if chance.chance(1, in: 20) { kind = DatagramKind(rawValue: UInt8(1 + chance.below(12)))! }
    var header = DatagramHeader(
      kind: kind, flags: chance.chance(1, in: 2) ? .change : .wantsAck,
      id: OperationID(high: UInt64(chance.below(3)), low: UInt64(chance.below(6))),
      token: chance.chance(9, in: 10) ? cookie : chance.next(), echo: UInt32(chance.below(1_000)))
    if kind == .hello { header.id = OperationID(high: 0, low: UInt64(1 + chance.below(3))) }
    if kind.rawValue >= DatagramKind.welcome.rawValue, core.peers.isOccupied(0) {
      let peer = core.peers.pointer(at: 0)
      header.id = OperationID(high: peer.pointee.localToken, low: UInt64(chance.below(1_200)))
      header.token = peer.pointee.remoteToken
    }
    var length = 0
    switch kind {
    case .request, .reply, .message:
      length = shape(&header, &chance)
    case .requestAck, .replyAck, .messageAck:
      header.count = UInt16(1 + chance.below(12))
      header.index = UInt16(chance.below(Int(header.count) + 1))
      header.messageByteCount = UInt32(chance.below(4))
      length = header.index == header.count ? 0 : (Int(header.count) + 7) / 8
    default: break
    }
    if chance.chance(1, in: 4) { spoil(&header, &length, &chance) }
    return sealed(header, randomBytes(max(0, min(length, 1_152)), &chance))
  }

  /// Makes the header that of a sound fragment and returns the bytes of its payload.
  private func shape(_ header: inout DatagramHeader, _ chance: inout Random) -> Int {
    guard chance.chance(2, in: 3) else {
      let length = 1 + chance.below(200)
      header.messageByteCount = UInt32(length)
      return length
    }
    let stride = [256, 256, 300, 1_152][chance.below(4)]
    let count = [2, 2, 3, 900][chance.below(4)]
    let last = [1, stride / 2, stride][chance.below(3)]
    let index = min(chance.below(4), count - 1)
    (header.index, header.count, header.stride) = (UInt16(index), UInt16(count), UInt16(stride))
    header.messageByteCount = UInt32((count - 1) * stride + last)
    return index == count - 1 ? last : stride
  }

  private func spoil(
    _ header: inout DatagramHeader, _ length: inout Int, _ chance: inout Random
  ) {
    let edges: [UInt16] = [0, 1, 255, 256, 4_096, 4_097, 32_768, 65_535]
    let edge = edges[chance.below(8)]
    switch chance.below(9) {
    case 0: header.index = edge
    case 1: header.count = edge
    case 2: header.stride = edge
    case 3: header.messageByteCount = UInt32(edge) << UInt32(chance.below(17))
    case 4: header.id.low = .max - UInt64(chance.below(2))
    case 5: header.id.high = chance.next()
    case 6: header.token = chance.below(2) == 0 ? 0 : chance.next()
    case 7: header.flags = DatagramFlags(rawValue: UInt8(truncatingIfNeeded: chance.next()))
    default: length = chance.below(1_152)
    }
  }
}

/// The bytes of a datagram.
func sealed(_ header: DatagramHeader, _ payload: [UInt8]) -> [UInt8] {
  var batch = OutgoingDatagrams()
  payload.withUnsafeBytes { batch.put(header, payload: $0, to: loopback(1)) }
  return [UInt8](batch.bytes(at: 0))
}
