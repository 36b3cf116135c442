import Base
import Testing

@testable import NetKit

@Suite struct DatagramPartsTests {
  /// Other people's clients are written from docs/udp.md: these bytes never change within version 1.
  @Test func theFormatIsThatOfTheDocument() {
    let header = DatagramHeader(
      kind: .request, flags: .change, index: 1, count: 2, stride: 256,
      id: OperationID(high: 0x0123_4567_89AB_7CDE, low: 0x8F01_2345_6789_ABCD),
      token: 0x1122_3344_5566_7788, messageByteCount: 260, echo: 0xA1B2_C3D4)
    let bytes = sealed(header, Array("PING".utf8))
    let hex = bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    #expect(
      hex == "f5325001010101000200000100f13d0a" + "de7cab8967452301cdab89674523018f"
        + "887766554433221104010000d4c3b2a1" + "50494e47")
    guard case .valid(let parsed) = bytes.withUnsafeBytes({ DatagramHeader.parse($0) }) else {
      Issue.record("not parsed")
      return
    }
    #expect(parsed == header)
  }

  @Test func theRoundTripIsEstimatedAsRFC6298Says() {
    let options = DatagramOptions()
    var roundTrip = RoundTrip(options)
    #expect(roundTrip.timeout(backoffs: 0) == .millis(250))
    #expect(roundTrip.timeout(backoffs: 2) == .millis(1_000))
    #expect(roundTrip.timeout(backoffs: 60) == .seconds(4))
    roundTrip.measured(.millis(100))
    // SRTT = R, RTTVAR = R/2, RTO = SRTT + 4 RTTVAR.
    #expect(roundTrip.smoothed == .millis(100) && roundTrip.timeout(backoffs: 0) == .millis(300))
    roundTrip.measured(.millis(180))
    // RTTVAR = 3/4 50 + 1/4 80 = 57.5, SRTT = 7/8 100 + 1/8 180 = 110.
    #expect(roundTrip.smoothed == .millis(110) && roundTrip.timeout(backoffs: 0) == .millis(340))
    for _ in 0..<200 { roundTrip.measured(.micros(100)) }
    #expect(roundTrip.timeout(backoffs: 0) == options.timeoutMin)
  }

  @Test func theWindowGrowsWithAcknowledgementsAndIsHalvedOnceALoss() {
    var path = Congestion(roundTrip: RoundTrip(.init()), unit: 1_000, options: .init())
    #expect(path.window == 10_000)
    var sequences: [UInt64] = []
    while path.allows(1_000) { sequences.append(path.sent(1_000, at: .zero)) }
    #expect(sequences.count == 10 && path.inFlight == 10_000)
    for sequence in sequences[5...] { path.acknowledged(sequence, byteCount: 1_000, at: .zero) }
    #expect(path.window == 15_000)
    for sequence in sequences[..<5] {
      #expect(path.isLost(sequence, sentAt: .zero, at: .zero + .millis(1)))
      path.lost(sequence, byteCount: 1_000)
    }
    #expect(path.window == 7_500 && path.inFlight == 0)
    _ = path.sent(1_000, at: .zero)
    #expect(path.timer == .zero + .millis(250))
    path.forgotten(byteCount: 1_000)
    path.timedOut()
    #expect(path.window == 1_000 && path.backoffs == 1 && path.timer == .never)
    _ = path.sent(1_000, at: .zero)
    #expect(path.timer == .zero + .millis(500))
  }

  @Test func aMessageIsPutTogetherFromAnyOrder() {
    var chance = Random(seed: 1)
    for _ in 0..<50 {
      let message = randomBytes(1 + chance.below(20_000), &chance)
      let held = message.withUnsafeBytes { HeldSender(MessageSender($0, stride: 256)) }
      var order = Array(0..<held.value.fragmentCount)
      order.shuffle(using: &chance)
      var reassembly: Reassembly?
      for index in order + order {
        var header = DatagramHeader(kind: .request, id: OperationID(high: 1, low: 1))
        held.value.describe(index, in: &header)
        var whole = reassembly.take() ?? Reassembly(header, instance: 1)
        let isLast = whole.wouldComplete(header)
        let taken = whole.take(header, payload: held.value.payload(index))
        #expect(isLast == (taken == .fresh && whole.isComplete))
        reassembly = consume whole
      }
      guard let whole = reassembly.take() else { return }
      #expect([UInt8](whole.bytes.bytes) == message)
      #expect(whole.leadingCount == held.value.fragmentCount)
    }
  }

  @Test func aFragmentOfAnotherMessageIsNotTaken() {
    var header = DatagramHeader(
      kind: .request, count: 3, stride: 256, id: OperationID(high: 1, low: 1),
      messageByteCount: 600)
    var reassembly = Reassembly(header, instance: 1)
    let payload = [UInt8](repeating: 1, count: 256)
    header.messageByteCount = 601
    let longer = payload.withUnsafeBytes { reassembly.take(header, payload: $0) }
    header.messageByteCount = 600
    header.stride = 300
    let coarser = payload.withUnsafeBytes { reassembly.take(header, payload: $0) }
    let received = reassembly.receivedCount
    #expect(longer == .contradictory && coarser == .contradictory && received == 0)
  }

  @Test func aRequestThatTricklesInIsGivenUp() {
    var core = DatagramCore(
      options: .init(), secret: SipKey(k0: 1, k1: 2), seed: 1, slotBase: 0)
    let payload = [UInt8](repeating: 1, count: 256)
    for index in 0..<200 as Range<UInt16> {
      let now = Instant.zero + .seconds(UInt64(index))
      if core.deadline <= now { core.wake(at: now) }
      let header = DatagramHeader(
        kind: .request, index: index, count: 4_000, stride: 256,
        id: OperationID(high: 1, low: 1), messageByteCount: 4_000 * 256)
      sealed(header, payload).withUnsafeBytes { core.handle($0, from: loopback(1), at: now) }
    }
    #expect(core.counters.reassembliesExpired == 1)
  }

  @Test(arguments: 1...10)
  func aClientSurvivesWellSealedNonsense(seed: Int) {
    var chance = Random(seed: UInt64(seed))
    let request = randomBytes(chance.chance(1, in: 2) ? 10 : 30_000, &chance)
    var running = exchange(request, to: endpoint(1, 9099), at: .zero)
    var now = Instant.zero
    for _ in 0..<500 where running.state == .waiting {
      now = now + .millis(UInt64(chance.below(60)))
      var header = DatagramHeader(
        kind: DatagramKind(rawValue: UInt8(1 + chance.below(12)))!,
        count: UInt16(1 + chance.below(40)), id: OperationID(high: 7, low: 1),
        token: UInt64(1 + chance.below(3)), messageByteCount: UInt32(chance.below(3)),
        echo: UInt32(chance.below(1_000)))
      header.index = UInt16(chance.below(Int(header.count) + 1))
      var length = header.index == header.count ? 0 : (Int(header.count) + 7) / 8
      if header.kind == .reply {
        header.count = UInt16(2 + chance.below(30))
        header.index = UInt16(chance.below(Int(header.count)))
        header.stride = 256
        header.messageByteCount = UInt32(header.count) * 256
        length = 256
      } else if header.kind == .challenge {
        length = 0
      }
      let bytes = sealed(header, randomBytes(length, &chance))
      bytes.withUnsafeBytes { running.handle($0, at: now) }
      if running.deadline <= now { running.wake(at: now) }
      #expect(running.outgoing.count < 200)
      running.outgoing.removeAll()
    }
  }

  @Test func sourcesAreForgottenOldestFirst() {
    var options = DatagramOptions()
    options.sourceCountMax = 4
    options.strangerRate = DatagramRate(perSecond: 1, burst: 1)
    var table = SourceTable(options: options, key: SipKey(k0: 1, k1: 2))
    var taken: [Bool] = []
    for last in [1, 2, 3, 4, 1, 5, 3, 2] as [UInt32] {
      let now = Instant.zero + .millis(UInt64(1 + taken.count))
      taken.append(table.takeStranger(from: endpoint(last, UInt16(taken.count + 1)), at: now))
    }
    // The fifth comes from an address that is known, by another port; the sixth takes the place of
    // address 2, which therefore begins anew.
    #expect(taken == [true, true, true, true, false, true, false, true])
  }
}

/// Carries a sender out of a closure, which only gives copyable values back.
private final class HeldSender {
  let value: MessageSender
  init(_ value: consuming MessageSender) { self.value = value }
}
