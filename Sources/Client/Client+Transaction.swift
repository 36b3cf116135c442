import Base

/// One step of a transaction.
public enum TransactionStep: Hashable, Sendable {
  /// Inserts or replaces.
  case put(key: [UInt8], value: [UInt8])
  /// Replaces; aborts the transaction when the key does not exist.
  case update(key: [UInt8], value: [UInt8])
  /// Removes, if the key exists.
  case delete(key: [UInt8])
  /// Adds to an integer; aborts the transaction when the value is none or the sum overflows.
  case increment(key: [UInt8], by: Int64)
  /// Reads.
  case get(key: [UInt8])
  /// Aborts the transaction unless the key has this version.
  case checkVersion(key: [UInt8], version: Int64)
  /// Aborts the transaction unless the key does not exist.
  case checkAbsent(key: [UInt8])
  /// Aborts the transaction unless the key has this value.
  case checkValue(key: [UInt8], value: [UInt8])

  /// What repeating these steps together does: only reads need no operation id. A check is none, as
  /// it may abort the whole.
  package static func effect(of steps: [TransactionStep]) -> Command.Effect {
    let areReads = steps.allSatisfy { if case .get = $0 { true } else { false } }
    return areReads ? .read : .change
  }

  /// The command that does it.
  var command: Command {
    switch self {
    case .put(let key, let value): Command("SET", key, value)
    case .update(let key, let value): Command("UPDATE", key, value)
    case .delete(let key): Command("DEL", key)
    case .increment(let key, let amount): Command("INCRBY", key, String(amount))
    case .get(let key): Command("GET", key)
    case .checkVersion(let key, let version): Command("CHECK", key, "VERSION", String(version))
    case .checkAbsent(let key): Command("CHECK", key, "ABSENT")
    case .checkValue(let key, let value): Command("CHECK", key, "EQ", value)
    }
  }
}

extension Client {
  /// Does all steps at one instant or none, and returns a result for each, in order.
  ///
  /// The whole has one operation id, unless all steps are reads. When a check fails or a step
  /// cannot be done, an error with the reason `.aborted` is thrown and nothing has changed. At most
  /// 100,000 steps; over UDP all within one message of 1 MiB.
  public mutating func transact(_ steps: [TransactionStep]) throws(ClientError) -> [Reply] {
    let commands = [Command("MULTI")] + steps.map(\.command) + [Command("EXEC")]
    let effect = TransactionStep.effect(of: steps)
    let replies = try send(commands, effect)
    let id = effect == .change ? lastID : nil
    let last = replies[replies.count - 1]
    if case .error(let error) = last {
      throw aborted(error, id, because: replies.dropLast().lazy.compactMap(\.error).first)
    }
    guard last != .null else {
      throw ClientError(.aborted, .notApplied, "a watched key changed", id: id)
    }
    let results = try require(last.elements)
    guard results.count == steps.count else { return try require(nil) }
    return results
  }

  /// The error of a transaction; what a step was refused for says more than the refusal of all.
  private func aborted(
    _ error: ServerError, _ id: OperationID?, because first: ServerError?
  ) -> ClientError {
    var result = ClientError(error, id: id)
    if result.reason == .aborted, let first {
      let cause = ClientError(first)
      if cause.reason == .refused { result.reason = .refused }
      result.message = "\(result.message) (\(cause.message))"
    }
    return result
  }
}
