import Base

/// A look at one entry of the table; valid until the next mutation of the database.
///
/// An entry is one allocation. Its layout: hash u64 at 0; version u64 at 8; expiry i64 at 16; value
/// length u32 at 24; key length u16 at 28; flags u16 at 30; room for the value u32 at 32; position
/// in the expiry heap u32 at 36 (0: not in it); the key from 40; the value behind it. The hash is
/// kept so that resizing never hashes again, and so that a lookup compares keys almost never in
/// vain.
public struct Entry {
  @usableFromInline let block: UnsafeMutableRawPointer

  @inlinable init(block: UnsafeMutableRawPointer) { self.block = block }

  /// The key's bytes.
  @inlinable public var key: UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(start: block + Entry.headerByteCount, count: keyByteCount)
  }

  /// The value's bytes.
  @inlinable public var value: UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(start: valueStart, count: valueByteCount)
  }

  /// The stamp of the transaction that wrote the entry last.
  @inlinable public var version: Stamp {
    Stamp(nanos: block.load(fromByteOffset: 8, as: UInt64.self))
  }

  /// Unix milliseconds, or `Change.noExpiry`.
  @inlinable public var expiry: Int64 { block.load(fromByteOffset: 16, as: Int64.self) }
}

// MARK: For the table

extension Entry {
  @inlinable static var headerByteCount: Int { 40 }

  @inlinable var hash: UInt64 { block.load(as: UInt64.self) }

  @inlinable var valueByteCount: Int {
    Int(truncatingIfNeeded: block.load(fromByteOffset: 24, as: UInt32.self))
  }

  @inlinable var keyByteCount: Int {
    Int(truncatingIfNeeded: block.load(fromByteOffset: 28, as: UInt16.self))
  }

  @inlinable var valueStart: UnsafeMutableRawPointer {
    block + (Entry.headerByteCount &+ keyByteCount)
  }

  @inlinable func holds(_ key: UnsafeRawBufferPointer, hash: UInt64) -> Bool {
    guard self.hash == hash, keyByteCount == key.count else { return false }
    guard let base = key.baseAddress else { return true }
    return bytesEqual(block + Entry.headerByteCount, base, key.count)
  }

  /// The most bytes that the value may grow to in place.
  var capacity: Int { Int(block.load(fromByteOffset: 32, as: UInt32.self)) }

  var heapPosition: Int {
    get { Int(block.load(fromByteOffset: 36, as: UInt32.self)) }
    nonmutating set {
      block.storeBytes(of: UInt32(newValue), toByteOffset: 36, as: UInt32.self)
    }
  }

  /// True while the open transaction made this block, so that it may change it without an undo.
  var isOwned: Bool {
    get { block.load(fromByteOffset: 30, as: UInt16.self) & 1 != 0 }
    nonmutating set {
      block.storeBytes(of: newValue ? 1 : 0, toByteOffset: 30, as: UInt16.self)
    }
  }

  /// Sets version and expiry; the expiry heap is the caller's to keep.
  func set(version: Stamp, expiry: Int64) {
    block.storeBytes(of: version.nanos, toByteOffset: 8, as: UInt64.self)
    block.storeBytes(of: expiry, toByteOffset: 16, as: Int64.self)
  }

  func set(valueByteCount: Int) {
    block.storeBytes(of: UInt32(valueByteCount), toByteOffset: 24, as: UInt32.self)
  }

  /// Replaces the value in place; it may be (part of) the present one. `value.count <= capacity`.
  func overwrite(value: UnsafeRawBufferPointer) {
    if let from = value.baseAddress, value.count > 0 {
      valueStart.copyMemory(from: from, byteCount: value.count)
    }
    set(valueByteCount: value.count)
  }

  /// True when a value of this length fits and would not waste more than it uses.
  func fits(valueByteCount: Int) -> Bool {
    let capacity = capacity
    return valueByteCount <= capacity && (capacity <= 64 || valueByteCount >= capacity / 2)
  }
}

// MARK: Allocation

extension Entry {
  /// A new block outside of any table, its value of `valueByteCount` bytes uninitialised, with room
  /// for `capacity` bytes of value at least.
  static func allocate(
    hash: UInt64, key: UnsafeRawBufferPointer, valueByteCount: Int, capacity: Int
  ) -> Entry {
    let size = blockByteCount(headerByteCount + key.count + Swift.max(valueByteCount, capacity))
    let block = UnsafeMutableRawPointer.allocate(byteCount: size, alignment: 16)
    let room = size - headerByteCount - key.count
    block.storeBytes(of: hash, as: UInt64.self)
    block.storeBytes(of: UInt32(valueByteCount), toByteOffset: 24, as: UInt32.self)
    block.storeBytes(of: UInt16(key.count), toByteOffset: 28, as: UInt16.self)
    block.storeBytes(of: 0, toByteOffset: 30, as: UInt16.self)
    block.storeBytes(of: UInt32(room), toByteOffset: 32, as: UInt32.self)
    block.storeBytes(of: 0, toByteOffset: 36, as: UInt32.self)
    if let from = key.baseAddress {
      (block + headerByteCount).copyMemory(from: from, byteCount: key.count)
    }
    return Entry(block: block)
  }

  /// Gives the block back.
  func free() { block.deallocate() }

  /// The allocator's rounding is used as room for the value: it hands out multiples of 16 bytes,
  /// 8 of which are its own.
  private static func blockByteCount(_ wanted: Int) -> Int { (wanted + 8 + 15) & ~15 - 8 }

  /// The memory that the block takes.
  var memoryByteCount: Int {
    Memory.byteCount(ofBlock: Entry.headerByteCount + keyByteCount + capacity)
  }
}

/// What an allocation costs, by the rules of glibc's allocator: 8 bytes of its own, multiples of
/// 16, at least 32; from 128 KiB, pages of its own. So no call into the allocator is needed to
/// count.
enum Memory {
  static func byteCount(ofBlock count: Int) -> Int {
    if count >= 128 << 10 { return (count + 16 + 4095) & ~4095 }
    return Swift.max(32, (count + 8 + 15) & ~15)
  }
}
