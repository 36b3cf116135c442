import Base

/// What a message over UDP asks besides its call: reads and commands without keys, before the call
/// and behind it. They are answered in their order, and a read behind a change sees it.
final class Company {
  private enum Part {
    case call
    case ping
    case echo([UInt8])
    case read(OpenCall)
  }

  /// The whole message. Further copies of the call are of the same bytes.
  let bytes: [UInt8]
  private var parts: [Part] = [.call]
  /// Reads are asked by the first message only; what later ones say of them is dropped.
  private var isOpen = true

  init(of call: OpenCall, client: Int, _ world: World, _ chance: inout Random) {
    let number = world.makeStreamNumber()
    call.stream = number
    for _ in 0..<chance.within(1...4) {
      let isBefore = chance.chance(1, in: 3)
      let part: Part
      switch chance.below(4) {
      case 0: part = .ping
      case 1: part = .echo(Array("\(chance.next())".utf8))
      default:
        let read = world.workload.read(client: client, beside: call, &chance)
        // The order within a stream is that in which calls were begun.
        if !isBefore { read.stream = number }
        part = .read(read)
      }
      parts.insert(part, at: isBefore ? 0 : parts.count)
    }
    var bytes: [UInt8] = []
    for part in parts {
      switch part {
      case .call: bytes += call.body(names: false)
      case .ping: Request.append([Array("PING".utf8)], to: &bytes)
      case .echo(let text): Request.append([Array("ECHO".utf8), text], to: &bytes)
      case .read(let read): bytes += read.body(names: false)
      }
    }
    self.bytes = bytes
  }

  /// Ends the reads by the replies to the message and returns those to the call. `wasCopied`: another
  /// copy may have been executed before, so that a read before the change may see it.
  func take(
    _ replies: [Reply], of call: OpenCall, wasCopied: Bool, _ world: World
  ) -> [Reply] {
    let last = replies[replies.count - 1]
    guard replies.count == parts.count - 1 + call.replyCount else {
      // Refused as a whole, or nothing goes on behind an error.
      if !last.isError {
        world.fail("protocol", "\(replies.count) replies to \(parts.count) parts: \(last.text)")
      }
      drop(world, because: last.text)
      return [last]
    }
    var own: [Reply] = []
    var index = 0
    for part in parts {
      let reply = replies[index]
      index += 1
      switch part {
      case .call:
        own = Array(replies[(index - 1)..<(index - 1 + call.replyCount)])
        index += call.replyCount - 1
      case .ping: check(reply, is: .status("PONG"), world)
      case .echo(let text): check(reply, is: .bulk(text), world)
      case .read(let read):
        guard isOpen else { continue }
        read.attempts = wasCopied ? 2 : 1
        let outcome = Meaning.outcome(of: [reply], isTransaction: false, isFirstAttempt: true)
        world.workload.finish(read, outcome)
      }
    }
    isOpen = false
    return own
  }

  private func check(_ reply: Reply, is expected: Reply, _ world: World) {
    guard reply != expected, !reply.isError else { return }
    world.fail("protocol", "answered \(reply.text), not \(expected.text)")
  }

  /// The message was not answered, or not in full: its reads have said nothing.
  func drop(_ world: World, because reason: String) {
    guard isOpen else { return }
    isOpen = false
    for case .read(let read) in parts { world.workload.finish(read, .notApplied(reason)) }
  }
}
