import Base
import Testing

@testable import NetKit

@Suite struct DatagramExchangeTests {
  @Test func aSmallRequestOnLoopbackIsAnsweredWithoutStateOrCookie() {
    var world = ServerWorld(seed: 1, address: loopback(9099))
    var request = exchange([80, 73], to: world.address, at: world.wire.now)
    world.run(&request, from: loopback(5000)) { bytes, _ in bytes + [79] }
    #expect(request.state == .answered)
    #expect([UInt8](request.reply) == [80, 73, 79])
    #expect(world.wire.sentCount == 2)
    #expect(world.core.exchanges.count == 0 && world.core.transfers.isEmpty)
    #expect(world.core.deadline == .never)
    #expect(world.core.counters.accepted == 1 && world.core.counters.sent == 1)
  }

  @Test func aStrangerGetsACookieFirst() {
    var world = ServerWorld(seed: 2)
    var request = exchange([1], to: world.address, at: world.wire.now)
    world.run(&request, from: endpoint(2, 5000)) { bytes, _ in bytes }
    #expect(request.state == .answered)
    #expect(world.core.counters.challenged == 1)
    #expect(world.wire.sentCount == 4)
    #expect(request.cookie != 0)
    var second = exchange([2], to: world.address, id: 2, cookie: request.cookie, at: world.wire.now)
    world.run(&second, from: endpoint(2, 5000)) { bytes, _ in bytes }
    #expect(world.core.counters.challenged == 1)
  }

  @Test func onlyAChangeHandsItsIdToTheNode() {
    var world = ServerWorld(seed: 3, address: loopback(9099))
    var read = exchange([1], to: world.address, id: 5, at: world.wire.now)
    world.run(&read, from: loopback(5000)) { bytes, _ in bytes }
    var change = exchange([1], to: world.address, id: 6, change: true, at: world.wire.now)
    world.run(&change, from: loopback(5000)) { bytes, _ in bytes }
    #expect(world.requests.map(\.id) == [.none, OperationID(high: 7, low: 6)])
  }

  @Test(arguments: [1, 1_151, 1_152, 1_153, 2_304, 2_305, 65_536, 1 << 20])
  func sizesAroundEachBoundPassBothWays(size: Int) {
    for address in [endpoint(1, 9099), loopback(9099)] {
      var world = ServerWorld(seed: UInt64(size), address: address)
      var chance = Random(seed: UInt64(size))
      let bytes = randomBytes(size, &chance)
      var request = exchange(bytes, to: address, at: world.wire.now)
      let client = address.isLoopback ? loopback(5000) : endpoint(2, 5000)
      world.run(&request, from: client) { bytes, _ in bytes.reversed() }
      #expect(request.state == .answered)
      #expect([UInt8](request.reply) == bytes.reversed())
      #expect(world.requests.count == 1)
      world.settle(20) { bytes, _ in bytes }
      #expect(world.core.transfers.isEmpty && world.core.transferSlots.isEmpty)
      #expect(world.core.reassemblyByteCount == 0 && world.core.replyByteCount == 0)
      #expect(world.core.counters.repliesLost == 0)
    }
  }

  @Test func aReplyAboveTheLimitIsRefusedAndAnotherMayFollow() {
    var world = ServerWorld(seed: 4, address: loopback(9099))
    var outcomes: [SendOutcome] = []
    let request = exchange([1], to: world.address, at: world.wire.now)
    let bytes = [UInt8](request.outgoing.bytes(at: 0))
    bytes.withUnsafeBytes { world.core.handle($0, from: loopback(5000), at: world.wire.now) }
    guard case .request(let link, _, _, _)? = world.core.next(into: &world.buffer) else {
      Issue.record("no request")
      return
    }
    let limit = world.core.options.messageByteCountMax
    for size in [limit + 1, limit, 1] {
      let reply = [UInt8](repeating: 1, count: size)
      outcomes.append(reply.withUnsafeBytes { world.core.send($0, on: link, at: world.wire.now) })
    }
    #expect(outcomes.map { "\($0)" } == ["tooLarge", "queued", "gone"])
  }

  @Test(arguments: 1...30)
  func stormsAreSurvivedUntilTheDeadline(seed: Int) {
    var chance = Random(seed: UInt64(seed))
    let address = seed % 2 == 0 ? endpoint(1, 9099) : loopback(9099)
    let client = address.isLoopback ? loopback(5000) : endpoint(2, 5000)
    var world = ServerWorld(seed: UInt64(seed), weather: .storm, address: address)
    world.thinking = .millis(UInt64(chance.below(50)))
    let request = randomBytes(1 + chance.below(chance.chance(1, in: 2) ? 100 : 40_000), &chance)
    let reply = randomBytes(1 + chance.below(chance.chance(1, in: 2) ? 100 : 40_000), &chance)
    var running = exchange(request, to: address, at: world.wire.now, seconds: 600)
    world.run(&running, from: client) { _, _ in reply }
    #expect(running.state == .answered)
    #expect([UInt8](running.reply) == reply)
    #expect(world.requests.allSatisfy { $0.bytes == request })
    world.settle(120) { _, _ in reply }
    #expect(world.core.counters.received == world.core.counters.sorted)
    #expect(world.core.transfers.isEmpty && world.core.exchanges.count == 0)
    #expect(world.core.reassemblyByteCount == 0 && world.core.replyByteCount == 0)
    if !address.isLoopback { #expect(world.core.counters.challenged >= 1) }
  }

  @Test func aRestartedServerGetsTheWholeRequestAgain() {
    for seed in 1...20 as ClosedRange<UInt64> {
      var world = ServerWorld(seed: seed, weather: Weather(delayMicrosMax: 500))
      var chance = Random(seed: seed)
      let request = randomBytes(60_000, &chance)
      var running = exchange(request, to: world.address, change: true, at: world.wire.now)
      let restartAt = Int(seed) * 5
      var handled = 0
      let client = endpoint(2, 5000)
      world.wire.carry(&running.outgoing, from: client)
      while running.state == .waiting {
        let limit = min(running.deadline, world.core.deadline)
        if let flight = world.wire.land(before: limit) {
          if flight.to == client {
            flight.bytes.withUnsafeBytes { running.handle($0, at: world.wire.now) }
          } else {
            handled += 1
            if handled == restartAt {
              world.core = DatagramCore(
                options: .init(), secret: SipKey(k0: 99, k1: seed), seed: 77, slotBase: 0)
            }
            world.arrive(flight.bytes, from: client) { bytes, _ in [UInt8](bytes.suffix(3_000)) }
          }
        } else {
          world.wire.now = limit
          world.core.wake(at: limit)
          world.work { bytes, _ in [UInt8](bytes.suffix(3_000)) }
          running.wake(at: limit)
        }
        world.wire.carry(&running.outgoing, from: client)
      }
      #expect(running.state == .answered, "seed \(seed)")
      #expect([UInt8](running.reply) == request.suffix(3_000))
    }
  }

  @Test func withoutAnAnswerTheDeadlineComesAndSaysWhetherItMayHaveHappened() {
    for (address, taken) in [(endpoint(1, 9099), false), (loopback(9099), true)] {
      var world = ServerWorld(seed: 5, address: address)
      world.wire.isCut = true
      var running = exchange([1], to: address, change: true, at: world.wire.now, seconds: 5)
      world.run(&running, from: endpoint(2, 5000)) { bytes, _ in bytes }
      #expect(running.state == .expired)
      #expect(running.mayHaveBeenTaken == taken)
      #expect(running.wasHeard == false)
      #expect(running.retransmittedCount >= 4)
    }
  }

  @Test func aRequestThatNobodyAnswersIsDroppedAfterTheTimeout() {
    var world = ServerWorld(seed: 6, address: loopback(9099))
    var running = exchange([1], to: world.address, at: world.wire.now, seconds: 1)
    world.run(&running, from: loopback(5000)) { _, _ in nil }
    #expect(world.core.exchanges.count > 0)
    world.settle(100) { _, _ in nil }
    #expect(world.core.exchanges.count == 0)
    #expect(world.core.counters.exchangesExpired == world.core.counters.requests)
  }

  @Test func theOldestRequestGivesWayAtTheBound() {
    var options = DatagramOptions()
    options.exchangeCountMax = 4
    var world = ServerWorld(seed: 7, options: options, address: loopback(9099))
    var links: [LinkID] = []
    for id in 1...6 as ClosedRange<UInt64> {
      let running = exchange([1], to: world.address, id: id, at: world.wire.now)
      let bytes = [UInt8](running.outgoing.bytes(at: 0))
      bytes.withUnsafeBytes { world.core.handle($0, from: loopback(5000), at: world.wire.now) }
      guard case .request(let link, _, _, _)? = world.core.next(into: &world.buffer) else { return }
      links.append(link)
    }
    let outcomes = links.map { link in
      "\([UInt8](repeating: 1, count: 1).withUnsafeBytes { world.core.send($0, on: link, at: world.wire.now) })"
    }
    #expect(outcomes == ["gone", "gone", "queued", "queued", "queued", "queued"])
    #expect(Set(links).count == 6)
  }
}
