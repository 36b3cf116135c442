import Base
import Client

/// Reads the steps of a transaction, one a line: `put k v`, `update k v`, `delete k`, `incr k [n]`,
/// `get k`, `check k version N`, `check k absent`, `check k = value`. Empty lines and lines that
/// begin with `#` count for nothing.
func parseTransaction(_ script: [UInt8]) throws(UsageError) -> [TransactionStep] {
  var steps: [TransactionStep] = []
  for (index, line) in splitLines(script).enumerated() {
    do {
      let words = try splitWords(line)
      if !words.isEmpty { steps.append(try parseStep(words)) }
    } catch {
      throw UsageError("line \(index + 1) of the transaction: \(error.sentence)")
    }
  }
  guard !steps.isEmpty else {
    throw UsageError("Value required for this operation type: the lines of the transaction")
  }
  return steps
}

private func parseStep(_ words: [[UInt8]]) throws(UsageError) -> TransactionStep {
  let texts = words.map { String(decoding: $0, as: UTF8.self) }
  switch (texts[0], words.count) {
  case ("put", 3), ("3", 3): return .put(key: words[1], value: words[2])
  case ("update", 3), ("0", 3): return .update(key: words[1], value: words[2])
  case ("delete", 2), ("2", 2): return .delete(key: words[1])
  case ("get", 2), ("1", 2): return .get(key: words[1])
  case ("incr", 2): return .increment(key: words[1], by: 1)
  case ("incr", 3): return .increment(key: words[1], by: try Order.integer(words[2]))
  case ("check", 3) where texts[2] == "absent": return .checkAbsent(key: words[1])
  case ("check", 4) where texts[2] == "version":
    return .checkVersion(key: words[1], version: try Order.integer(words[3]))
  case ("check", 4) where texts[2] == "=": return .checkValue(key: words[1], value: words[3])
  default:
    throw UsageError(
      "\(Order.quoted(words[0])) is none of put k v, update k v, delete k, get k, incr k [n], "
        + "check k version n, check k absent, check k = v")
  }
}
