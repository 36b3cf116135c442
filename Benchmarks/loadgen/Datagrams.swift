import Base
import CLinux
import Glibc

/// The 48-byte header of our datagrams, as docs/protocol describes it; little-endian.
enum OurHeader {
  static var byteCount: Int { 48 }

  /// Writes the header of a request of one datagram and its checksum; the payload stands behind it.
  ///
  /// The id is a UUIDv7: now, a number that is never used again, and the slot.
  static func write(
    _ datagram: UnsafeMutableRawPointer, payloadByteCount: Int, slot: Int, number: UInt64,
    changes: Bool
  ) {
    var time = timespec()
    clock_gettime(CLOCK_REALTIME, &time)
    let millis = UInt64(time.tv_sec) * 1_000 + UInt64(time.tv_nsec) / 1_000_000
    datagram.initializeMemory(as: UInt8.self, repeating: 0, count: byteCount)
    datagram.storeBytes(of: 0x0150_32F5, as: UInt32.self)
    datagram.storeBytes(of: 1, toByteOffset: 4, as: UInt8.self)
    datagram.storeBytes(of: changes ? 1 : 0, toByteOffset: 5, as: UInt8.self)
    datagram.storeBytes(of: 1, toByteOffset: 8, as: UInt16.self)
    datagram.storeBytes(of: millis << 16 | 0x7000, toByteOffset: 16, as: UInt64.self)
    datagram.storeBytes(of: lowID(slot, number), toByteOffset: 24, as: UInt64.self)
    datagram.storeBytes(of: UInt32(payloadByteCount), toByteOffset: 40, as: UInt32.self)
    datagram.storeBytes(
      of: UInt32(truncatingIfNeeded: number), toByteOffset: 44, as: UInt32.self)
    let whole = UnsafeRawBufferPointer(start: datagram, count: byteCount + payloadByteCount)
    datagram.storeBytes(of: CRC32C.checksum(whole), toByteOffset: 12, as: UInt32.self)
  }

  /// The low half of the id of request `number` in `slot`. Runs differ in `runBits`.
  static func lowID(_ slot: Int, _ number: UInt64) -> UInt64 {
    0x8000_0000_0000_0000 | runBits << 48 | (number & 0xFFFF_FFFF) << 16 | UInt64(slot)
  }

  /// 14 bits that keep the ids of processes started in one millisecond apart.
  private static let runBits = UInt64(getpid()) & 0x3FFF

  /// The low half of the id that a reply carries; nil when it is none of ours.
  static func lowIDOfReply(_ bytes: UnsafeRawBufferPointer) -> UInt64? {
    guard bytes.count >= byteCount, bytes.loadUnaligned(as: UInt32.self) == 0x0150_32F5,
      bytes[4] == 2
    else { return nil }
    return bytes.loadUnaligned(fromByteOffset: 24, as: UInt64.self)
  }
}

/// Datagrams for one `sendmmsg` or `recvmmsg`.
final class DatagramBatch {
  private let messages: UnsafeMutablePointer<cl_mmsghdr>
  private let vectors: UnsafeMutablePointer<iovec>
  private let storage: UnsafeMutableRawPointer
  private let capacity: Int
  private let byteCount: Int
  private var count = 0

  /// `byteCount` of room for each received datagram; 0 for a batch that only sends.
  init(count capacity: Int, byteCount: Int) {
    self.capacity = capacity
    self.byteCount = byteCount
    messages = .allocate(capacity: capacity)
    messages.initialize(repeating: cl_mmsghdr(), count: capacity)
    vectors = .allocate(capacity: capacity)
    vectors.initialize(repeating: iovec(), count: capacity)
    storage = .allocate(byteCount: max(1, capacity * byteCount), alignment: 64)
    for index in 0..<capacity {
      vectors[index] = iovec(iov_base: storage + index * byteCount, iov_len: byteCount)
      messages[index].msg_hdr.msg_iov = vectors + index
      messages[index].msg_hdr.msg_iovlen = 1
    }
  }

  deinit {
    messages.deallocate()
    vectors.deallocate()
    storage.deallocate()
  }

  var isFull: Bool { count == capacity }

  func add(_ datagram: UnsafeMutableRawPointer, byteCount: Int) {
    vectors[count] = iovec(iov_base: datagram, iov_len: byteCount)
    count += 1
  }

  /// Sends and empties the batch; what the kernel does not take counts as lost on the way.
  func send(on socket: Int32) {
    var done = 0
    while done < count {
      let sent = cl_sendmmsg(socket, messages + done, UInt32(count - done), 0)
      if sent <= 0 {
        if errno == ECONNREFUSED { stop("nothing listens there over UDP") }
        break
      }
      done += Int(sent)
    }
    count = 0
  }

  /// Receives what is there; returns how many.
  func receive(on socket: Int32) -> Int {
    let received = cl_recvmmsg(
      socket, messages, UInt32(capacity), Int32(MSG_DONTWAIT), nil)
    if received < 0, errno == ECONNREFUSED { stop("nothing listens there over UDP") }
    return max(0, Int(received))
  }

  /// A received datagram; valid until the next `receive`.
  func bytes(_ index: Int) -> UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(
      start: storage + index * byteCount, count: Int(messages[index].msg_len))
  }
}
