public import Base

// One turn: `wait` gathers who may have something, `next` visits each of them once.
extension SocketTransport: Transport {
  /// The largest message of peers and exchanges alike.
  public var messageByteCountMax: Int {
    min(options.messageByteCountMax, options.datagrams.messageByteCountMax)
  }

  /// The largest message of peers.
  public var peerMessageByteCountMax: Int {
    options.peersUseDatagrams
      ? options.datagrams.messageByteCountMax : options.messageByteCountMax
  }

  /// When timeouts are looked at next.
  public var deadline: Instant { min(core.deadline, min(nextSweep, acceptResume)) }

  /// Waits for events; does not wait when there is work left.
  public mutating func wait(until deadline: Instant) -> Moment {
    if isHeldBack {
      let count = wakerPoller.wait(until: min(deadline, self.deadline))
      for index in 0..<count where wakerPoller.event(index).tag == Poller.timerTag {
        wakerPoller.timerWentOff()
      }
    } else {
      gather(until: hasWork ? .zero : min(deadline, self.deadline))
    }
    let now = systemMoment()
    if core.deadline <= now.instant { core.wake(at: now.instant) }
    if nextSweep <= now.instant { sweep(at: now.instant) }
    if acceptResume <= now.instant { resumeAccepting() }
    visitsLeft = ready.count
    return now
  }

  /// Waits for events and puts who has one into the queue.
  private mutating func gather(until deadline: Instant) {
    let count = poller.wait(until: deadline)
    for index in 0..<count {
      let event = poller.event(index)
      note(event.tag, event.readiness)
    }
  }

  /// Leaves events in the kernel until told otherwise.
  public mutating func holdBack(_ isHeldBack: Bool) { self.isHeldBack = isHeldBack }

  /// True when `next` has something to do without a wait.
  private var hasWork: Bool {
    !ready.isEmpty || !notices.isEmpty || again != 0 || core.hasEvents || !batch.isEmpty
  }

  /// Puts who has an event into the queue, once.
  private mutating func note(_ tag: UInt64, _ readiness: Readiness) {
    guard Tag.isLink(tag) else {
      if tag == Poller.timerTag {
        poller.timerWentOff()
      } else if tag != Tag.waker {
        enqueue(socket: tag)
      }
      return
    }
    guard let slot = table.find(LinkID(raw: tag)) else { return }
    if readiness.contains(.output) { slot.pointee.flags.insert(.writable) }
    if !readiness.isDisjoint(with: [.input, .finished, .hungUp, .failed]) {
      slot.pointee.flags.insert(.readable)
      if !readiness.isDisjoint(with: [.finished, .hungUp, .failed]) {
        slot.pointee.flags.insert(.finished)
        if !readiness.isDisjoint(with: [.hungUp, .failed]) { slot.pointee.flags.insert(.hungUp) }
      }
    }
    enqueue(slot, tag)
  }

  /// Has a listener or a port visited when its turn comes.
  mutating func enqueue(socket tag: UInt64) {
    if queuedSockets.contains(tag) { return }
    queuedSockets.append(tag)
    ready.append(tag)
  }

  /// Has a link visited when its turn comes.
  mutating func enqueue(_ slot: UnsafeMutablePointer<LinkSlot>, _ tag: UInt64) {
    if slot.pointee.flags.contains(.queued) { return }
    slot.pointee.flags.insert(.queued)
    ready.append(tag)
  }

  /// The next event; nil when everybody who had something at the `wait` was visited once.
  public mutating func next(into buffer: inout ByteBuffer, at now: Moment) -> TransportEvent? {
    while true {
      if let notice = notices.popFirst() {
        buffer.removeAll()
        return notice
      }
      if core.hasEvents || !batch.isEmpty {
        if let event = nextDatagramEvent(into: &buffer, at: now) { return event }
      }
      if again != 0 {
        let tag = again
        again = 0
        if let event = visit(LinkID(raw: tag), into: &buffer, at: now) { return event }
        continue
      }
      guard visitsLeft > 0, let tag = ready.popFirst() else { return nil }
      visitsLeft -= 1
      if Tag.isLink(tag) {
        let link = LinkID(raw: tag)
        table.find(link)?.pointee.flags.remove(.queued)
        if let event = visit(link, into: &buffer, at: now) { return event }
        continue
      }
      queuedSockets.removeAll { $0 == tag }
      if Tag.isListener(tag) {
        accept(from: Tag.index(tag), at: now)
      } else {
        receiveDatagrams(from: Tag.index(tag))
      }
    }
  }

  /// Does what a link is ready for.
  private mutating func visit(_ link: LinkID, into buffer: inout ByteBuffer, at now: Moment)
    -> TransportEvent?
  {
    guard let slot = table.find(link) else { return nil }
    switch slot.pointee.state {
    case .stream:
      if slot.pointee.flags.contains(.writable) { writeMore(link, slot, at: now) }
      return readStream(link, into: &buffer, at: now)
    case .peer:
      if slot.pointee.flags.contains(.writable) { writeMore(link, slot, at: now) }
      return readPeer(link, into: &buffer, at: now)
    case .fresh:
      return greet(link, slot, at: now)
    case .connecting:
      return finishConnecting(link, slot, at: now)
    case .lingering:
      discardInput(link, slot)
      return nil
    case .free:
      return nil
    }
  }

  /// Sends the turn's datagrams.
  public mutating func flush(at now: Moment) {
    writeToPeers(at: now)
    if !core.outgoing.isEmpty { sendDatagrams() }
  }

  /// Closes the listening sockets, and connections that have not said anything yet; datagrams of
  /// what is open still come and go.
  public mutating func stopListening() {
    guard isListening else { return }
    isListening = false
    for listener in listeners { Syscalls.close(listener.descriptor) }
    listeners = []
    acceptResume = .never
    core.stopListening()
    for index in 0..<table.usedCount {
      guard let link = table.link(at: index), let slot = table.find(link) else { continue }
      if slot.pointee.state == .fresh { end(link, slot, .closed) }
    }
  }

  // MARK: Timeouts

  /// Has timeouts looked at from now on. Called when something begins that may run out.
  mutating func startSweeping(at now: Instant) {
    if nextSweep == .never { nextSweep = now + options.sweepInterval }
  }

  /// Ends what has run out; goes on as long as anything can.
  private mutating func sweep(at now: Instant) {
    var canRunOut = false
    for index in 0..<table.usedCount {
      guard let link = table.link(at: index), let slot = table.find(link) else { continue }
      guard let limit = timeLimit(of: slot) else { continue }
      canRunOut = true
      guard limit <= now else { continue }
      counters.closedByTimeout += 1
      if slot.pointee.state == .fresh, slot.pointee.flags.contains(.spare) {
        sayFull(to: slot.pointee.descriptor, at: now)
      }
      end(link, slot, slot.pointee.state == .connecting ? .refused : .timeout)
    }
    nextSweep = canRunOut ? now + options.sweepInterval : .never
  }

  /// When a link ends if nothing happens; nil while nothing can run out.
  private func timeLimit(of slot: UnsafeMutablePointer<LinkSlot>) -> Instant? {
    switch slot.pointee.state {
    case .free:
      return nil
    case .connecting:
      return slot.pointee.since + options.connectTimeout
    case .lingering:
      return slot.pointee.since + options.lingerTimeout
    case .fresh:
      let isSpare = slot.pointee.flags.contains(.spare)
      let limit = isSpare ? options.spareTimeout : options.firstByteTimeout
      return limit == .zero ? nil : slot.pointee.lastReceived + limit
    case .stream, .peer:
      if !slot.pointee.output.isEmpty { return slot.pointee.since + options.writeTimeout }
      let limit = options.idleTimeout
      let isExempt = limit == .zero || slot.pointee.state == .peer
      return isExempt ? nil : slot.pointee.lastReceived + limit
    }
  }
}
