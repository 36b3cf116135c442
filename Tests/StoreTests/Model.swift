import Base

@testable import Store

/// What the database must agree with: a dictionary and the plain definition of each operation.
struct Model: Equatable {
  struct Item: Equatable {
    var value: [UInt8]
    var expiry: Int64
  }

  var items: [String: Item] = [:]
  var clock: Int64 = 0

  func live(_ key: String) -> Item? {
    guard let item = items[key], item.expiry > clock else { return nil }
    return item
  }

  mutating func execute(_ operation: TestOperation) -> String {
    switch operation {
    case .put(let key, let value, let options): return put(key, value, options)
    case .delete(let key):
      guard live(key) != nil else { return "unchanged" }
      items[key] = nil
      return "done"
    case .increment(let key, let amount):
      guard let before = Int64(String(decoding: live(key)?.value ?? [48], as: UTF8.self)) else {
        return "failed(Store.OperationFailure.notInteger)"
      }
      let (sum, overflowed) = before.addingReportingOverflow(amount)
      if overflowed { return "failed(Store.OperationFailure.overflow)" }
      items[key] = Item(value: Array("\(sum)".utf8), expiry: live(key)?.expiry ?? .max)
      return "integer(\(sum))"
    case .append(let key, let value):
      var item = live(key) ?? Item(value: [], expiry: .max)
      item.value += Array(value.utf8)
      items[key] = item
      return "integer(\(item.value.count))"
    case .setRange(let key, let offset, let value): return setRange(key, offset, value)
    case .expire(let key, let millis, _):
      guard live(key) != nil else { return "unchanged" }
      if millis <= clock { items[key] = nil } else { items[key]?.expiry = millis }
      return "done"
    case .persist(let key):
      guard let item = live(key), item.expiry != .max else { return "unchanged" }
      items[key]?.expiry = .max
      return "done"
    case .flush:
      let wasEmpty = items.isEmpty
      items = [:]
      return wasEmpty ? "unchanged" : "done"
    case .incrementFloat, .check: return "not modelled"
    }
  }

  private mutating func put(_ key: String, _ value: String, _ options: PutOptions) -> String {
    let before = live(key)
    switch options.condition {
    case .ifAbsent where before != nil, .ifPresent where before == nil: return "unchanged"
    default: break
    }
    var expiry = Int64.max
    if case .keep = options.expiry { expiry = before?.expiry ?? .max }
    if case .at(let millis) = options.expiry { expiry = millis }
    items[key] = Item(value: Array(value.utf8), expiry: expiry)
    return "done"
  }

  private mutating func setRange(_ key: String, _ offset: Int, _ value: String) -> String {
    var item = live(key) ?? Item(value: [], expiry: .max)
    if value.isEmpty { return "integer(\(item.value.count))" }
    while item.value.count < offset + value.utf8.count { item.value.append(0) }
    item.value.replaceSubrange(offset..<offset + value.utf8.count, with: Array(value.utf8))
    items[key] = item
    return "integer(\(item.value.count))"
  }
}

extension Random {
  /// A random operation on one of `keyCount` keys.
  mutating func operation(
    keyCount: Int, clock: Int64, prefix: String = "key:"
  ) -> TestOperation {
    let key = "\(prefix)\(below(keyCount))"
    switch below(20) {
    case 0...6: return .put(key, text(), options(clock))
    case 7, 8, 9: return .delete(key)
    case 10, 11: return .increment(key, Int64(within(-5...5)))
    case 12, 13: return .append(key, text())
    case 14: return .setRange(key, below(60), text())
    case 15, 16: return .expire(key, clock + Int64(within(-5...60)))
    case 17: return .persist(key)
    default: return chance(1, in: 40) ? .flush : .put(key, "\(below(1_000))")
    }
  }

  private mutating func text() -> String {
    let count = chance(1, in: 20) ? below(3_000) : below(30)
    return String(repeating: String(UnicodeScalar(UInt8(97 + below(26)))), count: count)
  }

  private mutating func options(_ clock: Int64) -> PutOptions {
    let conditions: [PutCondition] = [.always, .always, .ifAbsent, .ifPresent]
    let expiries: [PutExpiry] = [.clear, .keep, .at(clock + Int64(within(1...80)))]
    return PutOptions(condition: conditions[below(4)], expiry: expiries[below(3)])
  }
}

extension TestDatabase {
  /// What readers see, for comparing with the model.
  func visible() -> [String: Model.Item] {
    var all: [String: Model.Item] = [:]
    database.visit {
      all[String(bytes: $0.key)] = Model.Item(value: Array($0.value), expiry: $0.expiry)
    }
    return all
  }
}

extension Model {
  var visible: [String: Item] { items.filter { $0.value.expiry > clock } }
}
