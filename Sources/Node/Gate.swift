import Base
import NetKit

/// Where replies wait until what they promise is durable: one queue for the whole node.
///
/// Marks are pushed in rising order, so what may leave is always at the front. The bytes lie one
/// after the other in a single buffer. What waits for which mark: the reply to a change waits for
/// its record; the reply to a read waits when the entry it saw (or the removal that made it absent)
/// is not durable yet; any reply of a connection that has a reply waiting waits behind it.
///
/// Bound: the sessions stop executing when their waiting and unsent output passes
/// `NodeOptions.outputByteCountMax`.
struct Gate: ~Copyable {
  private struct Entry {
    var mark: Mark
    var link: LinkID
    var byteCount: Int
    var outcome: RequestOutcome
  }

  private var entries: [Entry] = []
  private var head = 0
  private var bytes = ByteBuffer()

  var isEmpty: Bool { head == entries.count }
  /// Bytes waiting in all.
  var byteCount: Int { bytes.count }

  /// Queues bytes for a link behind `mark`, which is never below an earlier one.
  ///
  /// `outcome`: of the UDP request that they answer.
  /// True when they make a run of their own, which `front` gives once; false when they go with the
  /// run before.
  @discardableResult
  mutating func hold(
    _ reply: UnsafeRawBufferPointer, for link: LinkID, until mark: Mark,
    outcome: RequestOutcome = .notApplied
  ) -> Bool {
    invariant(
      isEmpty || entries[entries.count - 1].mark <= mark, "marks at the gate only rise")
    bytes.append(reply)
    if !isEmpty, entries[entries.count - 1].link == link, entries[entries.count - 1].mark == mark {
      entries[entries.count - 1].byteCount += reply.count
      return false
    }
    entries.append(
      Entry(mark: mark, link: link, byteCount: reply.count, outcome: outcome))
    return true
  }

  /// The first waiting run if its mark is durable.
  func front(
    durable: Mark
  ) -> (link: LinkID, bytes: UnsafeRawBufferPointer, outcome: RequestOutcome)? {
    guard !isEmpty, entries[head].mark <= durable else { return nil }
    let entry = entries[head]
    let run = UnsafeRawBufferPointer(rebasing: bytes.bytes[0..<entry.byteCount])
    return (entry.link, run, entry.outcome)
  }

  mutating func dropFront() {
    bytes.consume(entries[head].byteCount)
    head += 1
    if head == entries.count {
      entries.removeAll(keepingCapacity: entries.count < 65_536)
      head = 0
    } else if head > 4_096, head * 2 > entries.count {
      entries.removeFirst(head)
      head = 0
    }
  }
}
