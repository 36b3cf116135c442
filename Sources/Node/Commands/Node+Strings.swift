import Base
import Store

// Strings: reading and replacing values.
extension Node {
  mutating func get() {
    guard let entry = lookup(parser.arguments[1]) else {
      counters.misses &+= 1
      return output.replyNil(resp: resp)
    }
    counters.hits &+= 1
    output.reply(bulk: entry.value)
  }

  mutating func mget() {
    output.reply(array: parser.arguments.count - 1)
    let start = output.count
    for index in 1..<parser.arguments.count {
      if let entry = lookup(parser.arguments[index]) {
        counters.hits &+= 1
        output.reply(bulk: entry.value)
      } else {
        counters.misses &+= 1
        output.replyNil(resp: resp)
      }
      if output.count - start > options.outputByteCountMax {
        return failOverBound(from: start)
      }
    }
  }

  /// Replaces a reply that passed the bound of a connection's output by an error.
  mutating func failOverBound(from start: Int) {
    let header = output.bytes[0..<start].lastIndex(of: UInt8(ascii: "*")) ?? start
    output.truncate(to: header)
    fail("ERR reply exceeds the connection's output bound")
  }

  mutating func set() {
    let arguments = parser.arguments.count
    if arguments == 3 {
      guard put(.plain) != nil else { return }
      return output.replyOK()
    }
    guard let options = setOptions() else { return }
    if options.answersOld {
      guard let (old, existed) = copyOld() else { return }
      guard put(options.put) != nil else { return }
      existed ? output.reply(bulk: old) : output.replyNil(resp: resp)
      return
    }
    guard let result = put(options.put) else { return }
    if case .unchanged = result { return output.replyNil(resp: resp) }
    output.replyOK()
  }

  /// Puts argument 2 under argument 1.
  @inline(__always) private mutating func put(_ options: PutOptions) -> OperationResult? {
    perform(.put(key: parser.arguments[1], value: parser.arguments[2], options))
  }

  /// Copies the present value of argument 1, because the change frees it.
  private mutating func copyOld() -> (UnsafeRawBufferPointer, Bool)? {
    scratch.removeAll()
    guard let entry = lookup(parser.arguments[1]) else {
      return (UnsafeRawBufferPointer(start: nil, count: 0), false)
    }
    scratch.append(entry.value)
    return (scratch.bytes, true)
  }

  private mutating func setOptions() -> (put: PutOptions, answersOld: Bool)? {
    var put = PutOptions.plain
    var answersOld = false
    var expiry = ExpiryWords.none
    var index = 3
    while index < parser.arguments.count {
      let word = parser.arguments[index]
      if word.isWord("nx"), put.condition != .ifPresent {
        put.condition = .ifAbsent
      } else if word.isWord("xx"), put.condition != .ifAbsent {
        put.condition = .ifPresent
      } else if word.isWord("get") {
        answersOld = true
      } else if word.isWord("keepttl"), expiry == .none || expiry == .keep {
        expiry = .keep
      } else if !takeExpiry(&index, into: &expiry) {
        failSyntax()
        return nil
      }
      index += 1
    }
    switch expiry {
    case .none, .persist: break
    case .keep: put.expiry = .keep
    case .given(let form, let argument):
      guard let at = self.expiry(parser.arguments[argument], form, name: "set") else { return nil }
      put.expiry = .at(at)
    }
    return (put, answersOld)
  }

  mutating func setnx() {
    var options = PutOptions.plain
    options.condition = .ifAbsent
    guard let result = put(options) else { return }
    output.reply(integer: result.isChange ? 1 : 0)
  }

  mutating func setex(unit: Int64, name: StaticString) {
    guard
      let at = expiry(parser.arguments[2], ExpiryForm(unit: unit, relative: true), name: name)
    else { return }
    var options = PutOptions.plain
    options.expiry = .at(at)
    let operation = Operation.put(key: parser.arguments[1], value: parser.arguments[3], options)
    guard perform(operation) != nil else { return }
    output.replyOK()
  }

  mutating func getset() {
    guard let (old, existed) = copyOld(), put(.plain) != nil else { return }
    existed ? output.reply(bulk: old) : output.replyNil(resp: resp)
  }

  mutating func getdel() {
    guard let entry = lookup(parser.arguments[1]) else { return output.replyNil(resp: resp) }
    output.reply(bulk: entry.value)
    _ = perform(.delete(key: parser.arguments[1]))
  }

  mutating func getex() {
    let key = parser.arguments[1]
    var expiry = ExpiryWords.none
    var index = 2
    while index < parser.arguments.count {
      if parser.arguments[index].isWord("persist"), expiry == .none || expiry == .persist {
        expiry = .persist
      } else if !takeExpiry(&index, into: &expiry) {
        return failSyntax()
      }
      index += 1
    }
    guard let entry = lookup(key) else { return output.replyNil(resp: resp) }
    var operation: Operation?
    switch expiry {
    case .none, .keep: break
    case .persist: operation = .persist(key: key)
    case .given(let form, let argument):
      guard let at = self.expiry(parser.arguments[argument], form, name: "getex") else { return }
      operation = .expire(key: key, at: at, .always)
    }
    output.reply(bulk: entry.value)
    if let operation { _ = perform(operation) }
  }

  mutating func mset() {
    guard parser.arguments.count % 2 == 1 else {
      return fail("ERR wrong number of arguments for 'mset' command")
    }
    guard fitsTransaction(operationCount: parser.arguments.count / 2) else { return }
    guard putPairs() else { return }
    output.replyOK()
  }

  mutating func msetnx() {
    guard parser.arguments.count % 2 == 1 else {
      return fail("ERR wrong number of arguments for 'msetnx' command")
    }
    guard fitsTransaction(operationCount: parser.arguments.count / 2) else { return }
    for index in stride(from: 1, to: parser.arguments.count, by: 2)
    where lookup(parser.arguments[index]) != nil {
      return output.reply(integer: 0)
    }
    guard putPairs() else { return }
    output.reply(integer: 1)
  }

  /// Puts all pairs; false after an error.
  private mutating func putPairs() -> Bool {
    for index in stride(from: 1, to: parser.arguments.count, by: 2) {
      let put = Operation.put(
        key: parser.arguments[index], value: parser.arguments[index + 1], .plain)
      guard perform(put) != nil else { return false }
    }
    return true
  }

  /// True when the arguments at hand fit one transaction: checked before anything is changed, so
  /// that a command of many operations cannot fail halfway. Within EXEC the transaction may be full
  /// all the same; then all of it is undone (`overflowed`). Answers the error otherwise.
  mutating func fitsTransaction(operationCount: Int) -> Bool {
    var byteCount = 0
    var tooLarge = false
    for index in 1..<parser.arguments.count {
      byteCount += parser.arguments[index].count + 32
      if parser.arguments[index].count > options.database.valueByteCountMax { tooLarge = true }
    }
    let limits = options.database
    if tooLarge {
      fail(text(of: .tooLarge))
      return false
    }
    if byteCount > limits.transactionByteCountMax
      || operationCount > limits.transactionOperationCountMax
    {
      fail(text(of: .transactionTooLarge))
      return false
    }
    return true
  }
}

// Strings: parts and numbers.
extension Node {
  mutating func append() {
    guard
      let result = perform(.append(key: parser.arguments[1], value: parser.arguments[2]))
    else { return }
    replyLength(result)
  }

  private mutating func replyLength(_ result: OperationResult) {
    if case .integer(let length) = result { return output.reply(integer: length) }
    output.reply(integer: lookup(parser.arguments[1])?.value.count ?? 0)
  }

  mutating func strlen() {
    output.reply(integer: lookup(parser.arguments[1])?.value.count ?? 0)
  }

  mutating func getrange() {
    guard var start = parseDecimal(parser.arguments[2]), var end = parseDecimal(parser.arguments[3])
    else { return failNotInteger() }
    let empty = UnsafeRawBufferPointer(start: nil, count: 0)
    guard let entry = lookup(parser.arguments[1]) else { return output.reply(bulk: empty) }
    let length = Int64(entry.value.count)
    if start < 0, end < 0, start > end { return output.reply(bulk: empty) }
    if start < 0 { start = max(0, start + length) }
    if end < 0 { end = max(0, end + length) }
    end = min(end, length - 1)
    guard start <= end, length > 0 else { return output.reply(bulk: empty) }
    output.reply(bulk: UnsafeRawBufferPointer(rebasing: entry.value[Int(start)...Int(end)]))
  }

  mutating func setrange() {
    guard let offset = parseDecimal(parser.arguments[2]) else { return failNotInteger() }
    if offset < 0 { return fail("ERR offset is out of range") }
    let value = parser.arguments[3]
    if value.count == 0 {
      return output.reply(integer: lookup(parser.arguments[1])?.value.count ?? 0)
    }
    guard offset <= Int64(options.database.valueByteCountMax) else {
      return fail(text(of: .tooLarge))
    }
    let operation = Operation.setRange(
      key: parser.arguments[1], offset: Int(offset), value: value)
    guard let result = perform(operation) else { return }
    replyLength(result)
  }

  mutating func increment(by delta: Int64) {
    guard let result = perform(.increment(key: parser.arguments[1], by: delta)) else { return }
    guard case .integer(let value) = result else {
      invariantFailed("an increment answers an integer")
    }
    output.reply(integer: value)
  }

  mutating func incrementBy(sign: Int64) {
    guard let amount = parseDecimal(parser.arguments[2]) else { return failNotInteger() }
    if sign < 0, amount == .min { return fail("ERR decrement would overflow") }
    increment(by: amount * sign)
  }

  mutating func incrementByFloat() {
    guard let amount = parseLongDouble(parser.arguments[2]) else {
      return fail("ERR value is not a valid float")
    }
    guard perform(.incrementFloat(key: parser.arguments[1], by: amount)) != nil else { return }
    guard let entry = lookup(parser.arguments[1]) else { return output.replyNil(resp: resp) }
    output.reply(bulk: entry.value)
  }

  // MARK: Ours

  /// `UPDATE key value`: replaces; the key must exist. The expiry is cleared, as by SET.
  mutating func update() {
    var options = PutOptions.plain
    options.condition = .ifPresent
    guard let result = put(options) else { return }
    guard result.isChange else { return fail("NOTFOUND key does not exist (not-applied)") }
    output.replyOK()
  }

  /// `CAS key version value`: sets the value if the key has that version (0: is absent); answers
  /// the new version, or nil.
  mutating func compareAndSet() {
    guard let version = parseDecimal(parser.arguments[2]), version >= 0 else {
      return failNotInteger()
    }
    let wanted: Stamp? = version == 0 ? nil : Stamp(nanos: UInt64(version))
    let present = lookup(parser.arguments[1])?.version
    guard present == wanted else { return output.replyNil(resp: resp) }
    let put = Operation.put(key: parser.arguments[1], value: parser.arguments[3], .plain)
    guard perform(put) != nil else { return }
    let entry = database.unsafelyUnwrapped.pointee.find(parser.arguments[1])
    reply(version: entry.unsafelyUnwrapped.version)
  }

  /// `GETV key`: value and version, or nil.
  mutating func getWithVersion() {
    guard let entry = lookup(parser.arguments[1]) else { return output.replyNilArray(resp: resp) }
    output.reply(array: 2)
    output.reply(bulk: entry.value)
    reply(version: entry.version)
  }

  /// A version that was told is never that of anything else, whatever a death takes back.
  private mutating func reply(version: Stamp) {
    if version > forcedStamp { replyWaitsForForce = true }
    output.reply(integer: Int64(version.nanos))
  }

  /// `CHECK key VERSION n | ABSENT | EQ value`: fails the transaction unless it holds.
  mutating func check() {
    let word = parser.arguments[2]
    let entry = lookup(parser.arguments[1])
    let holds: Bool
    if word.isWord("absent"), parser.arguments.count == 3 {
      holds = entry == nil
    } else if word.isWord("eq"), parser.arguments.count == 4 {
      holds = entry?.value.isEqual(to: parser.arguments[3]) ?? false
    } else if word.isWord("version"), parser.arguments.count == 4 {
      guard let version = parseDecimal(parser.arguments[3]), version >= 0 else {
        return failNotInteger()
      }
      holds = (entry?.version.nanos ?? 0) == UInt64(version)
    } else {
      return failSyntax()
    }
    guard holds else { return fail("CONDITION check of the key does not hold (not-applied)") }
    output.replyOK()
  }
}

extension OperationResult {
  /// True unless a condition kept everything as it was.
  @inline(__always) var isChange: Bool {
    if case .unchanged = self { return false }
    return true
  }
}
