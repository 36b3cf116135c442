import Base
import Store

/// Finds the keys of commands before they are parsed, so that memory can be fetched for them.
///
/// Only a guess at what is to come: the first argument of each whole array of bulk strings, key or
/// not. It checks as little as it can, ends where it does not understand, and decides nothing.
struct KeyPreview {
  /// Longer commands end the preview: it would look at much for one key.
  private static var argumentCountMax: Int { 16 }

  private let input: UnsafeRawBufferPointer
  /// Behind the last command looked at.
  private(set) var offset: Int

  init(_ input: UnsafeRawBufferPointer, from offset: Int) {
    self.input = input
    self.offset = offset
  }

  /// The key of the next command that has one; nil when there is none to see.
  mutating func next() -> UnsafeRawBufferPointer? {
    while true {
      var at = offset
      guard let count = number(after: UInt8(ascii: "*"), &at), count <= Self.argumentCountMax
      else { return nil }
      var key: UnsafeRawBufferPointer?
      for index in 0..<count {
        guard let length = number(after: UInt8(ascii: "$"), &at), at + length + 2 <= input.count
        else { return nil }
        if index == 1 { key = UnsafeRawBufferPointer(rebasing: input[at..<(at + length)]) }
        at += length + 2
      }
      offset = at
      if let key { return key }
    }
  }

  /// Reads up to nine digits between `mark` and two bytes of line end.
  @inline(__always) private func number(after mark: UInt8, _ at: inout Int) -> Int? {
    guard at < input.count, input[at] == mark else { return nil }
    var index = at + 1
    let end = min(input.count, index + 9)
    var value = 0
    while index < end {
      let digit = input[index] &- 48
      if digit > 9 { break }
      value = value &* 10 &+ Int(digit)
      index += 1
    }
    guard index > at + 1, index + 2 <= input.count else { return nil }
    at = index + 2
    return value
  }
}

extension Node {
  /// Has the memory fetched that the next few commands will look at, if there are more than one.
  /// Returns where to look again.
  func preview(_ input: UnsafeRawBufferPointer, from offset: Int) -> Int {
    guard let database else { return input.count }
    var preview = KeyPreview(input, from: offset)
    return withUnsafeTemporaryAllocation(
      of: UnsafeRawBufferPointer.self, capacity: Database.prefetchCountMax
    ) { keys in
      var count = 0
      while count < keys.count, let key = preview.next() {
        keys.initializeElement(at: count, to: key)
        count += 1
      }
      if count > 1 { database.pointee.prefetch(UnsafeBufferPointer(rebasing: keys[..<count])) }
      return count < keys.count ? input.count : preview.offset
    }
  }
}
