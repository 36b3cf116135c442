import TPC

/// Stock by goods, and what orders that are not decided yet will take from it or add to it.
///
/// Invariant: reserved <= stock, for every kind of goods. So an order that was prepared can be
/// committed, whatever becomes of the others, and no two of them have to wait for each other.
struct Warehouse: Books {
  private let name: String
  private var stock: [Goods: Int] = [:]
  private var reserved: [Goods: Int] = [:]
  private var expected: [Goods: Int] = [:]

  init(name: String) { self.name = name }

  mutating func reserve(_ order: Order) -> Verdict {
    let move = order.move
    if move.from == name {
      let inStock = stock[move.goods, default: 0]
      // The others may be committed or aborted: what would be there at best?
      guard move.amount <= inStock + expected[move.goods, default: 0] else { return .no(.invalid) }
      guard move.amount <= inStock - reserved[move.goods, default: 0] else { return .no(.conflict) }
      reserved[move.goods, default: 0] += move.amount
    }
    if move.to == name { expected[move.goods, default: 0] += move.amount }
    return .yes([])
  }

  mutating func release(_ order: Order) {
    let move = order.move
    if move.from == name { reserved.subtract(move.amount, of: move.goods) }
    if move.to == name { expected.subtract(move.amount, of: move.goods) }
  }

  mutating func apply(_ order: Order, as id: TransactionID) {
    let move = order.move
    if move.from == name { stock.subtract(move.amount, of: move.goods) }
    if move.to == name { stock[move.goods, default: 0] += move.amount }
  }

  var facts: [String] { lines.map { "stock \($0)" } }

  mutating func restore(_ fact: [Substring]) -> Bool {
    guard fact.count == 3, fact[0] == "stock", let amount = Int(fact[1]), let goods = Goods(fact[2])
    else { return false }
    stock[goods] = amount
    return true
  }

  func answer(_ question: [Substring]) -> String? {
    question == ["stock"] ? lines.joined(separator: "\n") : nil
  }

  private var lines: [String] {
    stock.sorted { $0.key < $1.key }.map { "\($0.value) \($0.key)" }
  }
}

extension [Goods: Int] {
  /// Takes an amount away that is there; nothing is kept of what is used up.
  fileprivate mutating func subtract(_ amount: Int, of goods: Goods) {
    let left = self[goods, default: 0] - amount
    self[goods] = left == 0 ? nil : left
  }
}
