import Base
import NetKit
import Store
import TPC
import Testing

@testable import Node

/// When a member's loop waits for the disk.
@Suite struct QuietTests {
  @Test func `A member that only votes waits for its disk, and one that serves does not`() {
    let cluster = ClusterBench()
    let links = (1...2).map { cluster.connect($0) }
    func write(_ count: Int) {
      for number in 0..<count { #expect(cluster.ask(1, links[0], "SET k \(number)") == "+OK") }
    }
    func awaited(_ number: Int) -> Int { cluster[number].bench.host.disk.awaitedCount }
    cluster.advance(millis: 500)
    write(Quiet.groupCountMin / 2)
    #expect(awaited(2) == 0 && awaited(3) == 0)
    write(Quiet.groupCountMin)
    #expect(awaited(1) == 0 && awaited(2) > 0 && awaited(3) > 0)
    #expect(cluster.ask(2, links[1], "GET k") == "$2;31")
    let before = (awaited(2), awaited(3))
    write(2 * Quiet.groupCountMin)
    #expect(awaited(1) == 0 && awaited(2) == before.0 && awaited(3) > before.1)
    cluster.advance(millis: 200)
    write(1)
    #expect(awaited(2) > before.0)
  }

  @Test func `A slow group or a vote meanwhile begins the count anew`() {
    func isQuiet(_ interval: Interval, votes: UInt64 = 0) -> Bool {
      var quiet = Quiet()
      let now = Instant.zero + .seconds(1)
      for group in 0..<Quiet.groupCountMin {
        let isLast = group == Quiet.groupCountMin - 1
        let isEarly = quiet.mayWait(commandCount: 0, voteCount: UInt64(group), at: now)
        #expect(!isEarly)
        quiet.ended(
          after: isLast ? interval : .micros(100), commandCount: 0,
          voteCount: UInt64(group) + (isLast ? votes : 0), at: now)
      }
      return quiet.mayWait(commandCount: 0, voteCount: 0, at: now)
    }
    #expect(isQuiet(.micros(999)))
    #expect(!isQuiet(.millis(1)))
    #expect(!isQuiet(.micros(100), votes: 1))
  }
}
