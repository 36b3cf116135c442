/// Redis's glob patterns: `*`, `?`, `[abc]`, `[^a-z]`, and `\` before a character meant literally.
///
/// - Complexity: O(pattern × text); it goes back to the last `*` only, so no pattern is
///   exponential.
struct GlobPattern {
  private let pattern: UnsafeRawBufferPointer

  init(_ pattern: UnsafeRawBufferPointer) { self.pattern = pattern }

  func matches(_ text: UnsafeRawBufferPointer) -> Bool {
    var p = 0
    var t = 0
    var starPattern = -1
    var starText = 0
    while t < text.count {
      if p < pattern.count, pattern[p] == UInt8(ascii: "*") {
        starPattern = p
        starText = t
        p += 1
      } else if p < pattern.count, let next = step(p, text[t]) {
        p = next
        t += 1
      } else if starPattern >= 0 {
        starText += 1
        t = starText
        p = starPattern + 1
      } else {
        return false
      }
    }
    while p < pattern.count, pattern[p] == UInt8(ascii: "*") { p += 1 }
    return p == pattern.count
  }

  /// The place behind the element at `p` if it matches `byte`, otherwise nil.
  private func step(_ p: Int, _ byte: UInt8) -> Int? {
    switch pattern[p] {
    case UInt8(ascii: "?"): return p + 1
    case UInt8(ascii: "["): return stepClass(p + 1, byte)
    case UInt8(ascii: "\\") where p + 1 < pattern.count:
      return pattern[p + 1] == byte ? p + 2 : nil
    default: return pattern[p] == byte ? p + 1 : nil
    }
  }

  private func stepClass(_ start: Int, _ byte: UInt8) -> Int? {
    var p = start
    let negated = p < pattern.count && pattern[p] == UInt8(ascii: "^")
    if negated { p += 1 }
    var found = false
    while p < pattern.count, pattern[p] != UInt8(ascii: "]") {
      if pattern[p] == UInt8(ascii: "\\"), p + 1 < pattern.count {
        p += 1
        if pattern[p] == byte { found = true }
        p += 1
      } else if p + 2 < pattern.count, pattern[p + 1] == UInt8(ascii: "-") {
        let low = min(pattern[p], pattern[p + 2])
        let high = max(pattern[p], pattern[p + 2])
        if byte >= low, byte <= high { found = true }
        p += 3
      } else {
        if pattern[p] == byte { found = true }
        p += 1
      }
    }
    return found != negated ? min(p + 1, pattern.count) : nil
  }
}
