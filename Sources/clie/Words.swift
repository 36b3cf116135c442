import Base

/// Splits a line into words, as a shell would in its simplest form.
///
/// Words are separated by blanks and tabs. Within `"..."` the escapes `\n` `\r` `\t` `\0` `\\` `\"`
/// and `\xHH` stand for one byte each; within `'...'` all but `\'` stands for itself. Adjacent
/// quoted parts belong to one word, and `""` is an empty one. A line that begins with `#` has no
/// words.
func splitWords(_ line: ArraySlice<UInt8>) throws(UsageError) -> [[UInt8]] {
  var reader = WordReader(rest: line)
  var words: [[UInt8]] = []
  while let word = try reader.next() { words.append(word) }
  return words
}

/// Splits text at line feeds; a carriage return before one is dropped, and so is an empty last
/// line.
func splitLines(_ text: [UInt8]) -> [ArraySlice<UInt8>] {
  var lines = text.split(separator: 10, omittingEmptySubsequences: false)
  if lines.last?.isEmpty ?? false { lines.removeLast() }
  return lines.map { $0.last == 13 ? $0.dropLast() : $0 }
}

private struct WordReader {
  var rest: ArraySlice<UInt8>
  var isAtStart = true

  mutating func next() throws(UsageError) -> [UInt8]? {
    rest = rest.drop { $0 == 32 || $0 == 9 }
    defer { isAtStart = false }
    guard let first = rest.first, !(isAtStart && first == UInt8(ascii: "#")) else { return nil }
    var word: [UInt8] = []
    while let byte = rest.first, byte != 32, byte != 9 {
      rest = rest.dropFirst()
      switch byte {
      case UInt8(ascii: "\""): try readDouble(into: &word)
      case UInt8(ascii: "'"): try readSingle(into: &word)
      default: word.append(byte)
      }
    }
    return word
  }

  private mutating func readSingle(into word: inout [UInt8]) throws(UsageError) {
    while let byte = rest.popFirst() {
      if byte == UInt8(ascii: "'") { return }
      if byte == UInt8(ascii: "\\"), rest.first == UInt8(ascii: "'") {
        word.append(rest.removeFirst())
      } else {
        word.append(byte)
      }
    }
    throw UsageError("a quotation mark ' is not closed")
  }

  private mutating func readDouble(into word: inout [UInt8]) throws(UsageError) {
    while let byte = rest.popFirst() {
      if byte == UInt8(ascii: "\"") { return }
      word.append(byte == UInt8(ascii: "\\") ? try readEscape() : byte)
    }
    throw UsageError("a quotation mark \" is not closed")
  }

  private mutating func readEscape() throws(UsageError) -> UInt8 {
    switch rest.popFirst() {
    case UInt8(ascii: "n"): return 10
    case UInt8(ascii: "r"): return 13
    case UInt8(ascii: "t"): return 9
    case UInt8(ascii: "0"): return 0
    case UInt8(ascii: "\\"): return UInt8(ascii: "\\")
    case UInt8(ascii: "\""): return UInt8(ascii: "\"")
    case UInt8(ascii: "x"):
      guard rest.count >= 2,
        let value = UInt8(String(decoding: rest.prefix(2), as: UTF8.self), radix: 16)
      else { throw UsageError("\\x needs two hexadecimal digits") }
      rest = rest.dropFirst(2)
      return value
    default: throw UsageError("unknown escape after \\; known: n r t 0 \\ \" xHH")
    }
  }
}
