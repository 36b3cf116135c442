@testable import Base
@testable import NetKit

/// Datagrams to a server from anywhere: nothing traps, what is held stays bounded, and an address that
/// has not proven itself never gets more bytes than it sent.
///
/// The input is a run of: a byte of choices, a length byte, and that many bytes. Choices: bit 0 seal
/// (write magic, version and checksum so that the header is taken), bit 1 from loopback, bit 2 answer
/// what was asked, bit 3 let time pass, bits 4 and 5 the source.
func fuzzDatagram(_ input: UnsafeRawBufferPointer) {
  var world = DatagramWorld()
  var at = 0
  while at + 2 <= input.count {
    let choices = input[at]
    let count = min(Int(input[at + 1]) * 4, input.count - at - 2)
    let bytes = UnsafeRawBufferPointer(rebasing: input[(at + 2)..<(at + 2 + count)])
    world.step(choices, bytes)
    at += 2 + count
  }
  world.finish()
}

private struct DatagramWorld: ~Copyable {
  var core: DatagramCore
  var now = Instant(nanos: 1_000_000_000)
  var buffer = ByteBuffer()
  /// Bytes sent to and by each stranger.
  var strangers: [UInt16: (sent: Int, received: Int)] = [:]

  init() {
    var options = DatagramOptions()
    options.messageByteCountMax = 64 << 10
    options.reassemblyByteCountMax = 256 << 10
    options.replyByteCountMax = 256 << 10
    options.transferCountMax = 8
    options.peerCountMax = 4
    options.exchangeCountMax = 16
    options.eventCountMax = 32
    core = DatagramCore(
      options: options, secret: SipKey(k0: 3, k1: 4), seed: 5, slotBase: 0)
  }

  mutating func step(_ choices: UInt8, _ bytes: UnsafeRawBufferPointer) {
    let port = UInt16(1_000 + Int(choices >> 4 & 3))
    let isLoopback = choices & 2 != 0
    let source = Endpoint(ipv4: isLoopback ? 0x7F00_0001 : 0xC000_0201, port: port)
    withHeapCopy(bytes) { copy in
      if choices & 1 != 0 { Self.seal(copy) }
      if !isLoopback { strangers[port, default: (0, 0)].received += copy.count }
      core.handle(UnsafeRawBufferPointer(copy), from: source, at: now)
    }
    takeEvents(answering: choices & 4 != 0)
    if choices & 8 != 0 {
      now = Instant(nanos: now.nanos + 300_000_000)
      core.wake(at: now)
    }
    collect()
    expect(core.reassemblyByteCount <= core.options.reassemblyByteCountMax, "reassembly grows")
    expect(core.replyByteCount <= core.options.replyByteCountMax, "replies grow")
  }

  /// Makes a header of the first 48 bytes: magic, version, checksum.
  private static func seal(_ datagram: UnsafeMutableRawBufferPointer) {
    guard datagram.count >= DatagramHeader.byteCount else { return }
    datagram.storeBytes(of: DatagramHeader.magic.littleEndian, as: UInt32.self)
    datagram[4] = datagram[4] % 14
    datagram[5] &= 3
    datagram.storeBytes(of: 0, toByteOffset: 12, as: UInt32.self)
    let checksum = CRC32C.checksum(UnsafeRawBufferPointer(datagram))
    datagram.storeBytes(of: checksum.littleEndian, toByteOffset: 12, as: UInt32.self)
  }

  private mutating func takeEvents(answering: Bool) {
    while let event = core.next(into: &buffer) {
      if case .request(let link, let source, let id, let plain) = event {
        plantedMistake(when: !plain && (id != .none || source.port != 1_000))
        if answering { _ = core.send(buffer.bytes, on: link, at: now) }
      }
      if case .received(let link) = event, answering, buffer.count > 0 {
        _ = core.send(buffer.bytes, on: link, at: now)
      }
    }
  }

  private mutating func collect() {
    for index in 0..<core.outgoing.count {
      let entry = core.outgoing[index]
      expect(
        entry.byteCount <= core.options.byteCountMax(for: entry.endpoint), "a datagram too large")
      if !entry.endpoint.isLoopback {
        strangers[entry.endpoint.port, default: (0, 0)].sent += entry.byteCount
      }
    }
    core.outgoing.removeAll()
    // Nobody here reads cookies, so nobody proves an address.
    for (port, bytes) in strangers {
      expect(
        bytes.sent <= bytes.received, "stranger \(port) sent \(bytes.received), got \(bytes.sent)")
    }
  }

  /// Long after the last datagram nothing is held.
  mutating func finish() {
    for _ in 0..<40 {
      now = Instant(nanos: now.nanos + 5_000_000_000)
      core.wake(at: now)
      takeEvents(answering: false)
      collect()
    }
    expect(core.reassemblyByteCount == 0, "\(core.reassemblyByteCount) bytes are held for ever")
    expect(core.replyByteCount == 0, "\(core.replyByteCount) reply bytes are held for ever")
  }
}
