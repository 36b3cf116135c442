public import Base

/// The operations on keys. Keys have 1 to 65,535 bytes, values up to 16 MiB unless the server is
/// set up for more. A key or value may be text or any bytes.
extension Client {
  /// Asks whether the server is there and answers.
  public mutating func ping() throws(ClientError) {
    _ = try ask(Command("PING"))
  }

  /// The value of a key, or nil when the key does not exist.
  public mutating func get(_ key: some ByteConvertible) throws(ClientError) -> [UInt8]? {
    switch try ask(Command("GET", key)) {
    case .null: return nil
    case let reply: return try require(reply.bytes)
    }
  }

  /// The value of a key with its version, or nil when the key does not exist. The version changes
  /// with each write; `TransactionStep.checkVersion` compares it.
  public mutating func getVersioned(
    _ key: some ByteConvertible
  ) throws(ClientError) -> (value: [UInt8], version: Int64)? {
    let reply = try ask(Command("GETV", key))
    guard let parts = reply.elements, parts.count == 2, parts[0] != .null else {
      if reply == .null || reply.elements != nil { return nil }
      return try require(nil)
    }
    return (try require(parts[0].bytes), try require(parts[1].integer))
  }

  /// Inserts the key or replaces its value.
  public mutating func put(
    _ key: some ByteConvertible, _ value: some ByteConvertible
  ) throws(ClientError) {
    _ = try ask(Command("SET", key, value))
  }

  /// Replaces the value of a key; false, and nothing changed, when the key does not exist.
  public mutating func update(
    _ key: some ByteConvertible, _ value: some ByteConvertible
  ) throws(ClientError) -> Bool {
    do {
      _ = try ask(Command("UPDATE", key, value))
      return true
    } catch  where error.reason == .missing {
      return false
    }
  }

  /// Removes a key; false when it did not exist.
  public mutating func delete(_ key: some ByteConvertible) throws(ClientError) -> Bool {
    try require(try ask(Command("DEL", key)).integer) > 0
  }

  /// Adds to the integer that the key holds, 0 when it does not exist, and returns the sum.
  public mutating func increment(
    _ key: some ByteConvertible, by amount: Int64 = 1
  ) throws(ClientError) -> Int64 {
    try require(try ask(Command("INCRBY", key, String(amount))).integer)
  }

  /// Lets the key vanish after a time, at once for zero; false when it does not exist.
  public mutating func expire(
    _ key: some ByteConvertible, after time: Interval
  ) throws(ClientError) -> Bool {
    try require(try ask(Command("PEXPIRE", key, String(time.millis))).integer) > 0
  }

  /// Calls `body` with the keys that match a pattern (`*`, `?`, `[a-z]`, `\` before a special
  /// character), in no order. Keys that come or go meanwhile may be missing; none comes twice.
  public mutating func forEachKey(
    matching pattern: some ByteConvertible = "*", _ body: ([UInt8]) -> Void
  ) throws(ClientError) {
    var seen: Set<[UInt8]> = []
    var cursor = Array("0".utf8)
    repeat {
      let parts = try require(try scan(from: cursor, pattern).elements)
      guard parts.count == 2 else { return try require(nil) }
      cursor = try require(parts[0].bytes)
      for element in try require(parts[1].elements) {
        let key = try require(element.bytes)
        if seen.insert(key).inserted { body(key) }
      }
    } while cursor != Array("0".utf8)
  }

  /// What the server says about itself: names and values in the order of `INFO`.
  public mutating func info() throws(ClientError) -> [(name: String, value: String)] {
    let text = String(decoding: try require(try ask(Command("INFO")).bytes), as: UTF8.self)
    return text.split(whereSeparator: \.isNewline).compactMap { line in
      let parts = line.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
      guard line.first != "#", parts.count == 2 else { return nil }
      return (String(parts[0]), String(parts[1]))
    }
  }

  /// What became of the change with this id, which may have been sent by anybody.
  ///
  /// With `seal` an id that was never seen is first turned into an aborted one, durably, so that a
  /// copy still under way can do nothing.
  public mutating func outcome(
    of id: OperationID, seal: Bool = false
  ) throws(ClientError) -> OutcomeState {
    let word = Command("OUTCOME", id.description)
    let reply = try ask(seal ? Command("OUTCOME", id.description, "SEAL") : word, as: .read)
    return try require(OutcomeState(reply))
  }

  // MARK: Parts

  /// One step of a scan; a short one where the keys are so long that many don't fit a message.
  private mutating func scan(
    from cursor: [UInt8], _ pattern: some ByteConvertible
  ) throws(ClientError) -> Reply {
    do {
      return try ask(Command("SCAN", cursor, "MATCH", pattern, "COUNT", "100"))
    } catch  where error.serverError?.code == "TOOLARGE" {
      return try ask(Command("SCAN", cursor, "MATCH", pattern, "COUNT", "1"))
    }
  }

  /// Sends a command; error replies are thrown.
  private mutating func ask(
    _ command: Command, as effect: Command.Effect? = nil
  ) throws(ClientError) -> Reply {
    let replies = try send([command], effect ?? command.effect)
    return try accepted(replies[replies.count - 1], command.effect)
  }

  /// The reply, unless it is an error.
  func accepted(_ reply: Reply, _ effect: Command.Effect) throws(ClientError) -> Reply {
    guard case .error(let serverError) = reply else { return reply }
    throw ClientError(serverError, id: effect == .change ? lastID : nil)
  }

  /// The value, or the error for a reply of another kind than the command has.
  func require<Value>(_ value: Value?) throws(ClientError) -> Value {
    if let value { return value }
    let outcome: Outcome = lastEffect == .read ? .notApplied : .unknown
    throw ClientError(.malformedReply, outcome, "the reply is of an unexpected kind")
  }
}
