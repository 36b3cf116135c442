internal import Base
internal import CLinux
internal import Glibc

/// Bytes of a link that the kernel did not take yet: a chain of chunks, so that nothing is copied
/// twice and memory goes as the bytes go.
///
/// A plain value that lies in a link's slot; its chunks belong to a `ChunkPool`. `clear` must be
/// called before it is forgotten.
struct OutputQueue {
  private var head: UnsafeMutablePointer<Chunk>?
  private var tail: UnsafeMutablePointer<Chunk>?
  /// Bytes in the queue.
  private(set) var byteCount = 0

  var isEmpty: Bool { byteCount == 0 }

  /// Copies bytes to the end.
  mutating func append(_ bytes: UnsafeRawBufferPointer, _ pool: inout ChunkPool) {
    var rest = bytes
    while !rest.isEmpty {
      if tail == nil || tail!.pointee.room == 0 { extend(rest.count, &pool) }
      let taken = min(rest.count, tail!.pointee.room)
      tail!.write(UnsafeRawBufferPointer(rebasing: rest[..<taken]))
      rest = UnsafeRawBufferPointer(rebasing: rest[taken...])
      byteCount += taken
    }
  }

  private mutating func extend(_ wanted: Int, _ pool: inout ChunkPool) {
    // The first few bytes of many slow links must not cost a large chunk each.
    let fresh = pool.take(isLarge: byteCount + wanted > ChunkPool.smallByteCount)
    if let tail { tail.pointee.next = fresh } else { head = fresh }
    tail = fresh
  }

  /// Describes the first bytes for `sendmsg`; answers how many vectors were filled.
  func describe(_ vectors: UnsafeMutablePointer<iovec>, countMax: Int) -> Int {
    var count = 0
    var next = head
    while let chunk = next, count < countMax {
      vectors[count] = iovec(iov_base: chunk.bytes + chunk.pointee.start, iov_len: chunk.live)
      count += 1
      next = chunk.pointee.next
    }
    return count
  }

  /// Forgets the first `n` bytes: the kernel took them.
  mutating func consume(_ n: Int, _ pool: inout ChunkPool) {
    invariant(n <= byteCount, "only queued output leaves")
    byteCount -= n
    var left = n
    while let chunk = head, left >= chunk.live {
      left -= chunk.live
      head = chunk.pointee.next
      pool.give(chunk)
      if head == nil { tail = nil }
    }
    if let head { head.pointee.start += left }
  }

  /// Forgets all bytes.
  mutating func clear(_ pool: inout ChunkPool) { consume(byteCount, &pool) }

  /// Frees all chunks, for when the pool goes too.
  func free() { ChunkPool.free(all: head) }
}

/// The front of a run of memory for output; the bytes follow it.
struct Chunk {
  var next: UnsafeMutablePointer<Chunk>?
  /// Invariant: 0 <= start <= end <= capacity.
  var start = 0
  var end = 0
  var capacity: Int
  var isLarge: Bool

  var room: Int { capacity - end }
}

extension UnsafeMutablePointer where Pointee == Chunk {
  fileprivate var bytes: UnsafeMutableRawPointer {
    UnsafeMutableRawPointer(self) + MemoryLayout<Chunk>.stride
  }

  fileprivate var live: Int { pointee.end - pointee.start }

  fileprivate func write(_ source: UnsafeRawBufferPointer) {
    (bytes + pointee.end).copyMemory(from: source.baseAddress!, byteCount: source.count)
    pointee.end += source.count
  }
}

/// Where chunks come from and go back to; keeps a few for the next link that falls behind.
///
/// Large chunks come straight from the kernel and go straight back, so that what a slow reader
/// made us hold is gone from the process afterwards.
struct ChunkPool: ~Copyable {
  /// Bytes of a small and of a large chunk, header included.
  static var smallByteCount: Int { 16 << 10 }
  static var largeByteCount: Int { 256 << 10 }
  /// Free chunks kept of each size: 1 MiB and 4 MiB.
  private static let smallCountMax = 64
  private static let largeCountMax = 16

  private var small: UnsafeMutablePointer<Chunk>?
  private var large: UnsafeMutablePointer<Chunk>?
  private var smallCount = 0
  private var largeCount = 0

  init() {}

  deinit {
    Self.free(all: small)
    Self.free(all: large)
  }

  /// An empty chunk.
  mutating func take(isLarge: Bool) -> UnsafeMutablePointer<Chunk> {
    let chunk: UnsafeMutablePointer<Chunk>
    if isLarge, let kept = large {
      chunk = kept
      large = kept.pointee.next
      largeCount -= 1
    } else if !isLarge, let kept = small {
      chunk = kept
      small = kept.pointee.next
      smallCount -= 1
    } else {
      chunk = Self.allocate(isLarge: isLarge)
    }
    let byteCount = isLarge ? Self.largeByteCount : Self.smallByteCount
    let capacity = byteCount - MemoryLayout<Chunk>.stride
    chunk.initialize(to: Chunk(next: nil, capacity: capacity, isLarge: isLarge))
    return chunk
  }

  /// Takes a chunk back.
  mutating func give(_ chunk: UnsafeMutablePointer<Chunk>) {
    if chunk.pointee.isLarge, largeCount < Self.largeCountMax {
      chunk.pointee.next = large
      large = chunk
      largeCount += 1
    } else if !chunk.pointee.isLarge, smallCount < Self.smallCountMax {
      chunk.pointee.next = small
      small = chunk
      smallCount += 1
    } else {
      Self.free(chunk)
    }
  }

  private static func allocate(isLarge: Bool) -> UnsafeMutablePointer<Chunk> {
    guard isLarge else {
      return UnsafeMutableRawPointer.allocate(byteCount: smallByteCount, alignment: 16)
        .assumingMemoryBound(to: Chunk.self)
    }
    let protection = PROT_READ | PROT_WRITE
    let place = mmap(nil, largeByteCount, protection, MAP_PRIVATE | Int32(MAP_ANONYMOUS), -1, 0)
    guard let place, place != MAP_FAILED else {
      invariantFailed("the kernel gives \(largeByteCount) bytes for output: errno \(errno)")
    }
    return place.assumingMemoryBound(to: Chunk.self)
  }

  /// Frees a chain of chunks.
  static func free(all first: UnsafeMutablePointer<Chunk>?) {
    var next = first
    while let chunk = next {
      next = chunk.pointee.next
      free(chunk)
    }
  }

  private static func free(_ chunk: UnsafeMutablePointer<Chunk>) {
    if chunk.pointee.isLarge {
      munmap(chunk, largeByteCount)
    } else {
      UnsafeMutableRawPointer(chunk).deallocate()
    }
  }
}
