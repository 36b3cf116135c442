internal import Base
internal import Glibc

// Connections that come in: accepted in batches, told apart by their first byte.
extension SocketTransport {
  /// Accepted from one listener in one visit at most; the rest in the next turn.
  private static var acceptCountMax: Int { 64 }

  /// Takes waiting connections.
  mutating func accept(from index: Int, at now: Moment) {
    guard index < listeners.count else { return }
    let listener = listeners[index].descriptor
    var address = SocketAddress()
    for _ in 0..<Self.acceptCountMax {
      let result = Syscalls.accept(listener, from: &address)
      if result >= 0 {
        welcome(result, address, at: now)
      } else if result == -EAGAIN {
        return
      } else if result == -EMFILE || result == -ENFILE || result == -ENOMEM || result == -ENOBUFS {
        counters.acceptFailures += 1
        pauseAccepting(code: -result, at: now.instant)
        return
      } else {
        // The connection failed before it was accepted; others may be behind it.
        counters.acceptFailures += 1
      }
    }
  }

  /// Puts an accepted connection into the table, or turns it away.
  private mutating func welcome(_ descriptor: Int32, _ address: SocketAddress, at now: Moment) {
    let isSpare = table.openCount - peerLinkCount >= options.connectionCountMax
    guard let endpoint = address.endpoint,
      table.openCount < options.connectionCountMax + options.peerConnectionCountMax
    else { return refuse(descriptor, at: now.instant) }
    let link = table.open()
    let slot = table.find(opened: link)
    slot.pointee.descriptor = descriptor
    slot.pointee.state = .fresh
    slot.pointee.endpoint = endpoint
    slot.pointee.lastReceived = now.instant
    if isSpare { slot.pointee.flags.insert(.spare) }
    guard watch(link, slot, for: [.input, .finished, .edge]) else { return }
    counters.accepted += 1
    if isSpare || options.firstByteTimeout != .zero || options.idleTimeout != .zero {
      startSweeping(at: now.instant)
    }
  }

  private mutating func refuse(_ descriptor: Int32, at now: Instant) {
    sayFull(to: descriptor, at: now)
    Syscalls.close(descriptor)
  }

  /// Tells a client that there is no place for it.
  mutating func sayFull(to descriptor: Int32, at now: Instant) {
    counters.refused += 1
    var text = ByteBuffer(capacity: 64)
    text.append("-ERR max number of clients reached\r\n")
    _ = Syscalls.send(descriptor, text.bytes)
    guard mayComplain(at: now) else { return }
    report("refused a connection: there are \(options.connectionCountMax) already")
  }

  /// Begins to watch a link's socket; false when the kernel has no room and the link was dropped.
  mutating func watch(
    _ link: LinkID, _ slot: UnsafeMutablePointer<LinkSlot>, for interest: Readiness
  ) -> Bool {
    do {
      try poller.add(slot.pointee.descriptor, for: interest, tag: link.raw)
      return true
    } catch {
      counters.acceptFailures += 1
      end(link, slot, .refused)
      return false
    }
  }

  // MARK: No descriptors left

  /// Stops watching the listeners for a moment: a connection that cannot be accepted stays ready,
  /// and would make every wait return at once.
  private mutating func pauseAccepting(code: Int32, at now: Instant) {
    for (index, listener) in listeners.enumerated() {
      poller.change(listener.descriptor, for: [], tag: Tag.listener(index))
    }
    acceptResume = now + .millis(100)
    guard mayComplain(at: now) else { return }
    report("cannot accept connections: \(SystemError("accept4", code: code).reason)")
  }

  mutating func resumeAccepting() {
    acceptResume = .never
    for (index, listener) in listeners.enumerated() {
      poller.change(listener.descriptor, for: .input, tag: Tag.listener(index))
    }
  }

  // MARK: The first byte

  /// Looks at the first byte of a connection, without taking it, and tells the loop what it is.
  mutating func greet(_ link: LinkID, _ slot: UnsafeMutablePointer<LinkSlot>, at now: Moment)
    -> TransportEvent?
  {
    var first: UInt8 = 0
    let count = Syscalls.peek(slot.pointee.descriptor, &first)
    if count == -Int(EAGAIN) { return nil }
    guard count > 0 else {
      end(link, slot, .closed)
      return nil
    }
    let endpoint = slot.pointee.endpoint
    if first == Self.tlsFirstByte {
      counters.tlsHellos += 1
      end(link, slot, .reset)
      if mayComplain(at: now.instant) {
        report("\(endpoint) began with TLS, which is not supported: closed")
      }
      return nil
    }
    guard first == Frame.firstByte else {
      if slot.pointee.flags.contains(.spare),
        table.openCount - peerLinkCount > options.connectionCountMax
      {
        sayFull(to: slot.pointee.descriptor, at: now.instant)
        linger(link, slot, at: now.instant)
        return nil
      }
      again = link.raw
      slot.pointee.state = .stream
      return .opened(link, .stream, endpoint)
    }
    again = link.raw
    peerLinkCount += 1
    becomePeer(slot)
    return .opened(link, .peer, endpoint)
  }

  /// The first byte of a TLS hello.
  private static var tlsFirstByte: UInt8 { 0x16 }

  /// True when what somebody else did wrong may be reported: at most once a second, so that nobody
  /// fills the log.
  mutating func mayComplain(at now: Instant) -> Bool {
    guard lastComplaint == .zero || now - lastComplaint >= .seconds(1) else { return false }
    lastComplaint = now
    return true
  }
}

extension Syscalls {
  /// Looks at the next byte of a socket: 1, 0 at the end, or the negated errno.
  static func peek(_ descriptor: Int32, _ byte: inout UInt8) -> Int {
    while true {
      let result = Glibc.recv(descriptor, &byte, 1, Int32(MSG_PEEK))
      if result >= 0 { return result }
      if errno != EINTR { return -Int(errno) }
    }
  }
}
