import Base
import Conformance
import Testing

@testable import NetKit

@Suite struct DatagramPeerTests {
  @Test func aLinkOpensOnBothSidesAndCarriesMessagesBothWays() {
    for addresses in [[endpoint(1, 1), endpoint(2, 2)], [loopback(1), loopback(2)]] {
      var world = PeerWorld(seed: 1, addresses: addresses)
      let link = world.connect(0)
      world.run(10)
      let answer = world.lastOpened(1)
      #expect(world.told[0] == [.opened(link)] && answer != nil)
      world.send([1, 2], 0, on: link)
      world.send([3], 1, on: answer!)
      world.run(10)
      #expect(world.messages(1) == [[1, 2]] && world.messages(0) == [[3]])
      #expect(world.core(0).pointee.counters.challenged == 0)
      let challenged = world.core(1).pointee.counters.challenged
      #expect(challenged == (addresses[0].isLoopback ? 0 : 1))
    }
  }

  @Test(arguments: 1...12)
  func stormsLoseRepeatAndDamageNothing(seed: Int) {
    var options = DatagramOptions()
    options.peerTimeout = .seconds(60)
    options.handshakeTimeout = .seconds(60)
    var world = PeerWorld(seed: UInt64(seed), weather: .storm, options: options)
    var chance = Random(seed: UInt64(seed))
    let link = world.connect(0)
    world.run(20_000)
    guard let answer = world.lastOpened(1) else {
      Issue.record("no link")
      return
    }
    var sent: [[[UInt8]]] = [[], []]
    for number in 0..<40 {
      let size = 4 + chance.below(chance.chance(1, in: 4) ? 20_000 : 300)
      let side = chance.below(2)
      let bytes = [UInt8(number), UInt8(side)] + randomBytes(size, &chance)
      sent[side].append(bytes)
      world.send(bytes, side, on: side == 0 ? link : answer)
      world.run(UInt64(chance.below(20)))
    }
    world.run(40_000)
    for side in 0..<2 {
      let got = world.messages(1 - side).sorted { $0[0] < $1[0] }
      #expect(got == sent[side], "seed \(seed)")
      let counters = world.core(side).pointee.counters
      #expect(counters.received == counters.sorted)
      #expect(world.core(side).pointee.reassemblyByteCount == 0)
      #expect(world.core(side).pointee.pendingByteCount(of: side == 0 ? link : answer) == 0)
    }
  }

  @Test func theLargestMessagePassesAndOneByteMoreIsRefused() {
    var world = PeerWorld(seed: 3)
    let link = world.connect(0)
    world.run(10)
    var chance = Random(seed: 3)
    let most = world.options.messageByteCountMax
    let largest = randomBytes(most, &chance)
    #expect("\(world.send(largest + [1], 0, on: link))" == "tooLarge")
    #expect("\(world.send(largest, 0, on: link))" == "queued")
    #expect(world.core(0).pointee.pendingByteCount(of: link) == most)
    world.run(3_000)
    #expect(world.messages(1) == [largest])
    #expect(world.core(0).pointee.pendingByteCount(of: link) == 0)
    #expect(world.told[0].last == .drained(link))
    #expect(world.core(0).pointee.counters.retransmitted == 0)
  }

  @Test func manySmallMessagesAllArriveOnce() {
    var world = PeerWorld(seed: 4, weather: Weather(loss: 50, delayMicrosMax: 2_000))
    let link = world.connect(0)
    world.run(2_000)
    for number in 0..<600 { world.send([UInt8(number & 255), UInt8(number >> 8)], 0, on: link) }
    world.run(10_000)
    let numbers = world.messages(1).map { Int($0[0]) + Int($0[1]) * 256 }
    #expect(numbers.sorted() == Array(0..<600))
    let sent = world.core(0).pointee.counters.sent
    #expect(sent < 1_000, "little is sent twice though the path loses and reorders")
  }

  @Test func aRestartedCallerReplacesItsOldLink() {
    var world = PeerWorld(seed: 5)
    _ = world.connect(0)
    world.run(10)
    let old = world.lastOpened(1)!
    world.restart(0)
    let link = world.connect(0)
    world.run(10)
    let new = world.lastOpened(1)!
    #expect(world.told[1] == [.opened(old), .closed(old, .reset), .opened(new)])
    world.send([1], 1, on: new)
    #expect("\(world.send([2], 1, on: old))" == "gone")
    world.run(10)
    #expect(world.told[0] == [.opened(link), .received(link, [1])])
  }

  @Test func aRestartedAnswererIsNoticedByItsFirstDatagram() {
    var world = PeerWorld(seed: 6)
    let link = world.connect(0)
    world.run(10)
    world.restart(1)
    world.send([1], 0, on: link)
    world.run(10)
    #expect(world.told[0] == [.opened(link), .closed(link, .reset)])
    #expect(world.told[1].isEmpty)
  }

  @Test func closingTellsTheOtherSide() {
    var world = PeerWorld(seed: 7)
    let link = world.connect(0)
    world.run(10)
    let answer = world.lastOpened(1)!
    world.close(1, answer)
    world.run(10)
    #expect(world.told[0].last == .closed(link, .closed))
    #expect(world.told[1].last == .closed(answer, .closed))
    #expect("\(world.send([1], 0, on: link))" == "gone")
  }

  @Test func aCutLinkTimesOutOnBothSides() {
    var world = PeerWorld(seed: 8)
    let link = world.connect(0)
    world.run(10)
    let answer = world.lastOpened(1)!
    world.run(20_000)
    #expect(world.told[0].count == 1, "an idle link stays open")
    world.wire.isCut = true
    world.send([1], 0, on: link)
    world.run(7_000)
    #expect(world.told[0].last == .closed(link, .timeout))
    #expect(world.told[1].last == .closed(answer, .timeout))
  }

  @Test func connectingToNobodyIsRefusedAfterTheHandshakeTimeout() {
    var world = PeerWorld(seed: 9)
    world.wire.isCut = true
    let link = world.connect(0)
    world.run(4_900)
    #expect(world.told[0].isEmpty)
    world.run(200)
    #expect(world.told[0] == [.closed(link, .refused)])
  }

  @Test func pendingOutputAboveTheBoundClosesTheLink() {
    var options = DatagramOptions()
    options.peerPendingByteCountMax = 100_000
    var world = PeerWorld(seed: 10, options: options)
    let link = world.connect(0)
    world.run(10)
    world.wire.isCut = true
    let bytes = [UInt8](repeating: 1, count: 30_000)
    let outcomes = (0..<4).map { _ in "\(world.send(bytes, 0, on: link))" }
    #expect(outcomes == ["queued", "queued", "queued", "gone"])
    #expect(world.told[0].last == .closed(link, .overflow))
  }

  @Test func aForgerWhoKnowsOneTokenIsNotHeard() {
    var world = PeerWorld(seed: 11)
    let link = world.connect(0)
    world.run(10)
    let token = world.core(0).pointee.peers.pointer(at: 0).pointee.localToken
    for kind in [DatagramKind.message, .goodbye, .messageAck] {
      var header = DatagramHeader(kind: kind, id: OperationID(high: token, low: 1), token: 99)
      if kind == .message { header.messageByteCount = 1 }
      if kind == .messageAck { header.index = 1 }
      world.wire.carry(
        sealed(header, kind == .message ? [1] : []), from: world.addresses[1],
        to: world.addresses[0])
    }
    world.run(10)
    #expect(world.told[0] == [.opened(link)])
    #expect(world.core(0).pointee.counters.stray == 3)
  }

  @Test func aLateCopyOfAnOldHelloDisturbsNothing() {
    var world = PeerWorld(seed: 12, addresses: [loopback(1), loopback(2)])
    _ = world.connect(0)
    let hello = world.wire.flights[0].bytes
    world.run(10)
    world.restart(0)
    let link = world.connect(0)
    world.run(10)
    let before = world.told[1]
    world.wire.carry(hello, from: world.addresses[0], to: world.addresses[1])
    world.run(20_000)
    #expect(world.told[1] == before)
    #expect(world.told[0] == [.opened(link)])
    #expect(world.core(1).pointee.peers.count == 1)
  }
}
