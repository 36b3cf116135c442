import Base

/// The arguments of the command at hand, as pointers into the input; reused for every command.
struct ArgumentList: ~Copyable {
  private(set) var base: UnsafeMutablePointer<UnsafeRawBufferPointer>
  private(set) var count = 0
  private var capacity: Int

  init() {
    capacity = 64
    base = .allocate(capacity: capacity)
  }

  deinit { base.deallocate() }

  @inline(__always) subscript(index: Int) -> UnsafeRawBufferPointer { base[index] }

  @inline(__always) mutating func removeAll() { count = 0 }

  @inline(__always) mutating func append(_ argument: UnsafeRawBufferPointer) {
    if count == capacity { grow() }
    base[count] = argument
    count += 1
  }

  /// Gives the memory of an unusually long command back.
  mutating func trim() {
    guard capacity > 4_096 else { return }
    base.deallocate()
    capacity = 64
    base = .allocate(capacity: capacity)
    count = 0
  }

  /// Drops the first `n` arguments; for commands that carry another one.
  mutating func dropFirst(_ n: Int) {
    for index in n..<count { base[index - n] = base[index] }
    count -= n
  }

  @inline(never) private mutating func grow() {
    let fresh = UnsafeMutablePointer<UnsafeRawBufferPointer>.allocate(capacity: capacity * 2)
    fresh.update(from: base, count: count)
    base.deallocate()
    base = fresh
    capacity *= 2
  }
}

/// Comparing arguments with words, without case.
extension UnsafeRawBufferPointer {
  /// True when the bytes are `word` in any case; `word` is given in lower-case ASCII letters.
  @inline(__always) func isWord(_ word: StaticString) -> Bool {
    guard count == word.utf8CodeUnitCount else { return false }
    for index in 0..<count {
      let byte = self[index]
      let lower = byte >= 65 && byte <= 90 ? byte | 0x20 : byte
      if lower != word.utf8Start[index] { return false }
    }
    return true
  }

  /// True when both hold the same bytes.
  func isEqual(to other: UnsafeRawBufferPointer) -> Bool {
    count == other.count && elementsEqual(other)
  }

  /// The bytes as text for a message, cut to `limit`, with what is not UTF-8 replaced.
  func text(limit: Int = 128) -> String {
    String(decoding: self.prefix(limit), as: UTF8.self)
  }
}
