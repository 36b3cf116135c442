public import Base
internal import Glibc

// Links with other nodes: opened by us or accepted, frames both ways.
extension SocketTransport {
  /// Opens a peer link over TCP, or over UDP where the options say so.
  public mutating func connect(to endpoint: Endpoint, at now: Moment) -> LinkID {
    if options.peersUseDatagrams { return connectDatagrams(to: endpoint, at: now) }
    let link = table.open()
    let slot = table.find(opened: link)
    slot.pointee.state = .connecting
    peerLinkCount += 1
    slot.pointee.endpoint = endpoint
    slot.pointee.since = now.instant
    startSweeping(at: now.instant)
    guard let descriptor = try? Syscalls.socket(family: endpoint.family, datagram: false) else {
      end(link, slot, .refused)
      return link
    }
    slot.pointee.descriptor = descriptor.release()
    try? Syscalls.prepareStream(slot.pointee.descriptor, keepaliveIdle: options.keepaliveIdle)
    let code = Syscalls.connect(slot.pointee.descriptor, to: SocketAddress(endpoint))
    guard code == 0 || code == EINPROGRESS else {
      end(link, slot, .refused)
      return link
    }
    slot.pointee.flags.insert(.watchesOutput)
    _ = watch(link, slot, for: [.input, .output, .finished, .edge])
    return link
  }

  /// Finds out what became of a connection that we are opening.
  mutating func finishConnecting(
    _ link: LinkID, _ slot: UnsafeMutablePointer<LinkSlot>, at now: Moment
  ) -> TransportEvent? {
    let flags = slot.pointee.flags
    guard !flags.isDisjoint(with: [.writable, .hungUp]) else { return nil }
    guard Syscalls.pendingError(of: slot.pointee.descriptor) == 0, !flags.contains(.hungUp) else {
      end(link, slot, .refused)
      return nil
    }
    becomePeer(slot)
    again = link.raw
    return .opened(link, .peer, slot.pointee.endpoint)
  }

  /// Gives a link what it needs to receive frames.
  func becomePeer(_ slot: UnsafeMutablePointer<LinkSlot>) {
    let frames = UnsafeMutablePointer<StreamLink>.allocate(capacity: 1)
    let most = options.strangerMessageByteCountMax ?? options.messageByteCountMax
    frames.initialize(to: StreamLink(messageByteCountMax: most))
    slot.pointee.frames = frames
    slot.pointee.state = .peer
  }

  /// Takes messages of any size from a peer over TCP. Over UDP what is put together is bounded for
  /// all together.
  public mutating func trust(_ link: LinkID) {
    table.find(link)?.pointee.frames?.pointee.allow(options.messageByteCountMax)
  }

  // MARK: In

  /// Gives out the next whole message, reading once if there is none.
  mutating func readPeer(_ link: LinkID, into buffer: inout ByteBuffer, at now: Moment)
    -> TransportEvent?
  {
    guard let slot = table.find(link), let frames = slot.pointee.frames else { return nil }
    guard slot.pointee.flags.isDisjoint(with: [.paused, .closing]) else { return nil }
    var hasRead = false
    while true {
      switch frames.pointee.next(into: &buffer) {
      case .message:
        again = link.raw
        return .received(link)
      case .violation(let fault):
        counters.badFrames += 1
        let endpoint = slot.pointee.endpoint
        end(link, slot, .reset)
        if mayComplain(at: now.instant) {
          report("closed peer link \(endpoint): bad frame (\(fault))")
        }
        return nil
      case .incomplete:
        if hasRead || !mayRead(slot) { return nil }
        hasRead = true
        let place = frames.pointee.space(Self.readByteCountMax)
        let count = Syscalls.receive(slot.pointee.descriptor, into: place, Self.readByteCountMax)
        frames.pointee.filled(max(count, 0), of: Self.readByteCountMax)
        guard count > 0 else { return readNothing(link, slot, count) }
        noteReceived(link, slot, count, isMore: count == Self.readByteCountMax, at: now)
      }
    }
  }

  // MARK: Out

  /// Keeps one message as a frame until `flush`: what a turn has to say to a peer leaves in one
  /// write, and wakes it once.
  mutating func sendMessage(
    _ bytes: UnsafeRawBufferPointer, on link: LinkID, _ slot: UnsafeMutablePointer<LinkSlot>,
    at now: Moment
  ) -> SendOutcome {
    if bytes.count > options.messageByteCountMax { return .tooLarge }
    if slot.pointee.flags.contains(.closing) { return .gone }
    if slot.pointee.output.isEmpty, slot.pointee.state == .peer { unwritten.append(link) }
    let outcome = Frame.header(of: bytes).withBytes {
      keep($0, of: link, slot, at: now.instant)
    }
    guard case .queued = outcome, case .queued = keep(bytes, of: link, slot, at: now.instant) else {
      return .gone
    }
    return .queued
  }

  /// Writes what was kept for peers.
  mutating func writeToPeers(at now: Moment) {
    guard !unwritten.isEmpty else { return }
    for link in unwritten {
      // It may have been written already, or have ended.
      guard let slot = table.find(link) else { continue }
      writeMore(link, slot, at: now, isFirst: true)
    }
    unwritten.removeAll(keepingCapacity: true)
  }
}
