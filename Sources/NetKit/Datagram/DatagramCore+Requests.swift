import Base

/// Requests in, replies out.
extension DatagramCore {
  // MARK: Requests

  /// Takes a datagram without the header: one inline command.
  ///
  /// What does not begin with a letter is refused, because no command begins so and every reply
  /// does: two servers told that the other had asked would answer each other for ever.
  mutating func handleBare(
    _ datagram: UnsafeRawBufferPointer, from source: Endpoint, isTrusted: Bool, at now: Instant
  ) {
    let letter = datagram[0] | 0x20
    guard letter >= UInt8(ascii: "a"), letter <= UInt8(ascii: "z"),
      source.isLoopback || options.plainFrom == .anywhere
    else {
      counters.refused += 1
      return
    }
    if !isTrusted, !sources.takeStranger(from: source, at: now) {
      counters.throttled += 1
      return
    }
    let exchange = Exchange(
      endpoint: source, isPlain: true, isTrusted: isTrusted, requestByteCount: datagram.count,
      since: now)
    deliver(exchange, datagram, id: .none)
  }

  @inline(__always)
  mutating func handleRequest(
    _ header: DatagramHeader, _ payload: UnsafeRawBufferPointer, from source: Endpoint,
    isTrusted: Bool, at now: Instant
  ) {
    guard isTrusted || cookies.accepts(header.token, from: source, at: now) else {
      challenge(header, source, at: now)
      return
    }
    if header.count > 1 {
      handleFragment(header, payload, from: source, at: now)
    } else if !transfers.isEmpty, transferSlots[TransferKey(source, header.id)] != nil {
      // Its reply of several datagrams is under way, and is repeated without being asked for.
      counters.repeated += 1
    } else {
      let exchange = Exchange(
        endpoint: source, id: header.id, echo: header.echo, isTrusted: true,
        requestByteCount: payload.count, since: now)
      deliver(exchange, payload, id: header.flags.contains(.change) ? header.id : .none)
    }
  }

  /// Answers a stranger with its cookie: 48 bytes for at least as many.
  mutating func challenge(_ header: DatagramHeader, _ source: Endpoint, at now: Instant) {
    guard sources.takeStranger(from: source, at: now) else {
      counters.throttled += 1
      return
    }
    counters.strange += 1
    counters.challenged += 1
    let cookie = cookies.make(for: source, at: now)
    put(
      DatagramHeader(kind: .challenge, id: header.id, token: cookie, echo: header.echo), to: source)
  }

  @inline(__always)
  private mutating func deliver(
    _ exchange: Exchange, _ payload: UnsafeRawBufferPointer, id: OperationID
  ) {
    guard isListening, events.hasRoom(for: payload.count) else {
      counters.overloaded += 1
      return
    }
    counters.accepted += 1
    let link = open(exchange)
    events.push(
      .request(link, exchange.endpoint, id: id, plain: exchange.isPlain), payload)
  }

  /// Begins to wait for the node's answer; the oldest that waits gives way when there is no room.
  @inline(__always)
  mutating func open(_ exchange: Exchange) -> LinkID {
    if exchanges.isFull { expireExchange(exchanges.oldestSlot) }
    counters.requests += 1
    let slot = exchanges.insert(exchange)
    return LinkID(slot: slotBase + slot, generation: exchanges.generation(of: slot))
  }

  // MARK: Replies

  /// Sends the node's answer, which is not empty, and ends the exchange.
  @inline(__always)
  mutating func answer(
    _ bytes: UnsafeRawBufferPointer, slot: Int, generation: UInt32, at now: Instant
  ) -> SendOutcome {
    invariant(!bytes.isEmpty, "a reply has bytes")
    guard let found = exchanges.find(slot, generation: generation) else { return .gone }
    if found.pointee.isPlain { return answerBare(bytes, slot) }
    guard bytes.count <= options.messageByteCountMax else { return .tooLarge }
    let exchange = exchanges.remove(at: slot)
    counters.replies += 1
    let stride = options.byteCountMax(for: exchange.endpoint) - DatagramHeader.byteCount
    if exchange.transfer < 0 && bytes.count <= stride {
      let header = DatagramHeader(
        kind: .reply, id: exchange.id, messageByteCount: UInt32(truncatingIfNeeded: bytes.count),
        echo: exchange.echo)
      put(header, payload: bytes, to: exchange.endpoint)
    } else {
      startReply(bytes, exchange, stride: stride, at: now)
    }
    return .queued
  }

  private mutating func answerBare(_ bytes: UnsafeRawBufferPointer, _ slot: Int) -> SendOutcome {
    let most = options.loopbackDatagramByteCountMax
    guard bytes.count <= most else { return .tooLarge }
    let exchange = exchanges.remove(at: slot)
    counters.replies += 1
    if !exchange.isTrusted && bytes.count > exchange.requestByteCount {
      counters.plainReplies += 1
    } else if outgoing.byteCount >= options.outgoingByteCountMax {
      counters.unsent += 1
    } else if let from = bytes.baseAddress {
      outgoing.extend(bytes.count, to: exchange.endpoint)
        .copyMemory(from: from, byteCount: bytes.count)
      counters.sent += 1
      counters.sentBytes += UInt64(bytes.count)
    }
    return .queued
  }

  /// Drops a request that nobody answered.
  mutating func expireExchange(_ slot: Int) {
    counters.exchangesExpired += 1
    let exchange = exchanges.remove(at: slot)
    if exchange.transfer >= 0 { removeTransfer(exchange.transfer) }
  }
}
