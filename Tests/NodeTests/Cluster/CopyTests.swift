import Base
import Store
import TPC
import Testing

@testable import Node

/// The donor and the joiner over bad networks.
struct CopyTests {
  @Test(arguments: 1...20 as ClosedRange<UInt64>)
  func underLossRepetitionReorderingAndChangesBothEndEqual(seed: UInt64) {
    let world = CopyWorld(seed: seed)
    world.lost = 5
    world.repeated = 10
    world.latencyMillis = 1...10
    world.changes = 20
    world.refusals = 2
    world.deaths = Int(seed % 3)
    world.aborts = Int(seed % 2)
    world.start()
    #expect(world.run())
    #expect(world.areEqual && world.withdrawals == 0)
    #expect(world.joiner.phase == world.end.map { .complete($0) })
  }

  @Test func aQuietCopyTakesFewMessages() {
    let world = CopyWorld(seed: 3)
    world.start()
    #expect(world.run() && world.areEqual)
    #expect(world.begins == 1 && world.messages < 40)
    #expect(world.lines.isEmpty)
  }

  @Test(arguments: 1...10 as ClosedRange<UInt64>)
  func aRestartOfTheJoinerBeginsAgain(seed: UInt64) {
    let world = CopyWorld(seed: seed)
    world.changes = 50
    world.lost = 5
    world.start()
    for _ in 0..<Int(seed * 5) { world.step() }
    world.restartJoiner()
    #expect(world.run() && world.areEqual)
    #expect(world.begins <= 2)
  }

  @Test(arguments: 1...10 as ClosedRange<UInt64>)
  func anotherRunOfTheDonorBeginsAgain(seed: UInt64) {
    let world = CopyWorld(seed: seed)
    world.changes = 50
    world.repeated = 30
    world.latencyMillis = 1...30
    world.start()
    for _ in 0..<Int(seed * 5) { world.step() }
    // What the first one has said may still be on its way.
    world.start()
    #expect(world.run() && world.areEqual)
  }

  @Test func onlyTheAttemptThatIsPreparedCounts() {
    let world = CopyWorld(seed: 9)
    world.deaths = 3
    world.changes = 100
    world.start()
    #expect(world.run() && world.areEqual)
    #expect(world.end?.attempt.number == 4)
  }

  @Test func aCopyThatDiffersIsTakenAgain() {
    let world = CopyWorld(seed: 4)
    var spoilt = 0
    world.tamper = { message in
      var message = message
      // One byte of the sum in the first `complete`.
      if message[0] == 1, message[13] == 2, spoilt == 0 {
        spoilt += 1
        message[message.count - 1] ^= 1
      }
      return message
    }
    world.start()
    #expect(world.run() && world.areEqual)
    #expect(spoilt == 1 && world.begins == 2 && world.withdrawals == 1)
    #expect(world.lines.contains { $0.hasPrefix("the copy is wrong (") })
  }

  @Test func whatIsNoCopyIsTakenAgain() {
    let world = CopyWorld(seed: 5)
    var spoilt = 0
    world.tamper = { message in
      var message = message
      if message[0] == 1, message[13] == 1, spoilt == 0 {
        spoilt += 1
        message[14] = 200
      }
      return message
    }
    world.start()
    #expect(world.run() && world.areEqual)
    #expect(spoilt == 1 && world.begins == 2)
  }

  @Test func aFlushAtTheDonorBeginsAgain() throws {
    let world = CopyWorld(seed: 6)
    world.start()
    for _ in 0..<3 { world.step() }
    var changes = ByteBuffer()
    world.donorData.begin(multi: true)
    _ = world.donorData.execute(.flush)
    _ = world.donorData.takeChanges(into: &changes)
    try Array("f".utf8).withUnsafeBytes {
      _ = try world.donorData.stage($0, note: $0, changes: changes.bytes)
      _ = world.donorData.settle($0, committed: true, note: nil)
    }
    #expect(world.run() && world.areEqual)
    #expect(world.begins == 2 && world.donorData.count == 0)
  }

  @Test func messagesOfNobodyAreDropped() {
    for length in 0..<80 {
      let bytes = [UInt8](repeating: 1, count: length)
      let message = bytes.withUnsafeBytes { CopyMessage($0) }
      switch message {
      case nil: #expect(length < 14)
      case .chunk(let chunk, .changes): #expect(chunk.number == 0x0101_0101 && length >= 14)
      default: Issue.record("\(length) bytes are no \(message!)")
      }
    }
    let long = [UInt8](repeating: 1, count: CopyMessage.byteCountMax + 1)
    #expect(long.withUnsafeBytes { CopyMessage($0) } == nil)
  }
}
