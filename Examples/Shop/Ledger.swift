import Base
import TPC

/// Every transaction of the shop, and the value of all stock.
///
/// It takes part in each transaction, so here an undo or a redo can be refused that comes twice.
struct Ledger: Books {
  private struct Entry {
    var id: TransactionID
    var order: Order
    /// The transaction that took it back, and the one that made it again.
    var undoneBy: TransactionID?
    var redoneBy: TransactionID?
  }

  private var entries: [Entry] = []
  private var index: [String: Int] = [:]
  private(set) var balance = 0
  /// What orders that are not decided yet may add.
  private var expected = 0
  private var openCount = 0

  static let balanceMax = 1_000_000_000_000_000
  static let entryCountMax = 1_000_000
  /// Entries in one answer.
  static let pageEntryCount = 1_000

  mutating func reserve(_ order: Order) -> Verdict {
    if let subject = order.subject {
      // Its name is locked: no other undo or redo of it is under way.
      guard let entry = entry(subject), entry.order.original == order.original,
        allows(order.purpose, of: entry)
      else { return .no(.invalid) }
    }
    let gain = max(0, order.move.worth)
    guard balance + expected + gain <= Self.balanceMax,
      entries.count + openCount < Self.entryCountMax
    else { return .no(.noSpace) }
    expected += gain
    openCount += 1
    return .yes([])
  }

  /// A transaction is undone at most once, and redone at most once after that. To undo an undo is
  /// to redo; a redo is a transaction like any other.
  private func allows(_ purpose: Order.Purpose, of entry: Entry) -> Bool {
    if case .undo = entry.order.purpose { return false }
    if case .undo = purpose { return entry.undoneBy == nil }
    return entry.undoneBy != nil && entry.redoneBy == nil
  }

  mutating func release(_ order: Order) {
    expected -= max(0, order.move.worth)
    openCount -= 1
  }

  mutating func apply(_ order: Order, as id: TransactionID) {
    append(Entry(id: id, order: order))
    guard let subject = order.subject, let place = index[subject] else { return }
    if case .undo = order.purpose {
      entries[place].undoneBy = id
    } else {
      entries[place].redoneBy = id
    }
  }

  private mutating func append(_ entry: Entry) {
    index["\(entry.id)"] = entries.count
    entries.append(entry)
    balance += entry.order.move.worth
  }

  /// In the order in which they were applied; who undid or redid what follows from the orders.
  var facts: [String] {
    entries.map { "entry \($0.id.age.nanos) \($0.id.node) \($0.id.counter) \($0.order)" }
  }

  mutating func restore(_ fact: [Substring]) -> Bool {
    guard fact.count > 4, fact[0] == "entry", let age = UInt64(fact[1]), let node = UInt16(fact[2]),
      let counter = UInt64(fact[3]), let order = Order(fact[4...].joined(separator: " "))
    else { return false }
    let stamp = Stamp(nanos: age)
    apply(order, as: TransactionID(age: stamp, node: MemberID(node), counter: counter))
    return true
  }

  func answer(_ question: [Substring]) -> String? {
    switch (question[0], question.count) {
    case ("balance", 1): "\(balance)"
    // The order as it was given at first: what an undo or a redo has to name.
    case ("entry", 2): entry(String(question[1])).map { "\($0.order.original)" } ?? "unknown"
    case ("log", 2): Int(question[1]).map { page(from: $0) }
    default: nil
    }
  }

  private func page(from first: Int) -> String {
    entries.dropFirst(max(0, first)).prefix(Self.pageEntryCount).map(Self.line)
      .joined(separator: "\n")
  }

  private static func line(_ entry: Entry) -> String {
    var line = "\(entry.id) \(entry.order)"
    if let id = entry.undoneBy { line += ", undone by \(id)" }
    if let id = entry.redoneBy { line += ", redone by \(id)" }
    return line
  }

  private func entry(_ name: String) -> Entry? { index[name].map { entries[$0] } }
}
