import TPC

/// What a service keeps books of, and what it says to an order. It knows neither disk nor network.
///
/// Every call is repeated from the journal after a crash, so each depends on the arguments and on
/// the calls before it alone.
protocol Books {
  /// Says whether the order can be done, and sets aside what it needs. After a no nothing is set
  /// aside: `.invalid` ends the transaction, for no order under way can make it good; `.conflict`
  /// may be otherwise once another order is decided.
  mutating func reserve(_ order: Order) -> Verdict
  /// Gives back what was set aside.
  mutating func release(_ order: Order)
  /// Does it. What it needs is free: `release` came right before.
  mutating func apply(_ order: Order, as id: TransactionID)

  /// Everything that was applied, in lines that `restore` understands.
  var facts: [String] { get }
  /// Takes a line of `facts` back; false for anything else.
  mutating func restore(_ fact: [Substring]) -> Bool

  /// Answers a question of a client; nil: it is not ours.
  func answer(_ question: [Substring]) -> String?
}
