public import Base
internal import CLinux
internal import Glibc

// Bytes in and out of links over TCP, and their end.
extension SocketTransport {
  /// Bytes read from a stream at a time; how much one link may hold the turn up.
  static var readByteCountMax: Int { 64 << 10 }

  // MARK: In

  /// Reads what a client has sent straight into the loop's buffer.
  @inline(__always)
  mutating func readStream(_ link: LinkID, into buffer: inout ByteBuffer, at now: Moment)
    -> TransportEvent?
  {
    guard let slot = table.find(link), mayRead(slot) else { return nil }
    buffer.removeAll()
    let place = buffer.extend(Self.readByteCountMax)
    let count = Syscalls.receive(slot.pointee.descriptor, into: place, Self.readByteCountMax)
    guard count > 0 else {
      buffer.removeAll()
      return readNothing(link, slot, count)
    }
    buffer.truncate(to: count)
    noteReceived(link, slot, count, isMore: count == Self.readByteCountMax, at: now)
    return .received(link)
  }

  /// True when there may be something to read and it is wanted.
  @inline(__always)
  func mayRead(_ slot: UnsafeMutablePointer<LinkSlot>) -> Bool {
    let flags = slot.pointee.flags
    if flags.isDisjoint(with: [.paused, .throttled, .ended, .closing]) {
      return flags.contains(.readable)
    }
    return false
  }

  /// Books received bytes. A short read has emptied the socket, unless its end is behind them.
  @inline(__always)
  mutating func noteReceived(
    _ link: LinkID, _ slot: UnsafeMutablePointer<LinkSlot>, _ count: Int, isMore: Bool,
    at now: Moment
  ) {
    counters.bytesReceived &+= UInt64(count)
    slot.pointee.lastReceived = now.instant
    if isMore || slot.pointee.flags.contains(.finished) {
      enqueue(slot, link.raw)
    } else {
      slot.pointee.flags.remove(.readable)
    }
  }

  /// What a read without bytes means: the end (0), nothing there, or a failure (negated errno).
  @inline(never)
  mutating func readNothing(
    _ link: LinkID, _ slot: UnsafeMutablePointer<LinkSlot>, _ result: Int
  ) -> TransportEvent? {
    slot.pointee.flags.remove(.readable)
    if result == -Int(EAGAIN) { return nil }
    let isStream = slot.pointee.state == .stream
    if result == 0, isStream, !slot.pointee.flags.contains(.hungUp) {
      slot.pointee.flags.insert(.ended)
      return .ended(link)
    }
    end(link, slot, result == 0 ? .closed : Self.linkEnd(for: Int32(-result)))
    return nil
  }

  /// How a failed call on a link is told to its owner.
  private static func linkEnd(for code: Int32) -> LinkEnd {
    code == ETIMEDOUT || code == EHOSTUNREACH ? .timeout : .reset
  }

  /// Stops or resumes the reading of a link.
  public mutating func setReading(_ enabled: Bool, on link: LinkID) {
    guard let slot = table.find(link) else { return }
    if enabled {
      slot.pointee.flags.remove(.paused)
      if slot.pointee.flags.contains(.readable) { enqueue(slot, link.raw) }
    } else {
      slot.pointee.flags.insert(.paused)
    }
  }

  // MARK: Out

  /// Writes at once what the kernel takes; the rest is kept.
  public mutating func send(
    _ bytes: UnsafeRawBufferPointer, on link: LinkID, at now: Moment
  ) -> SendOutcome {
    guard let slot = table.find(link) else {
      guard link.slot >= Self.datagramSlotBase else { return .gone }
      return core.send(bytes, on: link, at: now.instant)
    }
    switch slot.pointee.state {
    case .stream: break
    case .peer, .connecting: return sendMessage(bytes, on: link, slot, at: now)
    case .free, .fresh, .lingering: return .gone
    }
    if slot.pointee.flags.contains(.closing) { return .gone }
    if bytes.isEmpty { return .queued }
    var written = 0
    if slot.pointee.output.isEmpty {
      written = Syscalls.send(slot.pointee.descriptor, bytes)
      if written == bytes.count {
        counters.bytesSent &+= UInt64(written)
        return .queued
      }
      if written < 0 {
        guard written == -Int(EAGAIN) else { return fail(link, slot, Int32(-written)) }
        written = 0
      }
      counters.bytesSent &+= UInt64(written)
    }
    let rest = UnsafeRawBufferPointer(rebasing: bytes[written...])
    return keep(rest, of: link, slot, at: now.instant)
  }

  private mutating func fail(
    _ link: LinkID, _ slot: UnsafeMutablePointer<LinkSlot>, _ code: Int32
  ) -> SendOutcome {
    end(link, slot, Self.linkEnd(for: code))
    return .gone
  }

  /// Keeps what the kernel did not take, within the bounds.
  @inline(never)
  mutating func keep(
    _ bytes: UnsafeRawBufferPointer, of link: LinkID, _ slot: UnsafeMutablePointer<LinkSlot>,
    at now: Instant
  ) -> SendOutcome {
    if slot.pointee.output.isEmpty {
      slot.pointee.since = now
      startSweeping(at: now)
      watchOutput(link, slot)
    }
    slot.pointee.output.append(bytes, &pool)
    pendingOutputByteCount += bytes.count
    if slot.pointee.output.byteCount > options.linkOutputByteCountMax {
      slot.pointee.flags.insert(.throttled)
    }
    while pendingOutputByteCount > options.outputByteCountMax { endWorst() }
    return table.find(link) == nil ? .gone : .queued
  }

  /// From its first pending output on, a link is watched for room.
  private func watchOutput(_ link: LinkID, _ slot: UnsafeMutablePointer<LinkSlot>) {
    guard !slot.pointee.flags.contains(.watchesOutput) else { return }
    slot.pointee.flags.insert(.watchesOutput)
    poller.change(
      slot.pointee.descriptor, for: [.input, .output, .finished, .edge], tag: link.raw)
  }

  /// Closes the link with the most pending output.
  private mutating func endWorst() {
    var worst: LinkID?
    var most = 0
    for index in 0..<table.usedCount {
      guard let link = table.link(at: index), let slot = table.find(link) else { continue }
      if slot.pointee.output.byteCount > most {
        most = slot.pointee.output.byteCount
        worst = link
      }
    }
    guard let worst, let slot = table.find(worst) else {
      invariantFailed("pending output belongs to a link")
    }
    counters.closedByOverflow += 1
    report("closed \(slot.pointee.endpoint): \(most) bytes of replies that it does not read")
    end(worst, slot, .overflow)
  }

  /// Writes pending output now that the kernel may take some. `isFirst`: the kernel was not asked
  /// before, so nobody was told that there is none to be had.
  mutating func writeMore(
    _ link: LinkID, _ slot: UnsafeMutablePointer<LinkSlot>, at now: Moment, isFirst: Bool = false
  ) {
    slot.pointee.flags.remove(.writable)
    guard !slot.pointee.output.isEmpty else { return }
    var left = Self.writeByteCountMax
    while !slot.pointee.output.isEmpty {
      if left <= 0 {
        // Others first; the kernel would not tell us again that there is room.
        slot.pointee.flags.insert(.writable)
        enqueue(slot, link.raw)
        break
      }
      let count = Syscalls.send(slot.pointee.descriptor, slot.pointee.output)
      if count == -Int(EAGAIN) { break }
      guard count >= 0 else {
        end(link, slot, Self.linkEnd(for: Int32(-count)))
        return
      }
      left -= count
      counters.bytesSent &+= UInt64(count)
      pendingOutputByteCount -= count
      slot.pointee.output.consume(count, &pool)
      slot.pointee.since = now.instant
    }
    noteWritten(link, slot, at: now.instant, isFirst: isFirst)
  }

  /// Bytes written to one link before others have their turn.
  private static var writeByteCountMax: Int { 4 << 20 }

  /// What less or no pending output makes possible: reading again, being drained, closing.
  private mutating func noteWritten(
    _ link: LinkID, _ slot: UnsafeMutablePointer<LinkSlot>, at now: Instant, isFirst: Bool
  ) {
    if slot.pointee.flags.contains(.throttled),
      slot.pointee.output.byteCount <= options.linkOutputByteCountMax
    {
      slot.pointee.flags.remove(.throttled)
      if slot.pointee.flags.contains(.readable) { enqueue(slot, link.raw) }
    }
    guard slot.pointee.output.isEmpty else { return }
    if slot.pointee.flags.contains(.closing) {
      finish(link, slot, at: now)
    } else if !isFirst {
      notices.append(.drained(link))
    }
  }

  /// Bytes of a link taken and not yet written.
  public func pendingByteCount(of link: LinkID) -> Int {
    if let slot = table.find(link) { return slot.pointee.output.byteCount }
    return link.slot >= Self.datagramSlotBase ? core.pendingByteCount(of: link) : 0
  }

  // MARK: The end

  /// Ends a link, at once or when its output has left.
  public mutating func close(_ link: LinkID, afterFlush: Bool, at now: Moment) {
    guard let slot = table.find(link) else {
      guard link.slot >= Self.datagramSlotBase else { return }
      core.close(link, at: now.instant)
      return
    }
    switch slot.pointee.state {
    case .free, .fresh, .lingering:
      return
    case .connecting, .stream, .peer:
      if !afterFlush || slot.pointee.state == .connecting {
        end(link, slot, .closed)
      } else if slot.pointee.output.isEmpty {
        finish(link, slot, at: now.instant)
      } else {
        slot.pointee.flags.insert(.closing)
      }
    }
  }

  /// Closes a link whose output has left. If the other side has not finished, it is heard out
  /// first: a reset for what it still sends would take the last reply away from it.
  private mutating func finish(
    _ link: LinkID, _ slot: UnsafeMutablePointer<LinkSlot>, at now: Instant
  ) {
    if !slot.pointee.flags.isDisjoint(with: [.ended, .hungUp]) {
      end(link, slot, .closed)
      return
    }
    notices.append(.closed(link, .closed))
    linger(link, slot, at: now)
  }

  /// Says that nothing more is sent, and hears the other side out.
  mutating func linger(
    _ link: LinkID, _ slot: UnsafeMutablePointer<LinkSlot>, at now: Instant
  ) {
    slot.pointee.state = .lingering
    slot.pointee.since = now
    startSweeping(at: now)
    _ = shutdown(slot.pointee.descriptor, Int32(SHUT_WR))
    slot.pointee.flags.insert(.readable)
    enqueue(slot, link.raw)
  }

  /// Throws away what comes after our last word.
  mutating func discardInput(_ link: LinkID, _ slot: UnsafeMutablePointer<LinkSlot>) {
    let count = Syscalls.discard(slot.pointee.descriptor, 16 << 20)
    if count == -Int(EAGAIN) { return }
    if count > 0 { enqueue(slot, link.raw) } else { end(link, slot, .closed) }
  }

  /// Closes the socket, frees the slot, and tells the owner if it knows the link.
  mutating func end(
    _ link: LinkID, _ slot: UnsafeMutablePointer<LinkSlot>, _ reason: LinkEnd
  ) {
    switch slot.pointee.state {
    case .connecting, .stream, .peer: notices.append(.closed(link, reason))
    case .free, .fresh, .lingering: break
    }
    if slot.pointee.state == .connecting || slot.pointee.frames != nil { peerLinkCount -= 1 }
    pendingOutputByteCount -= slot.pointee.output.byteCount
    slot.pointee.output.clear(&pool)
    Self.giveBack(slot)
    table.release(link)
  }

  /// Gives back the socket and the frames of a slot.
  static func giveBack(_ slot: UnsafeMutablePointer<LinkSlot>) {
    if slot.pointee.descriptor >= 0 { Syscalls.close(slot.pointee.descriptor) }
    if let frames = slot.pointee.frames {
      frames.deinitialize(count: 1)
      frames.deallocate()
    }
  }
}

extension Syscalls {
  /// Writes the front of a queue, without SIGPIPE: the count, or the negated errno.
  static func send(_ descriptor: Int32, _ queue: OutputQueue) -> Int {
    withUnsafeTemporaryAllocation(of: iovec.self, capacity: 16) { vectors in
      var message = msghdr()
      message.msg_iov = vectors.baseAddress
      message.msg_iovlen = queue.describe(vectors.baseAddress!, countMax: 16)
      while true {
        let result = sendmsg(descriptor, &message, Int32(MSG_NOSIGNAL))
        if result >= 0 { return result }
        if errno != EINTR { return -Int(errno) }
      }
    }
  }

  /// Throws received bytes away without copying them: the count, 0 at the end, or the negated
  /// errno.
  static func discard(_ descriptor: Int32, _ byteCount: Int) -> Int {
    while true {
      let result = Glibc.recv(descriptor, nil, byteCount, Int32(MSG_TRUNC))
      if result >= 0 { return result }
      if errno != EINTR { return -Int(errno) }
    }
  }
}
