import Base
import NetKit

/// What plans happenings in virtual time: the world, or the pair of a conformance test.
protocol Scheduler: AnyObject {
  var now: Instant { get }
  func at(_ instant: Instant, _ body: @escaping () -> Void)
}

/// How a network treats what it carries; a seed draws one.
struct NetworkFaults {
  /// 127.0.0.0 or 10.0.0.0: over loopback there are no cookies, and datagrams are larger.
  var prefix: UInt32 = 0x7F00_0000
  /// The usual time on the way, and how often it is twenty times that.
  var latencyMicrosMax = 200
  var lateInThousand = 0
  /// Streams: bytes that may be on their way to a reader before the rest waits.
  var windowByteCount = 1 << 20
  /// Streams: chunks are cut in two at a random place, and reads return less than there is.
  var shortInThousand = 0
  /// Streams: each chunk may be followed by a reset.
  var resetInThousand = 0
  /// Datagrams and messages between peers.
  var lossInThousand = 0
  var repeatInThousand = 0
  var damageInThousand = 0
}

/// The far end of a link.
protocol LinkEndpoint: AnyObject {
  func arrive(_ bytes: [UInt8])
  func end(_ end: LinkEnd)
}

/// One direction of a link: keeps order, and remembers how much is on its way.
struct LinkDirection {
  var lastArrival = Instant.zero
  var underwayByteCount = 0
}

/// Carries bytes and datagrams between ports and clients in virtual time.
final class SimNetwork {
  unowned let scheduler: any Scheduler
  var chance: Random
  var faults: NetworkFaults

  private(set) var lostCount = 0
  private(set) var repeatedCount = 0
  private(set) var damagedCount = 0
  private(set) var resetCount = 0

  init(scheduler: any Scheduler, seed: UInt64, faults: NetworkFaults) {
    self.scheduler = scheduler
    self.faults = faults
    chance = Random(seed: seed)
  }

  /// How long the next thing takes on its way.
  func latency() -> Interval {
    let micros = 5 + chance.below(faults.latencyMicrosMax)
    return .micros(UInt64(chance.chance(faults.lateInThousand, in: 1_000) ? micros * 20 : micros))
  }

  /// The arrival of the next chunk in an ordered direction.
  func arrival(after last: Instant) -> Instant {
    max(scheduler.now + latency(), last + Interval(nanos: 1))
  }

  /// Cuts a chunk as streams are cut: anywhere, or not at all.
  func cut(_ bytes: [UInt8]) -> [[UInt8]] {
    guard bytes.count > 1, chance.chance(faults.shortInThousand, in: 1_000) else { return [bytes] }
    let place = 1 + chance.below(bytes.count - 1)
    return [Array(bytes[..<place]), Array(bytes[place...])]
  }

  /// How many of `count` waiting bytes a read returns.
  func shortRead(of count: Int) -> Int {
    guard count > 1, chance.chance(faults.shortInThousand, in: 1_000) else { return count }
    return 1 + chance.below(count)
  }

  func drawsReset() -> Bool {
    guard chance.chance(faults.resetInThousand, in: 1_000) else { return false }
    resetCount += 1
    return true
  }

  /// Delivers a datagram none, one or two times, perhaps damaged, in no order.
  func carry(_ datagram: [UInt8], _ deliver: @escaping ([UInt8]) -> Void) {
    if chance.chance(faults.lossInThousand, in: 1_000) {
      lostCount += 1
      return
    }
    var copies = 1
    if chance.chance(faults.repeatInThousand, in: 1_000) {
      repeatedCount += 1
      copies = 2
    }
    for _ in 0..<copies {
      var bytes = datagram
      if !bytes.isEmpty, chance.chance(faults.damageInThousand, in: 1_000) {
        damagedCount += 1
        bytes[chance.below(bytes.count)] ^= 1 << UInt8(chance.below(8))
      }
      scheduler.at(scheduler.now + latency()) { deliver(bytes) }
    }
  }
}
