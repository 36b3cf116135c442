import Base
import Glibc
import TPC

/// What the negotiator itself costs: three members whose logs and links take no time.
enum Cost {
  private struct Nothing: Resource {
    mutating func prepare(
      _ id: TransactionID, _ attempt: Attempt, body: UnsafeRawBufferPointer,
      record: UnsafeRawBufferPointer
    ) -> Verdict { .yes([]) }
    mutating func commit(_ id: TransactionID, record: UnsafeRawBufferPointer) {}
    mutating func abort(_ id: TransactionID, record: UnsafeRawBufferPointer?) {}
    mutating func note(_ key: UnsafeRawBufferPointer, record: UnsafeRawBufferPointer?) {}
  }

  private final class Member {
    var negotiator: Negotiator
    var resource = Nothing()
    var effects = Effects()
    init(_ negotiator: consuming Negotiator) { self.negotiator = negotiator }
  }

  /// Prints microseconds a transaction, all members and messages together.
  static func show() {
    for (keyCount, openCount) in [(1, 1), (1, 64), (16, 16), (1_000, 1), (5_000, 1)] {
      let rounds = max(200_000 / (keyCount + 10) / openCount, 3)
      let nanos = measure(keyCount: keyCount, openCount: openCount, rounds: rounds)
      let each = nanos / UInt64(rounds * openCount)
      print(
        "\(keyCount) keys, \(openCount) open: \(each) ns a transaction at three members,",
        "\(each / 3 / UInt64(keyCount)) ns a key and member")
    }
  }

  private static func measure(keyCount: Int, openCount: Int, rounds: Int) -> UInt64 {
    let ids = (1...3).map { MemberID(UInt16($0)) }
    let members = ids.map {
      Member(
        Negotiator(
          member: $0, members: MemberSet(ids), epoch: Epoch(1), options: NegotiatorOptions(),
          seed: 1))
    }
    for member in members {
      member.negotiator.finishRecovery(at: .zero, &member.resource, &member.effects)
      settle(members)
    }
    var builder = WorkBuilder()
    let start = now()
    for round in 0..<rounds {
      for index in 0..<openCount {
        for key in 0..<keyCount {
          let name = (UInt64(index).bigEndian, UInt64(key).bigEndian)
          withUnsafeBytes(of: name) { builder.add(key: $0, .write) }
        }
        builder.body.append(zeroes: 100 * keyCount)
        let stamp = Stamp(nanos: UInt64(round * openCount + index))
        let begun = members[0].negotiator.begin(
          builder.finish()!, age: stamp, deadline: .never, at: .zero, &members[0].resource,
          &members[0].effects)
        guard case .started = begun else { fatalError("\(begun)") }
      }
      settle(members)
    }
    let nanos = now() - start
    guard members.allSatisfy({ $0.negotiator.lockCount == 0 }) else { fatalError("locks are left") }
    return nanos
  }

  /// Delivers and forces until nothing is left.
  private static func settle(_ members: [Member]) {
    var isBusy = true
    while isBusy {
      isBusy = false
      for (index, member) in members.enumerated() {
        member.negotiator.flush(stamp: .zero, at: .zero, &member.effects)
        guard !member.effects.list.isEmpty else { continue }
        isBusy = true
        let list = member.effects.list
        let bytes = Array(member.effects.bytes.bytes)
        member.effects.removeAll()
        for effect in list {
          switch effect {
          case .send(let to, let range, _):
            let other = members[Int(to.number) - 1]
            bytes.withUnsafeBytes {
              other.negotiator.receive(
                UnsafeRawBufferPointer(rebasing: $0[range]), from: MemberID(UInt16(index + 1)),
                at: .zero, &other.resource, &other.effects)
            }
          case .notify(let ticket):
            member.negotiator.forced(ticket, at: .zero, &member.resource, &member.effects)
          default: break
          }
        }
      }
    }
  }

  private static func now() -> UInt64 {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
  }
}
