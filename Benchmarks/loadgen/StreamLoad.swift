import Base
import CLinux
import Glibc

/// Load over TCP: each connection sends a pipeline of prepared requests, waits for all its replies,
/// checks them, and sends the next.
struct StreamLoad: ~Copyable {
  private struct Connection {
    var socket: Int32
    /// The pipeline's bytes: `pipeline` copies of the template with keys (and values) filled in.
    var requests: UnsafeMutableRawPointer
    var requestByteCount = 0
    var sentByteCount = 0
    var replies: UnsafeMutableRawPointer
    var receivedByteCount = 0
    var requestCount = 0
    var checkedCount = 0
    var sentAt: UInt64 = 0
    var isWaitingToWrite = false
  }

  private let options: LoadOptions
  private let keys: KeySpace
  private let template: RequestTemplate
  private let phase: LoadPhase
  private let connections: UnsafeMutablePointer<Connection>
  private let readiness = Readiness()
  private var random: Random
  private var report = LoadReport()
  private var issuedCount = 0
  private var busyCount = 0
  private var startedAt: UInt64 = 0

  private var replyBufferByteCount: Int { options.pipeline * template.replyByteCount + 4_096 }

  init(_ options: LoadOptions, _ phase: LoadPhase) {
    self.options = options
    self.phase = phase
    keys = KeySpace(count: options.keyCount, valueByteCount: options.valueByteCount)
    template = .resp(phase.verb, valueByteCount: options.valueByteCount)
    random = Random(seed: options.seed)
    connections = .allocate(capacity: options.clientCount)
    for index in 0..<options.clientCount {
      let socket = openSocket(SOCK_STREAM, options)
      setOption(socket, level: Int32(IPPROTO_TCP), name: TCP_NODELAY, to: 1)
      readiness.add(socket, as: index)
      let requests = UnsafeMutableRawPointer.allocate(
        byteCount: options.pipeline * template.bytes.count, alignment: 64)
      for slot in 0..<options.pipeline {
        template.bytes.withUnsafeBytes {
          (requests + slot * $0.count).copyMemory(from: $0.baseAddress!, byteCount: $0.count)
        }
      }
      let replies = UnsafeMutableRawPointer.allocate(
        byteCount: options.pipeline * template.replyByteCount + 4_096, alignment: 64)
      connections.advanced(by: index)
        .initialize(to: Connection(socket: socket, requests: requests, replies: replies))
    }
  }

  deinit {
    for index in 0..<options.clientCount {
      close(connections[index].socket)
      connections[index].requests.deallocate()
      connections[index].replies.deallocate()
    }
    connections.deallocate()
  }

  /// Runs the phase to its end.
  mutating func run() -> LoadReport {
    startedAt = clockNanos()
    for index in 0..<options.clientCount { sendNext(index, at: startedAt) }
    while busyCount > 0 {
      let count = readiness.wait(millis: 10_000)
      if count == 0 { stop("no reply for 10 s with \(busyCount) pipelines under way") }
      for place in 0..<count { handle(readiness.index(place)) }
    }
    report.nanos = clockNanos() - startedAt
    return report
  }

  private mutating func handle(_ index: Int) {
    if connections[index].isWaitingToWrite { write(index) }
    guard connections[index].requestCount > 0, read(index) else { return }
    check(index)
    if connections[index].checkedCount == connections[index].requestCount { finish(index) }
  }

  // MARK: Sending

  /// Fills and sends the next pipeline, unless the phase is over.
  private mutating func sendNext(_ index: Int, at now: UInt64) {
    var count = options.pipeline
    if phase.requestCount > 0 { count = min(count, phase.requestCount - issuedCount) }
    guard count > 0, now - startedAt < phase.nanos else { return }
    fill(index, count)
    busyCount += 1
    connections[index].requestCount = count
    connections[index].requestByteCount = count * template.bytes.count
    connections[index].sentByteCount = 0
    connections[index].receivedByteCount = 0
    connections[index].checkedCount = 0
    connections[index].sentAt = now
    write(index)
  }

  private mutating func fill(_ index: Int, _ count: Int) {
    let size = template.bytes.count
    let valueOffset = template.valueOffset
    var place = connections[index].requests
    for _ in 0..<count {
      let key = phase.inOrder ? issuedCount : random.below(options.keyCount)
      issuedCount += 1
      keys.putKey(key, at: place + template.keyOffset)
      if let valueOffset { keys.putValue(key, at: place + valueOffset) }
      place += size
    }
  }

  private func write(_ index: Int) {
    let connection = connections + index
    while connection.pointee.sentByteCount < connection.pointee.requestByteCount {
      let sent = send(
        connection.pointee.socket, connection.pointee.requests + connection.pointee.sentByteCount,
        connection.pointee.requestByteCount - connection.pointee.sentByteCount,
        Int32(MSG_NOSIGNAL))
      if sent < 0 {
        guard errno == EAGAIN else { stop(call: "send") }
        if !connection.pointee.isWaitingToWrite {
          readiness.setWriting(true, connection.pointee.socket, as: index)
          connection.pointee.isWaitingToWrite = true
        }
        return
      }
      connection.pointee.sentByteCount += sent
    }
    if connection.pointee.isWaitingToWrite {
      readiness.setWriting(false, connection.pointee.socket, as: index)
      connection.pointee.isWaitingToWrite = false
    }
  }

  // MARK: Receiving

  /// One read; false when there was nothing.
  private func read(_ index: Int) -> Bool {
    let connection = connections + index
    let room = replyBufferByteCount - connection.pointee.receivedByteCount
    guard room > 0 else { stop("more reply bytes than the requests call for") }
    let received = recv(
      connection.pointee.socket, connection.pointee.replies + connection.pointee.receivedByteCount,
      room, 0)
    if received < 0, errno == EAGAIN { return false }
    guard received > 0 else { stop("the server closed a connection") }
    connection.pointee.receivedByteCount += received
    return true
  }

  /// Checks the framing of every whole reply that has come, and every `checkEvery`th value.
  private mutating func check(_ index: Int) {
    let connection = connections + index
    let size = template.replyByteCount
    let head = template.replyHead
    while connection.pointee.checkedCount < connection.pointee.requestCount {
      let slot = connection.pointee.checkedCount
      let have = connection.pointee.receivedByteCount - slot * size
      guard have > 0 else { return }
      let reply = connection.pointee.replies + slot * size
      let seen = min(have, head.count)
      if head.withUnsafeBytes({ memcmp($0.baseAddress!, reply, seen) }) != 0 {
        stop("not the expected reply: \(text(reply, min(have, 120)))")
      }
      guard have >= size else { return }
      connection.pointee.checkedCount += 1
      if template.replyCarriesValue { checkValue(reply, slot, index) }
    }
  }

  @inline(__always)
  private mutating func checkValue(_ reply: UnsafeRawPointer, _ slot: Int, _ index: Int) {
    let end = reply.loadUnaligned(
      fromByteOffset: template.replyByteCount - 2, as: UInt16.self)
    guard end == 0x0A0D else { stop("a value of the wrong length") }
    guard (report.requests &+ slot &+ 1) % options.checkEvery == 0 else { return }
    let key = connections[index].requests + slot * template.bytes.count + template.keyOffset
    guard keys.matches(key: key, value: reply + template.replyHead.count) else {
      stop("the value of another key: \(text(key, 16))")
    }
    report.compared += 1
  }

  private mutating func finish(_ index: Int) {
    let now = clockNanos()
    report.latency.record(now - connections[index].sentAt)
    report.requests += connections[index].requestCount
    connections[index].requestCount = 0
    busyCount -= 1
    sendNext(index, at: now)
  }
}

/// Bytes for a message.
func text(_ bytes: UnsafeRawPointer, _ count: Int) -> String {
  String(decoding: UnsafeRawBufferPointer(start: bytes, count: count), as: UTF8.self)
    .replacing("\r\n", with: " ")
}

extension String {
  fileprivate func replacing(_ old: Character, with new: Character) -> String {
    String(map { $0 == old ? new : $0 })
  }
}
