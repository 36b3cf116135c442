import Base
import Testing

@testable import SimKit

@Suite struct WorldPartsTests {
  @Test func `Events come by time, and those of one instant in the order planned`() {
    var heap = EventHeap()
    var order: [Int] = []
    var chance = Random(seed: 1)
    var expected: [(UInt64, Int)] = []
    for number in 0..<500 {
      let nanos = UInt64(chance.below(50))
      expected.append((nanos, number))
      heap.add(Instant(nanos: nanos)) { order.append(number) }
    }
    while let (_, body) = heap.pop() { body() }
    #expect(order == expected.sorted { $0 < $1 }.map(\.1))
  }

  @Test func `The bounds of the clock hold all that it showed`() {
    var clock = SimClock(partsPerMillion: 0)
    let start = clock.trueMillis(at: .zero)
    clock.step(by: -3_600_000_000_000, at: Instant(nanos: 2_000_000_000))
    clock.step(by: 7_200_000_000_000, at: Instant(nanos: 4_000_000_000))
    let early = clock.bounds(from: .zero, to: Instant(nanos: 1_000_000_000))
    #expect(early == start...start + 1_001)
    let across = clock.bounds(
      from: Instant(nanos: 1_000_000_000), to: Instant(nanos: 3_000_000_000))
    #expect(across == start + 2_000 - 3_600_000...start + 2_001)
    let late = clock.bounds(from: Instant(nanos: 4_000_000_000), to: Instant(nanos: 5_000_000_000))
    #expect(late.upperBound == start + 5_001 + 3_600_000)
  }

  @Test func `Steps of the clock count until a call given up can have ended`() {
    var clock = SimClock(partsPerMillion: 0)
    let history = History(name: "g", keyCount: 1)
    let command = SimCommand(slot: 0, verb: .set(Payload(Array("x".utf8)), expiryMillis: 500))
    let place = history.begin(
      Call(serial: 0, client: 0, commands: [command], isTransaction: false, invoked: .zero))
    history.finish(place, .unknown, at: Instant(nanos: 6_000_000_000))
    clock.step(by: 3_600_000_000_000, at: Instant(nanos: 3_000_000_000))
    history.setClocks(clock.bounds)
    let start = clock.trueMillis(at: .zero)
    #expect(history.calls[place].clockMillis == start...start + 6_001 + 3_600_000)
  }

  @Test func `Replies are read however they are cut`() {
    let bytes = Array("+OK\r\n:5\r\n$3\r\na\rb\r\n*2\r\n$-1\r\n-ERR no\r\n".utf8)
    let expected: [Reply] = [
      .status("OK"), .integer(5), .bulk(Array("a\rb".utf8)), .array([.null, .error("ERR no")]),
    ]
    for cut in 0...bytes.count {
      var reader = ReplyReader()
      var found: [Reply] = []
      for piece in [bytes[..<cut], bytes[cut...]] {
        reader.append(Array(piece))
        while case .reply(let reply) = reader.next() { found.append(reply) }
      }
      #expect(found == expected)
      #expect(reader.isEmpty)
    }
  }

  @Test func `A token that stands twice is seen`() {
    #expect(ExactlyOnce.tokens(Array("<1><22>".utf8)) == [Array("<1>".utf8), Array("<22>".utf8)])
  }
}
