/// What is traded: an article at the value of one piece, written `stonk@9000`.
struct Goods: Hashable, Comparable, CustomStringConvertible {
  var article: String
  var value: Int

  static let valueMax = 1_000_000

  init?(_ text: Substring) {
    let parts = text.split(separator: "@", omittingEmptySubsequences: false)
    guard parts.count == 2, isName(parts[0]), let value = number(parts[1], Self.valueMax) else {
      return nil
    }
    article = String(parts[0])
    self.value = value
  }

  var description: String { "\(article)@\(value)" }

  static func < (a: Goods, b: Goods) -> Bool { (a.article, a.value) < (b.article, b.value) }
}

/// Goods on their way. Without a `from` they are gained, without a `to` lost.
struct Move: Equatable, CustomStringConvertible {
  var amount: Int
  var goods: Goods
  var from: String?
  var to: String?

  static let amountMax = 1_000_000

  /// Reads `transfer 50 stonk@9000 north south`, `gain 10 shoes@42 north`, `loss 5 shoes@42 north`.
  init?(_ words: ArraySlice<Substring>) {
    let words = Array(words)
    guard words.count >= 4, let amount = number(words[1], Self.amountMax),
      let goods = Goods(words[2]), words[3...].allSatisfy(isName)
    else { return nil }
    let places = words[3...].map(String.init)
    switch (words[0], places.count) {
    case ("transfer", 2) where places[0] != places[1]: (from, to) = (places[0], places[1])
    case ("gain", 1): (from, to) = (nil, places[0])
    case ("loss", 1): (from, to) = (places[0], nil)
    default: return nil
    }
    self.amount = amount
    self.goods = goods
  }

  /// The same goods back the same way.
  var reversed: Move {
    var move = self
    (move.from, move.to) = (to, from)
    return move
  }

  /// What it adds to the value of everything in stock.
  var worth: Int {
    let value = amount * goods.value
    return from == nil ? value : to == nil ? -value : 0
  }

  var description: String {
    let verb = from == nil ? "gain" : to == nil ? "loss" : "transfer"
    return ([verb, "\(amount)", "\(goods)"] + [from, to].compactMap { $0 }).joined(separator: " ")
  }
}

/// What a transaction is to do: a move, or undoing or redoing that of an earlier transaction.
///
/// Its text is the body of the work that participants are asked to prepare.
struct Order: Equatable, CustomStringConvertible {
  enum Purpose: Equatable {
    case new
    /// Takes the move of a transaction back.
    case undo(String)
    /// Makes the move of an undone transaction again.
    case redo(String)
  }

  var purpose: Purpose
  /// The move as it was ordered at first, for undo too.
  var original: Move

  init(_ purpose: Purpose, _ original: Move) {
    self.purpose = purpose
    self.original = original
  }

  /// Reads a move, `undo 1.17 MOVE` or `redo 1.17 MOVE`.
  init?(_ text: String) {
    let words = text.split(separator: " ", omittingEmptySubsequences: false)
    guard let first = words.first else { return nil }
    guard first == "undo" || first == "redo" else {
      guard let move = Move(words[...]) else { return nil }
      self.init(.new, move)
      return
    }
    guard words.count > 2, isTransaction(words[1]), let move = Move(words[2...]) else { return nil }
    let name = String(words[1])
    self.init(first == "undo" ? .undo(name) : .redo(name), move)
  }

  /// What happens in the warehouses.
  var move: Move {
    if case .undo = purpose { return original.reversed }
    return original
  }

  /// The transaction that is undone or redone.
  var subject: String? {
    switch purpose {
    case .new: nil
    case .undo(let name), .redo(let name): name
    }
  }

  var description: String {
    switch purpose {
    case .new: "\(original)"
    case .undo(let name): "undo \(name) \(original)"
    case .redo(let name): "redo \(name) \(original)"
    }
  }
}

/// 1 to 32 letters, digits, `-` and `_`.
func isName(_ text: Substring) -> Bool {
  (1...32).contains(text.utf8.count)
    && text.utf8.allSatisfy { byte in
      switch byte {
      case 48...57, 65...90, 97...122, 45, 95: true
      default: false
      }
    }
}

/// `MEMBER.COUNTER`, as the library writes the name of a transaction.
func isTransaction(_ text: Substring) -> Bool {
  let parts = text.split(separator: ".", omittingEmptySubsequences: false)
  return parts.count == 2 && parts.allSatisfy { UInt64($0).map(String.init) == String($0) }
}

/// A whole number from 1 to `most`.
private func number(_ text: Substring, _ most: Int) -> Int? {
  guard let number = Int(text), (1...most).contains(number), String(number) == text else {
    return nil
  }
  return number
}
