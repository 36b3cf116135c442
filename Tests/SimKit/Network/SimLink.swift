import Base
import NetKit

/// The node's end of one stream or peer link.
final class SimLink: LinkEndpoint {
  let port: SimPort
  let kind: LinkKind
  let id: LinkID
  /// What this end sees as the other's address.
  let remote: Endpoint
  /// Where the other node listens.
  let listener: Endpoint
  var other: (any LinkEndpoint)?
  var reading = true {
    didSet { if reading, !oldValue { announce() } }
  }

  private var inbox: [UInt8] = []
  private var messages: [[UInt8]] = []
  private var isQueued = false
  private var inputEnds = false
  private var hasEnded = false
  private var pending = ByteBuffer()
  private var isClosing = false
  private var outward = LinkDirection()
  /// Peer links: bytes sent that the other node has not taken yet, and whether they passed the window.
  private var untakenByteCount = 0
  private var hasWaited = false
  private var network: SimNetwork { port.network }

  init(port: SimPort, kind: LinkKind, id: LinkID, remote: Endpoint, listener: Endpoint) {
    self.port = port
    self.kind = kind
    self.id = id
    self.remote = remote
    self.listener = listener
  }

  var pendingByteCount: Int { kind == .stream ? pending.count : untakenByteCount }

  // MARK: From the network

  func arrive(_ bytes: [UInt8]) {
    guard !hasEnded, port.isAlive else { return }
    if kind == .stream { inbox += bytes } else { messages.append(bytes) }
    announce()
  }

  /// The other side sends no more: told once all that it had sent has been taken.
  func endInput() {
    guard !hasEnded, !inputEnds, port.isAlive else { return }
    inputEnds = true
    if inbox.isEmpty { port.add(.ended(self)) }
  }

  /// The other side closed or was reset: told after what had arrived before.
  func end(_ end: LinkEnd) {
    guard !hasEnded, port.isAlive else { return }
    hasEnded = true
    pending.removeAll()
    port.add(.closed(self, end))
  }

  private func announce() {
    guard !isQueued, reading, !inbox.isEmpty || !messages.isEmpty else { return }
    isQueued = true
    port.add(.data(self))
  }

  /// Moves what a read returns into `buffer`; false when reading has been stopped meanwhile.
  func take(into buffer: inout ByteBuffer) -> Bool {
    isQueued = false
    guard reading, !inbox.isEmpty || !messages.isEmpty else { return false }
    if kind == .stream {
      let count = min(network.shortRead(of: inbox.count), 64 << 10)
      inbox.withUnsafeBytes { buffer.append(UnsafeRawBufferPointer(rebasing: $0[..<count])) }
      inbox.removeFirst(count)
      if inbox.isEmpty, inputEnds { port.add(.ended(self)) }
    } else {
      let message = messages.removeFirst()
      buffer.append(message)
      (other as? SimLink)?.noteTaken(message.count)
    }
    announce()
    return true
  }

  // MARK: To the network

  func send(_ bytes: UnsafeRawBufferPointer) -> SendOutcome {
    guard !hasEnded, !isClosing else { return .gone }
    if kind == .peer {
      sendMessage(Array(bytes))
      return .queued
    }
    pending.append(bytes)
    pump()
    return .queued
  }

  /// Messages between peers keep their order here; the datagram core has its own wire.
  private func sendMessage(_ message: [UInt8]) {
    if let carry = port.carryMessage {
      outward.lastArrival = carry(self, message, outward.lastArrival) { [other] in
        other?.arrive($0)
      }
      return
    }
    untakenByteCount += message.count
    if untakenByteCount > network.faults.windowByteCount { hasWaited = true }
    outward.lastArrival = network.arrival(after: outward.lastArrival)
    network.scheduler.at(outward.lastArrival) { [other] in other?.arrive(message) }
  }

  /// The other node has taken a message.
  private func noteTaken(_ byteCount: Int) {
    if port.carryMessage != nil { return }
    network.scheduler.at(network.scheduler.now + network.latency()) { [self] in
      untakenByteCount -= byteCount
      guard untakenByteCount == 0, hasWaited, !hasEnded, port.isAlive else { return }
      hasWaited = false
      port.add(.drained(self))
    }
  }

  /// Puts as much on its way as the window allows.
  private func pump() {
    let room = network.faults.windowByteCount - outward.underwayByteCount
    let count = min(room, pending.count)
    if count > 0 {
      let chunk = Array(pending.bytes[..<count])
      pending.consume(count)
      for piece in network.cut(chunk) { carry(piece) }
    }
    if pending.isEmpty, isClosing { finishClose() }
  }

  private func carry(_ piece: [UInt8]) {
    outward.underwayByteCount += piece.count
    outward.lastArrival = network.arrival(after: outward.lastArrival)
    let other = other
    network.scheduler.at(outward.lastArrival) { [self] in
      other?.arrive(piece)
      outward.underwayByteCount -= piece.count
      let waited = !pending.isEmpty
      if waited, !hasEnded, port.isAlive {
        pump()
        if pending.isEmpty, !isClosing { port.add(.drained(self)) }
      }
    }
    if network.drawsReset() { reset() }
  }

  /// The link breaks for both sides; what was on its way to the far end may still arrive.
  func reset() {
    network.scheduler.at(network.arrival(after: outward.lastArrival)) { [other] in
      other?.end(.reset)
    }
    network.scheduler.at(network.scheduler.now + network.latency()) { [self] in end(.reset) }
  }

  func close(afterFlush: Bool) {
    guard !hasEnded, !isClosing else { return }
    isClosing = true
    reading = false
    if !afterFlush { pending.removeAll() }
    if pending.isEmpty { finishClose() }
  }

  private func finishClose() {
    guard !hasEnded else { return }
    outward.lastArrival = network.arrival(after: outward.lastArrival)
    network.scheduler.at(outward.lastArrival) { [other] in other?.end(.closed) }
    end(.closed)
  }

  func die(tellsOther: Bool) {
    hasEnded = true
    guard tellsOther else { return }
    network.scheduler.at(network.arrival(after: outward.lastArrival)) { [other] in
      other?.end(.reset)
    }
  }
}
