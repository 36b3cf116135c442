import Base
import Store

// Keys: whole entries and the key space.
extension Node {
  mutating func delete() {
    guard fitsTransaction(operationCount: parser.arguments.count - 1) else { return }
    var removed = 0
    for index in 1..<parser.arguments.count {
      guard let result = perform(.delete(key: parser.arguments[index])) else { return }
      if result.isChange { removed += 1 }
    }
    output.reply(integer: removed)
  }

  mutating func exists() {
    var found = 0
    for index in 1..<parser.arguments.count where lookup(parser.arguments[index]) != nil {
      found += 1
    }
    output.reply(integer: found)
  }

  mutating func type() {
    lookup(parser.arguments[1]) == nil
      ? output.reply(simple: "none") : output.reply(simple: "string")
  }

  mutating func flush() {
    if parser.arguments.count > 1 {
      let word = parser.arguments[1]
      guard parser.arguments.count == 2, word.isWord("async") || word.isWord("sync") else {
        return failSyntax()
      }
    }
    guard perform(.flush) != nil else { return }
    output.replyOK()
  }

  // MARK: Renaming and copying

  mutating func rename(onlyIfAbsent: Bool) {
    let source = parser.arguments[1]
    let target = parser.arguments[2]
    guard let entry = lookup(source) else { return fail("ERR no such key") }
    let isSame = source.isEqual(to: target)
    if onlyIfAbsent, isSame || lookup(target) != nil { return output.reply(integer: 0) }
    if !isSame {
      // Checked before anything is changed: the delete must fit behind the copy.
      guard
        entry.value.count + source.count + target.count + 64
          <= options.database.transactionByteCountMax
      else { return fail(text(of: .transactionTooLarge)) }
      guard putCopy(of: entry, under: target), perform(.delete(key: source)) != nil else { return }
    }
    onlyIfAbsent ? output.reply(integer: 1) : output.replyOK()
  }

  mutating func copy() {
    let source = parser.arguments[1]
    let target = parser.arguments[2]
    guard let replace = copyOptions() else { return }
    if source.isEqual(to: target) {
      return fail("ERR source and destination objects are the same")
    }
    guard let entry = lookup(source) else { return output.reply(integer: 0) }
    if !replace, lookup(target) != nil { return output.reply(integer: 0) }
    guard putCopy(of: entry, under: target) else { return }
    output.reply(integer: 1)
  }

  /// True when REPLACE was given; nil after an error.
  private mutating func copyOptions() -> Bool? {
    var replace = false
    var index = 3
    while index < parser.arguments.count {
      if parser.arguments[index].isWord("replace") {
        replace = true
      } else if parser.arguments[index].isWord("db"), index + 1 < parser.arguments.count {
        index += 1
        guard let number = parseDecimal(parser.arguments[index]) else {
          failNotInteger()
          return nil
        }
        guard number == 0 else {
          fail("ERR DB index is out of range")
          return nil
        }
      } else {
        failSyntax()
        return nil
      }
      index += 1
    }
    return replace
  }

  private mutating func putCopy(of entry: Entry, under key: UnsafeRawBufferPointer) -> Bool {
    scratch.removeAll()
    scratch.append(entry.value)
    var options = PutOptions.plain
    if entry.expiry != Change.noExpiry { options.expiry = .at(entry.expiry) }
    return perform(.put(key: key, value: scratch.bytes, options)) != nil
  }

  // MARK: Listing

  mutating func keys() {
    let pattern = GlobPattern(parser.arguments[1])
    var found = 0
    scratch.removeAll()
    database.unsafelyUnwrapped.pointee.visit { entry in
      if pattern.matches(entry.key), scratch.count <= options.outputByteCountMax {
        scratch.reply(bulk: entry.key)
        found += 1
      }
    }
    replyScratch(count: found)
  }

  /// Answers an array whose elements lie in `scratch`.
  private mutating func replyScratch(count: Int) {
    guard scratch.count <= options.outputByteCountMax else {
      return fail("ERR reply exceeds the connection's output bound; use SCAN")
    }
    output.reply(array: count)
    output.append(scratch.bytes)
  }

  mutating func scan() {
    guard let cursor = parseCursor(parser.arguments[1]) else {
      return fail("ERR invalid cursor")
    }
    var pattern: UnsafeRawBufferPointer?
    var count = 10
    var isString = true
    var index = 2
    while index < parser.arguments.count {
      let word = parser.arguments[index]
      guard index + 1 < parser.arguments.count else { return failSyntax() }
      let value = parser.arguments[index + 1]
      if word.isWord("match") {
        pattern = value
      } else if word.isWord("count") {
        guard let number = parseDecimal(value) else { return failNotInteger() }
        guard number >= 1 else { return failSyntax() }
        count = Int(min(number, NodeOptions.scanCountMax))
      } else if word.isWord("type") {
        isString = value.isWord("string")
      } else {
        return failSyntax()
      }
      index += 2
    }
    scan(from: cursor, count: count, pattern: pattern, isString: isString)
  }

  private mutating func scan(
    from cursor: UInt64, count: Int, pattern: UnsafeRawBufferPointer?, isString: Bool
  ) {
    let glob = pattern.map { GlobPattern($0) }
    var found = 0
    scratch.removeAll()
    let next = database.unsafelyUnwrapped.pointee.scan(cursor, atLeast: count) { entry in
      if isString, glob?.matches(entry.key) ?? true {
        scratch.reply(bulk: entry.key)
        found += 1
      }
    }
    output.reply(array: 2)
    output.reply(bulk: String(next))
    output.reply(array: found)
    output.append(scratch.bytes)
  }

  /// A cursor is any unsigned 64-bit number.
  private func parseCursor(_ text: UnsafeRawBufferPointer) -> UInt64? {
    let isNegative = text.first == UInt8(ascii: "-")
    let hasSign = isNegative || text.first == UInt8(ascii: "+")
    guard !hasSign || text.count > 1 else { return nil }
    var value: UInt64 = 0
    for byte in text.dropFirst(hasSign ? 1 : 0) {
      guard byte >= 48, byte <= 57 else { return nil }
      let (product, overflow) = value.multipliedReportingOverflow(by: 10)
      let (sum, carry) = product.addingReportingOverflow(UInt64(byte - 48))
      if overflow || carry { return nil }
      value = sum
    }
    return isNegative ? 0 &- value : value
  }

  mutating func randomKey() {
    guard let entry = database.unsafelyUnwrapped.pointee.random(&chance) else {
      return output.replyNil(resp: resp)
    }
    output.reply(bulk: entry.key)
  }
}
