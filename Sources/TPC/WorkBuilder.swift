import Base

/// Collects names in any order, and a body, and makes a `Work` of them.
public struct WorkBuilder: ~Copyable {
  struct Name {
    /// The first eight bytes after the kind, as a number that sorts like the bytes.
    var prefix: UInt64
    var offset: UInt32
    var length: UInt16
    var isOperation: Bool
    var mode: LockMode
  }

  var names: [Name] = []
  var nameBytes = ByteBuffer()
  /// The resource's part; append to it.
  public var body = ByteBuffer()

  /// Makes an empty one; it can be used again after `finish`.
  public init() {}

  /// Adds a key of 1 to 65,535 bytes; a key added twice is locked in the stronger mode.
  public mutating func add(key: UnsafeRawBufferPointer, _ mode: LockMode) {
    add(name: key, isOperation: false, mode)
  }

  /// Adds an operation id, which is locked like a key.
  public mutating func add(operation: OperationID, _ mode: LockMode = .write) {
    #if MUTANTS
      if Mutant.active == .operationNotInPrepare { return }
    #endif
    var pair = (operation.high.bigEndian, operation.low.bigEndian)
    withUnsafeBytes(of: &pair) { add(name: $0, isOperation: true, mode) }
  }

  /// At most so many bytes the work will have.
  public var byteCount: Int {
    Work.headerByteCount + nameBytes.count + 3 * names.count + body.count
  }

  /// Makes the work and empties the builder; nil when it is over the bounds of `Work`.
  ///
  /// - Complexity: O(n log n) in the names.
  public mutating func finish() -> Work? {
    defer { removeAll() }
    sortNames()
    var out: [UInt8] = []
    let roomy = byteCount
    guard names.count <= Work.nameCountMax, roomy <= Work.byteCountMax else { return nil }
    out.reserveCapacity(roomy)
    out.append(contentsOf: repeatElement(0, count: Work.headerByteCount))
    var count = 0
    var flagsAt = 0
    for index in names.indices {
      let name = names[index]
      if index > 0, isSame(names[index - 1], name) {
        out[flagsAt] |= name.mode.rawValue
        continue
      }
      count += 1
      flagsAt = out.count
      out.append(name.mode.rawValue | (name.isOperation ? 2 : 0))
      out.append(UInt8(truncatingIfNeeded: name.length))
      out.append(UInt8(truncatingIfNeeded: name.length >> 8))
      out.append(contentsOf: bytes(name))
    }
    out.store(little: UInt32(count), at: 0)
    out.store(little: UInt32(out.count - Work.headerByteCount), at: 4)
    out.store(little: UInt32(body.count), at: 8)
    out.append(contentsOf: body.bytes)
    return Work(checked: out)
  }

  /// Empties it, keeping memory.
  public mutating func removeAll() {
    names.removeAll(keepingCapacity: true)
    nameBytes.removeAll()
    body.removeAll()
  }

  // MARK: Parts

  private mutating func add(
    name: UnsafeRawBufferPointer, isOperation: Bool, _ mode: LockMode
  ) {
    invariant(name.count > 0 && name.count <= 65_535, "a name has 1 to 65,535 bytes")
    let offset = UInt32(nameBytes.count)
    nameBytes.append(name)
    names.append(
      Name(
        prefix: Self.prefix(name), offset: offset, length: UInt16(name.count),
        isOperation: isOperation, mode: mode))
  }

  private static func prefix(_ name: UnsafeRawBufferPointer) -> UInt64 {
    if name.count >= 8 { return UInt64(bigEndian: name.loadUnaligned(as: UInt64.self)) }
    var value: UInt64 = 0
    for byte in name { value = value << 8 | UInt64(byte) }
    return value << UInt64(8 * (8 - name.count))
  }

  private func bytes(_ name: Name) -> UnsafeRawBufferPointer {
    let start = Int(name.offset)
    return UnsafeRawBufferPointer(rebasing: nameBytes.bytes[start..<(start + Int(name.length))])
  }

  private func isSame(_ a: Name, _ b: Name) -> Bool {
    a.prefix == b.prefix && a.length == b.length && a.isOperation == b.isOperation
      && bytesEqual(bytes(a).baseAddress!, bytes(b).baseAddress!, Int(a.length))
  }

  private mutating func sortNames() {
    let base = nameBytes.bytes
    names.sort { a, b in
      if a.isOperation != b.isOperation { return b.isOperation }
      if a.prefix != b.prefix { return a.prefix < b.prefix }
      let x = UnsafeRawBufferPointer(rebasing: base[Int(a.offset)...].prefix(Int(a.length)))
      let y = UnsafeRawBufferPointer(rebasing: base[Int(b.offset)...].prefix(Int(b.length)))
      return namePrecedes(x, y)
    }
  }
}

extension [UInt8] {
  /// Overwrites an integer, little-endian.
  mutating func store<T: FixedWidthInteger>(little value: T, at offset: Int) {
    withUnsafeMutableBytes {
      $0.storeBytes(of: value.littleEndian, toByteOffset: offset, as: T.self)
    }
  }
}
