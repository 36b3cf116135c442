import Base
import Store

/// How a command gives an expiry: milliseconds a unit, from now or since 1970.
struct ExpiryForm: Equatable {
  var unit: Int64
  var relative: Bool
}

/// What the words of SET and GETEX say of the expiry, before its value is looked at.
enum ExpiryWords: Equatable {
  case none, keep, persist
  /// The value is this argument.
  case given(ExpiryForm, argument: Int)
}

extension Node {
  /// Reads `EX seconds` and the like at `index`, which then stands at the value; false when it is
  /// something else. A word may be repeated, as in Redis, and the last value counts; two that say
  /// different things may not.
  func takeExpiry(_ index: inout Int, into words: inout ExpiryWords) -> Bool {
    guard index + 1 < parser.arguments.count, let form = expiryForm(parser.arguments[index])
    else { return false }
    switch words {
    case .none: break
    case .given(form, _): break
    case .keep, .persist, .given: return false
    }
    index += 1
    words = .given(form, argument: index)
    return true
  }

  func expiryForm(_ word: UnsafeRawBufferPointer) -> ExpiryForm? {
    if word.isWord("ex") { return ExpiryForm(unit: 1_000, relative: true) }
    if word.isWord("px") { return ExpiryForm(unit: 1, relative: true) }
    if word.isWord("exat") { return ExpiryForm(unit: 1_000, relative: false) }
    if word.isWord("pxat") { return ExpiryForm(unit: 1, relative: false) }
    return nil
  }

  /// The Unix milliseconds that an argument means, which must lie after 0; answers the error and
  /// returns nil otherwise.
  mutating func expiry(_ text: UnsafeRawBufferPointer, _ form: ExpiryForm, name: StaticString)
    -> Int64?
  {
    guard let value = parseDecimal(text) else {
      failNotInteger()
      return nil
    }
    guard value > 0, let at = absolute(value, form) else {
      fail("ERR invalid expire time in '\(name)' command")
      return nil
    }
    return at
  }

  private func absolute(_ value: Int64, _ form: ExpiryForm) -> Int64? {
    let (millis, overflow) = value.multipliedReportingOverflow(by: form.unit)
    if overflow { return nil }
    guard form.relative else { return millis == .max ? nil : millis }
    let (sum, carry) = millis.addingReportingOverflow(clockMillis)
    return carry || sum == .max ? nil : sum
  }

  var clockMillis: Int64 { database?.pointee.clockMillis ?? now.wallMillis }

  mutating func expire(unit: Int64, relative: Bool, name: StaticString) {
    guard let condition = expireCondition() else { return }
    guard let value = parseDecimal(parser.arguments[2]) else { return failNotInteger() }
    guard let at = absolute(value, ExpiryForm(unit: unit, relative: relative)) else {
      return fail("ERR invalid expire time in '\(name)' command")
    }
    guard let result = perform(.expire(key: parser.arguments[1], at: at, condition)) else {
      return
    }
    output.reply(integer: result.isChange ? 1 : 0)
  }

  private mutating func expireCondition() -> ExpireCondition? {
    var nx = false
    var xx = false
    var gt = false
    var lt = false
    for index in 3..<max(3, parser.arguments.count) {
      let word = parser.arguments[index]
      if word.isWord("nx") {
        nx = true
      } else if word.isWord("xx") {
        xx = true
      } else if word.isWord("gt") {
        gt = true
      } else if word.isWord("lt") {
        lt = true
      } else {
        fail("ERR Unsupported option \(word.text())")
        return nil
      }
    }
    if nx, xx || gt || lt {
      fail("ERR NX and XX, GT or LT options at the same time are not compatible")
      return nil
    }
    if gt, lt {
      fail("ERR GT and LT options at the same time are not compatible")
      return nil
    }
    // XX with LT is the one pair that says more than its second word: LT alone lets a key without
    // an expiry through. GT never does.
    if xx, lt { return expiryOf(parser.arguments[1]) ? .lt : .xx }
    if nx { return .nx }
    if gt { return .gt }
    if lt { return .lt }
    return xx ? .xx : .always
  }

  /// True when the key is there and has an expiry.
  private mutating func expiryOf(_ key: UnsafeRawBufferPointer) -> Bool {
    guard let entry = lookup(key) else { return false }
    return entry.expiry != Change.noExpiry
  }

  mutating func timeToLive(unit: Int64, absolute: Bool) {
    guard let entry = lookup(parser.arguments[1]) else { return output.reply(integer: -2) }
    guard entry.expiry != Change.noExpiry else { return output.reply(integer: -1) }
    let millis = absolute ? entry.expiry : max(0, entry.expiry - clockMillis)
    output.reply(integer: unit == 1 ? millis : millis / 1_000 + (millis % 1_000 + 500) / 1_000)
  }

  mutating func persist() {
    guard let result = perform(.persist(key: parser.arguments[1])) else { return }
    output.reply(integer: result.isChange ? 1 : 0)
  }
}
