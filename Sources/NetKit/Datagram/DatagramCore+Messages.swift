import Base

/// Messages between peers.
extension DatagramCore {
  // MARK: Out

  /// Takes a message for a peer; above the bounds the link is closed.
  mutating func sendMessage(
    _ bytes: UnsafeRawBufferPointer, _ slot: Int, at now: Instant
  ) -> SendOutcome {
    guard bytes.count <= options.messageByteCountMax else { return .tooLarge }
    let peer = peers.pointer(at: slot)
    guard peer.pointee.outbox.count < options.peerMessageCountMax,
      peer.pointee.outbox.byteCount + bytes.count <= options.peerPendingByteCountMax
    else {
      sayGoodbye(slot, unknown: false)
      closePeer(slot, .overflow)
      return .gone
    }
    let stride = options.byteCountMax(for: peer.pointee.endpoint) - DatagramHeader.byteCount
    peer.pointee.outbox.append(bytes, stride: stride)
    pumpMessages(slot, at: now)
    if !peer.pointee.outbox.isSentOnce { peer.pointee.isKeptBack = true }
    return .queued
  }

  /// Sends what the window allows: what was lost first, then what is new, in order.
  mutating func pumpMessages(_ slot: Int, at now: Instant) {
    let peer = peers.pointer(at: slot)
    guard peer.pointee.phase == .open else { return }
    for number in peer.pointee.outbox.sentNumbers {
      guard let sender = peer.pointee.outbox.find(number) else { continue }
      while sender.pointee.lostCount > 0 {
        guard let fragment = sender.pointee.next(peer.pointee.congestion) else { return }
        putFragment(fragment, sender, number, slot, at: now)
      }
    }
    while let number = peer.pointee.outbox.nextFresh(),
      let sender = peer.pointee.outbox.find(number),
      let fragment = sender.pointee.next(peer.pointee.congestion)
    {
      putFragment(fragment, sender, number, slot, at: now)
    }
  }

  private mutating func putFragment(
    _ fragment: MessageSender.Fragment, _ sender: UnsafeMutablePointer<MessageSender>,
    _ number: UInt64, _ slot: Int, at now: Instant
  ) {
    let peer = peers.pointer(at: slot)
    var header = peerHeader(.message, slot, number: number)
    header.flags = .wantsAck
    header.echo = now.echo
    sender.pointee.describe(fragment.index, in: &header)
    put(header, payload: sender.pointee.payload(fragment.index), to: peer.pointee.endpoint)
    if fragment.isRepeated { counters.retransmitted += 1 }
    sender.pointee.sent(fragment, &peer.pointee.congestion, at: now)
    arm(peer.pointee.congestion.timer)
  }

  mutating func handleMessageAck(
    _ header: DatagramHeader, _ bitmap: UnsafeRawBufferPointer, _ slot: Int, at now: Instant
  ) {
    let peer = peers.pointer(at: slot)
    guard let sender = peer.pointee.outbox.find(header.id.low), !sender.pointee.isComplete,
      sender.pointee.acknowledge(header, bitmap: bitmap, &peer.pointee.congestion, at: now)
    else {
      counters.stray += 1
      return
    }
    counters.accepted += 1
    if sender.pointee.isComplete { peer.pointee.outbox.finished(sender.pointee.byteCount) }
    for number in peer.pointee.outbox.sentNumbers {
      peer.pointee.outbox.find(number)?.pointee.findLost(&peer.pointee.congestion, at: now)
    }
    pumpMessages(slot, at: now)
    arm(peer.pointee.congestion.timer)
    if peer.pointee.isKeptBack, peer.pointee.outbox.isSentOnce {
      peer.pointee.isKeptBack = false
      events.push(.drained(link(slot)))
    }
  }

  /// The timer ran out: everything under way goes again.
  mutating func repeatMessages(_ slot: Int, at now: Instant) {
    let peer = peers.pointer(at: slot)
    for number in peer.pointee.outbox.sentNumbers {
      peer.pointee.outbox.find(number)?.pointee.forgetFlights(&peer.pointee.congestion)
    }
    peer.pointee.congestion.timedOut()
    pumpMessages(slot, at: now)
  }

  // MARK: In

  mutating func handleMessage(
    _ header: DatagramHeader, _ payload: UnsafeRawBufferPointer, _ slot: Int, at now: Instant
  ) {
    let peer = peers.pointer(at: slot)
    let number = header.id.low
    if peer.pointee.inbox.wasDelivered(number) {
      counters.repeated += 1
      acknowledgeWhole(header, slot)
    } else if Int(header.messageByteCount) > options.messageByteCountMax {
      counters.oversized += 1
    } else if peer.pointee.inbox.isTooFarAhead(number) || !events.hasRoom(for: payload.count) {
      counters.overloaded += 1
    } else if header.count == 1 {
      guard peer.pointee.inbox.find(number) == nil else {
        counters.stray += 1
        return
      }
      counters.accepted += 1
      peer.pointee.inbox.deliver(number)
      events.push(.received(link(slot)), payload)
      acknowledgeWhole(header, slot)
    } else {
      handleMessageFragment(header, payload, slot)
    }
  }

  private mutating func handleMessageFragment(
    _ header: DatagramHeader, _ payload: UnsafeRawBufferPointer, _ slot: Int
  ) {
    let peer = peers.pointer(at: slot)
    let number = header.id.low
    guard let place = peer.pointee.inbox.find(number) ?? beginMessage(header, slot) else {
      counters.overloaded += 1
      return
    }
    let reassembly = peer.pointee.inbox.reassembly(at: place)
    switch reassembly.pointee.take(header, payload: payload) {
    case .contradictory:
      counters.stray += 1
      return
    case .repeated: counters.repeated += 1
    case .fresh: counters.accepted += 1
    }
    guard reassembly.pointee.isComplete else {
      acknowledgePart(header, place, slot)
      return
    }
    let whole = reassembly.pointee.takeBytes()
    peer.pointee.inbox.end(at: place)
    peer.pointee.inbox.deliver(number)
    events.push(.received(link(slot)), whole: whole)
    acknowledgeWhole(header, slot)
  }

  private mutating func beginMessage(_ header: DatagramHeader, _ slot: Int) -> Int? {
    let byteCount = Int(header.messageByteCount)
    let peer = peers.pointer(at: slot)
    guard reassemblyByteCount + byteCount <= options.reassemblyByteCountMax,
      peer.pointee.inbox.byteCount + byteCount <= options.reassemblyByteCountMax / 2
    else { return nil }
    let place = peer.pointee.inbox.begin(
      header.id.low, Reassembly(header, instance: nextInstance()))
    if place != nil { reassemblyByteCount += byteCount }
    return place
  }

  private mutating func acknowledgePart(_ header: DatagramHeader, _ place: Int, _ slot: Int) {
    let peer = peers.pointer(at: slot)
    let reassembly = peer.pointee.inbox.reassembly(at: place)
    var ack = peerHeader(.messageAck, slot, number: header.id.low)
    ack.index = UInt16(reassembly.pointee.leadingCount)
    ack.count = header.count
    ack.messageByteCount = reassembly.pointee.instance
    ack.echo = header.echo
    var ackPlace = peer.pointee.inbox.ackPlace(at: place)
    putAck(ack, reassembly.pointee.acknowledgement, to: peer.pointee.endpoint, &ackPlace)
    peer.pointee.inbox.setAckPlace(ackPlace, at: place)
  }

  private mutating func acknowledgeWhole(_ header: DatagramHeader, _ slot: Int) {
    var ack = peerHeader(.messageAck, slot, number: header.id.low)
    ack.index = header.count
    ack.count = header.count
    ack.echo = header.echo
    put(ack, to: peers.pointer(at: slot).pointee.endpoint)
  }
}
