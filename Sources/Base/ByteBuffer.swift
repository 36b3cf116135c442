/// A growable run of bytes with a read position: input tails, output queues, log groups, messages.
///
/// Owned by one place, never copied by accident. Growth doubles; `capacity` is kept by `removeAll`
/// unless it passed `keepCapacityMax`. Bounds are the owner's to check before appending.
public struct ByteBuffer: ~Copyable, @unchecked Sendable {
  @usableFromInline var base: UnsafeMutableRawPointer?
  @usableFromInline var storedCapacity: Int
  @usableFromInline var start: Int
  @usableFromInline var end: Int

  /// Bytes of capacity kept when a buffer is emptied.
  @inlinable public static var keepCapacityMax: Int { 1 << 20 }

  /// Makes an empty buffer with room for `capacity` bytes; 0 allocates nothing.
  @inlinable public init(capacity: Int = 0) {
    base = capacity > 0 ? Self.allocate(capacity) : nil
    storedCapacity = capacity
    start = 0
    end = 0
  }

  @inlinable deinit { base?.deallocate() }

  // MARK: Reading

  /// The number of bytes not yet consumed.
  @inlinable public var count: Int { end - start }
  /// True when every byte was consumed.
  @inlinable public var isEmpty: Bool { end == start }
  /// Bytes of memory held.
  @inlinable public var capacity: Int { storedCapacity }

  /// The unconsumed bytes; valid until the next mutation.
  @inlinable public var bytes: UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(
      start: base.map { UnsafeRawPointer($0 + start) }, count: end - start)
  }

  /// The unconsumed bytes, writable; valid until the next mutation.
  @inlinable public var mutableBytes: UnsafeMutableRawBufferPointer {
    UnsafeMutableRawBufferPointer(start: base.map { $0 + start }, count: end - start)
  }

  /// Takes `n` bytes from the front. `n <= count`.
  @inlinable public mutating func consume(_ n: Int) {
    start += n
    if start == end { removeAll() }
  }

  /// Empties the buffer; gives its memory back if that is over `keep` bytes.
  @inlinable public mutating func removeAll(keep: Int = keepCapacityMax) {
    start = 0
    end = 0
    if storedCapacity > keep { release() }
  }

  /// Empties the buffer and frees its memory.
  @inlinable public mutating func release() {
    base?.deallocate()
    base = nil
    storedCapacity = 0
    start = 0
    end = 0
  }

  /// Shortens to the first `n` unconsumed bytes. `n <= count`.
  @inlinable public mutating func truncate(to n: Int) { end = start + n }

  // MARK: Writing

  /// Makes room for `n` more bytes without a further allocation.
  @inlinable public mutating func reserve(_ n: Int) {
    if end + n > storedCapacity { grow(n) }
  }

  @usableFromInline @inline(never) mutating func grow(_ n: Int) {
    let live = end - start
    if start > 0, live + n <= storedCapacity, live <= storedCapacity / 2 {
      base!.copyMemory(from: base! + start, byteCount: live)
    } else {
      let wanted = Swift.max(live + n, Swift.max(64, storedCapacity * 2))
      let fresh = Self.allocate(wanted)
      if live > 0 { fresh.copyMemory(from: base! + start, byteCount: live) }
      base?.deallocate()
      base = fresh
      storedCapacity = wanted
    }
    start = 0
    end = live
  }

  /// Large memory begins at a page: a disk can take it from there.
  @usableFromInline @inline(never)
  static func allocate(_ byteCount: Int) -> UnsafeMutableRawPointer {
    .allocate(byteCount: byteCount, alignment: byteCount >= 64 << 10 ? 4096 : 16)
  }

  /// Adds `n` uninitialised bytes at the end and returns where they begin.
  @inlinable public mutating func extend(_ n: Int) -> UnsafeMutableRawPointer {
    reserve(n)
    let place = base.unsafelyUnwrapped + end
    end += n
    return place
  }

  /// Appends one byte.
  @inlinable public mutating func append(_ byte: UInt8) {
    extend(1).storeBytes(of: byte, as: UInt8.self)
  }

  /// Appends a copy of `source`, which must not lie in this buffer.
  @inlinable public mutating func append(_ source: UnsafeRawBufferPointer) {
    guard let from = source.baseAddress, source.count > 0 else { return }
    extend(source.count).copyMemory(from: from, byteCount: source.count)
  }

  /// Appends the UTF-8 bytes of a literal, without an allocation.
  @inlinable public mutating func append(_ text: StaticString) {
    append(UnsafeRawBufferPointer(start: text.utf8Start, count: text.utf8CodeUnitCount))
  }

  /// Appends the bytes of an array.
  @inlinable public mutating func append(_ array: [UInt8]) {
    array.withUnsafeBytes { append($0) }
  }

  /// Appends the UTF-8 bytes of a string; for cold paths.
  @inlinable public mutating func append(string: String) {
    var copy = string
    copy.withUTF8 { append(UnsafeRawBufferPointer($0)) }
  }

  /// Appends an integer, little-endian.
  @inlinable public mutating func append<T: FixedWidthInteger>(little value: T) {
    extend(MemoryLayout<T>.size).storeBytes(of: value.littleEndian, as: T.self)
  }

  /// Appends `n` zero bytes.
  @inlinable public mutating func append(zeroes n: Int) {
    guard n > 0 else { return }
    extend(n).initializeMemory(as: UInt8.self, repeating: 0, count: n)
  }

  /// Overwrites an integer at `offset` from the first unconsumed byte, little-endian.
  @inlinable public mutating func store<T: FixedWidthInteger>(little value: T, at offset: Int) {
    (base.unsafelyUnwrapped + start + offset).storeBytes(of: value.littleEndian, as: T.self)
  }
}
