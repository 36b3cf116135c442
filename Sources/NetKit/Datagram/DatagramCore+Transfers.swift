import Base

/// Requests and replies of several datagrams.
extension DatagramCore {
  // MARK: Fragments of requests

  mutating func handleFragment(
    _ header: DatagramHeader, _ payload: UnsafeRawBufferPointer, from source: Endpoint,
    at now: Instant
  ) {
    guard Int(header.messageByteCount) <= options.messageByteCountMax else {
      counters.oversized += 1
      return
    }
    let key = TransferKey(source, header.id)
    guard let slot = transferSlots[key] ?? startRequest(key, header, at: now) else {
      counters.overloaded += 1
      return
    }
    let transfer = transfers.pointer(at: slot)
    guard transfer.pointee.reassembly.fragmentCount == Int(header.count) else {
      counters.stray += 1
      return
    }
    if transfer.pointee.phase != .receiving {
      counters.repeated += 1
      acknowledgeRequest(slot, echo: header.echo)
    } else if transfer.pointee.reassembly.wouldComplete(header), !events.hasRoom(for: 0) {
      counters.overloaded += 1
    } else {
      take(header, payload, slot, at: now)
    }
  }

  private mutating func take(
    _ header: DatagramHeader, _ payload: UnsafeRawBufferPointer, _ slot: Int, at now: Instant
  ) {
    let transfer = transfers.pointer(at: slot)
    switch transfer.pointee.reassembly.take(header, payload: payload) {
    case .contradictory:
      counters.stray += 1
      return
    case .repeated:
      counters.repeated += 1
    case .fresh:
      counters.accepted += 1
      let patience = now + options.reassemblyTimeout
      transfer.pointee.deadline = min(patience, transfer.pointee.receivingEnd)
      if transfer.pointee.reassembly.isComplete { deliverWhole(header, slot, at: now) }
    }
    acknowledgeRequest(slot, echo: header.echo)
  }

  private mutating func deliverWhole(_ header: DatagramHeader, _ slot: Int, at now: Instant) {
    let transfer = transfers.pointer(at: slot)
    transfer.pointee.phase = .waiting
    transfer.pointee.deadline = .never
    let whole = transfer.pointee.reassembly.takeBytes()
    let source = transfer.pointee.key.endpoint
    let exchange = Exchange(
      endpoint: source, id: header.id, echo: header.echo, isTrusted: true,
      requestByteCount: whole.count, transfer: slot, since: now)
    let link = open(exchange)
    let id = header.flags.contains(.change) ? header.id : .none
    events.push(.request(link, source, id: id, plain: false), whole: whole)
  }

  /// Begins to put a request together; nil when there is no room.
  private mutating func startRequest(
    _ key: TransferKey, _ header: DatagramHeader, at now: Instant
  ) -> Int? {
    let byteCount = Int(header.messageByteCount)
    guard isListening,
      reassemblyByteCount + byteCount <= options.reassemblyByteCountMax,
      isWithinShare(key.endpoint, byteCount), makeRoomForTransfer()
    else { return nil }
    reassemblyByteCount += byteCount
    var transfer = Transfer(key, phase: .receiving, congestion: freshCongestion(key.endpoint))
    transfer.reassembly = Reassembly(header, instance: nextInstance())
    transfer.deadline = now + options.reassemblyTimeout
    transfer.receivingEnd = now + options.reassemblyTimeMax
    arm(transfer.deadline)
    let slot = transfers.insert(transfer)
    transferSlots[key] = slot
    return slot
  }

  /// Says which fragments have come. One that still lies in the batch is brought up to date instead
  /// of adding another, so a run of fragments costs one.
  private mutating func acknowledgeRequest(_ slot: Int, echo: UInt32) {
    let transfer = transfers.pointer(at: slot)
    let header = DatagramHeader(
      kind: .requestAck, index: UInt16(transfer.pointee.reassembly.leadingCount),
      count: UInt16(transfer.pointee.reassembly.fragmentCount), id: transfer.pointee.key.id,
      messageByteCount: transfer.pointee.reassembly.instance, echo: echo)
    putAck(
      header, transfer.pointee.reassembly.acknowledgement, to: transfer.pointee.key.endpoint,
      &transfer.pointee.ackPlace)
  }

  /// Puts an acknowledgement out; see `OutgoingDatagrams.putAck`.
  mutating func putAck(
    _ header: DatagramHeader, _ bitmap: UnsafeRawBufferPointer, to endpoint: Endpoint,
    _ place: inout AckPlace
  ) {
    guard outgoing.byteCount < options.outgoingByteCountMax else {
      counters.unsent += 1
      return
    }
    let countBefore = outgoing.count
    let added = outgoing.putAck(header, bitmap, to: endpoint, &place)
    counters.sent += UInt64(outgoing.count - countBefore)
    counters.sentBytes = UInt64(Int(counters.sentBytes) + added)
  }

  // MARK: Replies

  /// Sends a reply that takes several datagrams or answers a request that did.
  mutating func startReply(
    _ bytes: UnsafeRawBufferPointer, _ exchange: Exchange, stride: Int, at now: Instant
  ) {
    let key = TransferKey(exchange.endpoint, exchange.id)
    // The answer to a repetition of the request: the first answer is under way.
    if exchange.transfer < 0, transferSlots[key] != nil { return }
    let hasRoom = replyByteCount + bytes.count <= options.replyByteCountMax
    guard hasRoom, exchange.transfer >= 0 || makeRoomForTransfer() else {
      counters.repliesLost += 1
      if exchange.transfer >= 0 { removeTransfer(exchange.transfer) }
      return
    }
    var slot = exchange.transfer
    if slot < 0 {
      slot = transfers.insert(
        Transfer(key, phase: .sending, congestion: freshCongestion(key.endpoint)))
      transferSlots[key] = slot
    }
    replyByteCount += bytes.count
    let transfer = transfers.pointer(at: slot)
    transfer.pointee.phase = .sending
    transfer.pointee.sender = MessageSender(bytes, stride: stride)
    pumpReply(slot, at: now)
  }

  /// Sends what the window allows.
  private mutating func pumpReply(_ slot: Int, at now: Instant) {
    let transfer = transfers.pointer(at: slot)
    var header = DatagramHeader(
      kind: .reply, flags: .wantsAck, id: transfer.pointee.key.id, echo: now.echo)
    // The same number for all fragments of this reply, another for a reply made again.
    header.token = UInt64(UInt(bitPattern: slot)) << 32 | UInt64(transfers.generation(of: slot))
    header.token ^= replyInstanceBase
    while let fragment = transfer.pointee.sender.next(transfer.pointee.congestion) {
      transfer.pointee.sender.describe(fragment.index, in: &header)
      put(
        header, payload: transfer.pointee.sender.payload(fragment.index),
        to: transfer.pointee.key.endpoint)
      if fragment.isRepeated { counters.retransmitted += 1 }
      transfer.pointee.sender.sent(fragment, &transfer.pointee.congestion, at: now)
    }
    arm(transfer.pointee.congestion.timer)
  }

  mutating func handleReplyAck(
    _ header: DatagramHeader, _ bitmap: UnsafeRawBufferPointer, from source: Endpoint,
    isTrusted: Bool, at now: Instant
  ) {
    guard isTrusted || cookies.accepts(header.token, from: source, at: now) else {
      counters.strange += 1
      return
    }
    guard let slot = transferSlots[TransferKey(source, header.id)] else {
      counters.stray += 1
      return
    }
    let transfer = transfers.pointer(at: slot)
    guard transfer.pointee.phase == .sending else {
      if transfer.pointee.phase == .lingering {
        counters.repeated += 1
      } else {
        counters.stray += 1
      }
      return
    }
    let isOurs = transfer.pointee.sender.acknowledge(
      header, bitmap: bitmap, &transfer.pointee.congestion, at: now)
    guard isOurs else {
      counters.stray += 1
      return
    }
    counters.accepted += 1
    if transfer.pointee.sender.isComplete {
      linger(slot, at: now)
    } else {
      transfer.pointee.sender.findLost(&transfer.pointee.congestion, at: now)
      pumpReply(slot, at: now)
    }
  }

  private mutating func linger(_ slot: Int, at now: Instant) {
    let transfer = transfers.pointer(at: slot)
    replyByteCount -= transfer.pointee.sender.byteCount
    transfer.pointee.sender = MessageSender()
    transfer.pointee.phase = .lingering
    transfer.pointee.deadline = now + options.lingerTimeout
    arm(transfer.pointee.deadline)
  }

  // MARK: Time and room

  mutating func wakeTransfer(_ slot: Int, at now: Instant) {
    let transfer = transfers.pointer(at: slot)
    if transfer.pointee.phase == .sending {
      if transfer.pointee.congestion.timer <= now { repeatReply(slot, at: now) }
      if transfers.isOccupied(slot) { arm(transfer.pointee.congestion.timer) }
    } else if transfer.pointee.deadline <= now {
      if transfer.pointee.phase == .receiving { counters.reassembliesExpired += 1 }
      removeTransfer(slot)
    } else {
      arm(transfer.pointee.deadline)
    }
  }

  private mutating func repeatReply(_ slot: Int, at now: Instant) {
    let transfer = transfers.pointer(at: slot)
    guard transfer.pointee.congestion.backoffs < options.retransmissionCountMax else {
      counters.repliesLost += 1
      removeTransfer(slot)
      return
    }
    transfer.pointee.sender.forgetFlights(&transfer.pointee.congestion)
    transfer.pointee.congestion.timedOut()
    pumpReply(slot, at: now)
  }

  /// Forgets a transfer and what it holds. A whole request that lies among the events stays there.
  mutating func removeTransfer(_ slot: Int) {
    let transfer = transfers.remove(at: slot)
    transferSlots[transfer.key] = nil
    if transfer.phase == .receiving { reassemblyByteCount -= transfer.reassembly.byteCount }
    if transfer.phase == .sending { replyByteCount -= transfer.sender.byteCount }
  }

  private func freshCongestion(_ endpoint: Endpoint) -> Congestion {
    let unit = options.byteCountMax(for: endpoint) - DatagramHeader.byteCount
    return Congestion(roundTrip: RoundTrip(options), unit: unit, options: options)
  }

  /// True when a transfer can be added, for which the oldest lingering one may have to go.
  private mutating func makeRoomForTransfer() -> Bool {
    guard transfers.isFull else { return true }
    var oldest = -1
    for slot in 0..<transfers.usedSlotCount {
      let transfer = transfers.pointer(at: slot)
      guard transfer.pointee.phase == .lingering else { continue }
      if oldest < 0 || transfer.pointee.deadline < transfers.pointer(at: oldest).pointee.deadline {
        oldest = slot
      }
    }
    guard oldest >= 0 else { return false }
    removeTransfer(oldest)
    return true
  }

  /// True while an address holds less than half of the transfers and of the bytes of reassembly.
  /// Below half in all there is nothing to look for.
  private func isWithinShare(_ endpoint: Endpoint, _ byteCount: Int) -> Bool {
    let (countMax, byteCountMax) = (transfers.capacity / 2, options.reassemblyByteCountMax / 2)
    if transfers.count < countMax && reassemblyByteCount + byteCount <= byteCountMax { return true }
    var (heldCount, heldByteCount) = (0, byteCount)
    for slot in 0..<transfers.usedSlotCount where transfers.isOccupied(slot) {
      let transfer = transfers.pointer(at: slot)
      let other = transfer.pointee.key.endpoint
      guard other.high == endpoint.high && other.low == endpoint.low,
        transfer.pointee.phase != .lingering
      else { continue }
      heldCount += 1
      if transfer.pointee.phase == .receiving {
        heldByteCount += transfer.pointee.reassembly.byteCount
      }
    }
    return heldCount < countMax && heldByteCount <= byteCountMax
  }
}
