import Base
import CLinux
import Glibc

/// Load over UDP: each socket has a window of single-datagram requests under way; what is answered
/// is sent anew with another key, in batches of `sendmmsg` and `recvmmsg`.
///
/// Our datagrams carry the 48-byte header with its CRC-32C, memcached's the 8-byte frame.
struct DatagramLoad: ~Copyable {
  /// Requests that one socket may have under way; memcached's frame has 16 bits to tell them apart.
  static var windowMax: Int { 256 }
  private static var batchMax: Int { 64 }
  private static var datagramByteCountMax: Int { 2_048 }
  /// What is under way for longer than this counts as lost and is sent again.
  private static var patienceNanos: UInt64 { 200_000_000 }

  private let options: LoadOptions
  private let keys: KeySpace
  private let template: RequestTemplate
  private let phase: LoadPhase
  private let headerByteCount: Int
  private let readiness = Readiness()
  private let sockets: [Int32]
  /// `windowMax` datagrams a socket, each with its header.
  private let requests: UnsafeMutableRawPointer
  /// Which of the slots of a socket are under way, since when, and under which number.
  private let sentAt: UnsafeMutablePointer<UInt64>
  private let numbers: UnsafeMutablePointer<UInt64>
  private let outgoing: DatagramBatch
  private let incoming: DatagramBatch
  private var random: Random
  private var report = LoadReport()
  private var issuedCount = 0
  private var busyCount = 0
  private var startedAt: UInt64 = 0
  private var lastNumber: UInt64 = 0

  init(_ options: LoadOptions, _ phase: LoadPhase) {
    self.options = options
    self.phase = phase
    keys = KeySpace(count: options.keyCount, valueByteCount: options.valueByteCount)
    let isOurs = options.wire == .udp
    template =
      isOurs
      ? .resp(phase.verb, valueByteCount: options.valueByteCount)
      : .memcached(phase.verb, valueByteCount: options.valueByteCount)
    headerByteCount = isOurs ? OurHeader.byteCount : 8
    random = Random(seed: options.seed)
    let slotCount = options.clientCount * options.pipeline
    requests = .allocate(byteCount: slotCount * Self.datagramByteCountMax, alignment: 64)
    sentAt = .allocate(capacity: slotCount)
    sentAt.initialize(repeating: 0, count: slotCount)
    numbers = .allocate(capacity: slotCount)
    numbers.initialize(repeating: 0, count: slotCount)
    outgoing = DatagramBatch(count: Self.batchMax, byteCount: 0)
    incoming = DatagramBatch(count: Self.batchMax, byteCount: Self.datagramByteCountMax)
    sockets = (0..<options.clientCount).map { _ in
      let socket = openSocket(SOCK_DGRAM, options)
      setOption(socket, level: SOL_SOCKET, name: SO_RCVBUF, to: 4 << 20)
      return socket
    }
    for (index, socket) in sockets.enumerated() { readiness.add(socket, as: index) }
    for slot in 0..<slotCount {
      template.bytes.withUnsafeBytes {
        (requests + slot * Self.datagramByteCountMax + headerByteCount)
          .copyMemory(from: $0.baseAddress!, byteCount: $0.count)
      }
    }
  }

  deinit {
    for socket in sockets { close(socket) }
    requests.deallocate()
    sentAt.deallocate()
    numbers.deallocate()
  }

  /// Runs the phase to its end.
  mutating func run() -> LoadReport {
    startedAt = clockNanos()
    for index in 0..<options.clientCount {
      for slot in 0..<options.pipeline { prepare(index, slot, at: startedAt) }
      sendPrepared(index)
    }
    var sweptAt = startedAt
    var heardAt = startedAt
    while busyCount > 0 {
      let count = readiness.wait(millis: Int32(Self.patienceNanos / 1_000_000))
      for place in 0..<count { receive(readiness.index(place)) }
      let now = clockNanos()
      if count > 0 { heardAt = now }
      if now - heardAt > 10_000_000_000 { stop("no reply for 10 s") }
      guard now - sweptAt > Self.patienceNanos else { continue }
      repeatLost(sentBefore: sweptAt)
      sweptAt = now
    }
    report.nanos = clockNanos() - startedAt
    return report
  }

  // MARK: Sending

  /// Fills the slot with a new request and puts it in the batch, unless the phase is over.
  private mutating func prepare(_ index: Int, _ slot: Int, at now: UInt64) {
    let place = index * options.pipeline + slot
    sentAt[place] = 0
    if phase.requestCount > 0, issuedCount >= phase.requestCount { return }
    guard now - startedAt < phase.nanos else { return }
    let key = phase.inOrder ? issuedCount : random.below(options.keyCount)
    issuedCount += 1
    busyCount += 1
    sentAt[place] = now
    lastNumber += 1
    numbers[place] = lastNumber
    let datagram = requests + place * Self.datagramByteCountMax
    keys.putKey(key, at: datagram + headerByteCount + template.keyOffset)
    if let offset = template.valueOffset {
      keys.putValue(key, at: datagram + headerByteCount + offset)
    }
    writeHeader(datagram, slot: slot, number: lastNumber)
    batch(datagram, index)
  }

  private func writeHeader(_ datagram: UnsafeMutableRawPointer, slot: Int, number: UInt64) {
    if options.wire == .udp {
      OurHeader.write(
        datagram, payloadByteCount: template.bytes.count, slot: slot, number: number,
        changes: phase.verb == .set)
    } else {
      // memcached: request id, sequence 0, one datagram, reserved; big-endian.
      let id = UInt16(slot) << 8 | UInt16(truncatingIfNeeded: number & 0xFF)
      datagram.storeBytes(of: id.bigEndian, as: UInt16.self)
      datagram.storeBytes(of: 0, toByteOffset: 2, as: UInt16.self)
      datagram.storeBytes(of: UInt16(1).bigEndian, toByteOffset: 4, as: UInt16.self)
      datagram.storeBytes(of: 0, toByteOffset: 6, as: UInt16.self)
    }
  }

  private func batch(_ datagram: UnsafeMutableRawPointer, _ index: Int) {
    if outgoing.isFull { sendPrepared(index) }
    outgoing.add(datagram, byteCount: headerByteCount + template.bytes.count)
  }

  private func sendPrepared(_ index: Int) { outgoing.send(on: sockets[index]) }

  /// Sends what has been under way for too long once more, under the same numbers.
  private mutating func repeatLost(sentBefore limit: UInt64) {
    for index in 0..<options.clientCount {
      for slot in 0..<options.pipeline {
        let place = index * options.pipeline + slot
        guard sentAt[place] != 0, sentAt[place] < limit else { continue }
        report.lost += 1
        batch(requests + place * Self.datagramByteCountMax, index)
      }
      sendPrepared(index)
    }
  }

  // MARK: Receiving

  private mutating func receive(_ index: Int) {
    let count = incoming.receive(on: sockets[index])
    let now = clockNanos()
    for place in 0..<count {
      guard let slot = checked(incoming.bytes(place), index) else {
        report.stray += 1
        continue
      }
      report.latency.record(now - sentAt[index * options.pipeline + slot])
      report.requests += 1
      busyCount -= 1
      prepare(index, slot, at: now)
    }
    sendPrepared(index)
  }

  /// The slot that a reply belongs to, once it was found right; nil for one that answers nothing.
  private mutating func checked(_ bytes: UnsafeRawBufferPointer, _ index: Int) -> Int? {
    guard bytes.count > headerByteCount, let slot = slot(of: bytes, index) else { return nil }
    let place = index * options.pipeline + slot
    let request = requests + place * Self.datagramByteCountMax + headerByteCount
    let key = request + template.keyOffset
    let reply = bytes.baseAddress! + headerByteCount
    let have = bytes.count - headerByteCount
    guard have == template.replyByteCount else {
      stop("not the expected reply: \(text(reply, min(have, 120)))")
    }
    guard template.replyCarriesValue else {
      let isRight = template.replyHead.withUnsafeBytes { memcmp($0.baseAddress!, reply, have) == 0 }
      if !isRight { stop("not the expected reply: \(text(reply, min(have, 120)))") }
      return slot
    }
    if let offset = template.replyKeyOffset, memcmp(reply + offset, key, 16) != 0 {
      stop("an answer about another key")
    }
    guard (report.requests &+ 1) % options.checkEvery == 0 else { return slot }
    guard keys.matches(key: key, value: reply + template.replyHead.count) else {
      stop("the value of another key: \(text(key, 16))")
    }
    report.compared += 1
    return slot
  }

  private func slot(of bytes: UnsafeRawBufferPointer, _ index: Int) -> Int? {
    let slot: Int
    let isCurrent: Bool
    if options.wire == .udp {
      guard let low = OurHeader.lowIDOfReply(bytes) else { return nil }
      slot = Int(low & 0xFFFF)
      guard slot < options.pipeline else { return nil }
      isCurrent = low == OurHeader.lowID(slot, numbers[index * options.pipeline + slot])
    } else {
      let id = UInt16(bigEndian: bytes.loadUnaligned(as: UInt16.self))
      slot = Int(id >> 8)
      guard slot < options.pipeline else { return nil }
      isCurrent = UInt64(id & 0xFF) == numbers[index * options.pipeline + slot] & 0xFF
    }
    return isCurrent && sentAt[index * options.pipeline + slot] != 0 ? slot : nil
  }
}
