import Base
import NetKit
import Store

// Which replies leave at once and which wait until what they tell of is durable.
extension Node {
  /// Splits the batch's replies into what leaves at once and what waits.
  mutating func holdReplies(_ session: SessionPointer) {
    let start = session.pointee.heldCount > 0 ? 0 : gateStart
    gateStart = -1
    hold(from: start, session)
  }

  private mutating func hold(from start: Int, _ session: SessionPointer) {
    guard start >= 0, start < output.count, let database else { return }
    let held = UnsafeRawBufferPointer(rebasing: output.bytes[start...])
    if gate.hold(held, for: session.pointee.link, until: database.pointee.log.appended) {
      session.pointee.heldCount += 1
    }
    session.pointee.heldByteCount += held.count
    if let at = closing.lastIndex(of: session.pointee.link) { closing.remove(at: at) }
    output.truncate(to: start)
    stallOnOutput(session, unsent: 0)
  }

  /// Keeps a session from executing while what it is owed is above the bound.
  mutating func stallOnOutput(_ session: SessionPointer, unsent: Int) {
    let owed = session.pointee.heldByteCount + unsent
    if owed > options.outputByteCountMax, session.pointee.stall == .none {
      session.pointee.stall = .output
    }
  }

  /// What waited has been handed to the transport, which has `unsent` bytes of the link now.
  mutating func released(_ link: LinkID, byteCount: Int, unsent: Int) {
    guard let session = sessions[link] else { return }
    session.pointee.heldCount -= 1
    session.pointee.heldByteCount -= byteCount
    if session.pointee.heldCount == 0, session.pointee.closing { closing.append(link) }
    stallOnOutput(session, unsent: unsent)
    endOutputStall(session, unsent: unsent)
    if session.pointee.ended, session.pointee.isIdle { close(session) }
  }

  /// Lets a session go on once what it is owed is down to half the bound.
  mutating func endOutputStall(_ session: SessionPointer, unsent: Int) {
    guard session.pointee.stall == .output,
      session.pointee.heldByteCount + unsent <= options.outputByteCountMax / 2
    else { return }
    session.pointee.stall = .none
    if !session.pointee.isReady { becomeReady(session) }
  }

  /// What opens the gate.
  var releasable: Mark { options.durability == .always ? durable : forced }

  /// Ends a reply that was given after its command: it counts for `CLIENT REPLY`, and waits behind
  /// what the session has at the gate.
  mutating func finishLateReply(_ session: SessionPointer, from start: Int) {
    if session.pointee.replies != .on { muffle(session, from: start) }
    // What stands before it in `output` is of the session whose batch is being executed.
    if session.pointee.link == executing {
      holdReplies(session)
    } else if session.pointee.heldCount > 0 {
      hold(from: start, session)
    }
  }

  mutating func muffle(_ session: SessionPointer, from start: Int) {
    switch session.pointee.replies {
    case .on: break
    case .off: output.truncate(to: start)
    case .skipNext:
      output.truncate(to: start)
      session.pointee.replies = .skipThis
    case .skipThis:
      output.truncate(to: start)
      session.pointee.replies = .on
    }
  }

  /// True when the reply to a UDP request at hand waits; the rest of the batch's bookkeeping is in
  /// `holdReplies`.
  mutating func takeGateStart() -> Bool {
    defer { gateStart = -1 }
    return gateStart >= 0
  }
}
