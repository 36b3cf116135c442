/// A value by its beginning, count and 128-bit digest: the checker compares states far more often
/// than it makes them, and values may be large.
struct Value: Hashable {
  private var count = 0
  private var first: UInt64 = 0xCBF2_9CE4_8422_2325
  private var second: UInt64 = 0x9E37_79B9_7F4A_7C15
  private var beginning: [UInt8] = []

  private static let beginningByteCountMax = 24

  init(_ bytes: [UInt8]) { append(bytes) }

  mutating func append(_ bytes: [UInt8]) {
    for byte in bytes {
      first = (first ^ UInt64(byte)) &* 0x100_0000_01B3
      second = (second ^ UInt64(byte) ^ second >> 29) &* 0xBF58_476D_1CE4_E5B9
    }
    let room = Self.beginningByteCountMax - beginning.count
    if room > 0 { beginning += bytes.prefix(room) }
    count += bytes.count
  }

  var byteCount: Int { count }

  /// Whether these are its bytes. Digests are made only of what has its count and beginning.
  func holds(_ bytes: [UInt8]) -> Bool {
    bytes.count == count && bytes.starts(with: beginning) && Value(bytes) == self
  }

  /// The number that it stands for, as INCR reads it.
  var number: Int64? {
    count == beginning.count ? Int64(String(decoding: beginning, as: UTF8.self)) : nil
  }

  var text: String {
    "'" + String(decoding: beginning, as: UTF8.self)
      + (count > beginning.count ? "…'(\(count))" : "'")
  }
}

/// What one key may hold, as the model sees it.
struct KeyState: Hashable {
  var value: Value?
  /// The version once some reply has named it; nil: not yet seen.
  var version: String?
  /// A death took it back to a moment before its version was told, perhaps: a version told since may
  /// be its own.
  var isRestored = false
  /// When it expires, by the node's clock: not before the lower, not after the upper bound.
  var expiry: ClosedRange<Int64>?

  static let absent = KeyState()

  /// It has a new version.
  mutating func forgetVersion() {
    version = nil
    isRestored = false
  }

  var text: String {
    guard let value else { return "absent" }
    return value.text + (version.map { " version \($0)" } ?? "")
      + (expiry.map { " expires \($0)" } ?? "")
  }
}

/// A key that some client watches.
struct WatchState: Hashable {
  var ticket: Int
  var slot: Int
  /// It was absent when the watch began: the watch holds whenever it is absent.
  var wasAbsent: Bool
  /// It was there, and was written or removed since.
  var isBroken = false
}

/// The state of a group of keys.
struct GroupState: Hashable {
  /// The state as a death brings it back.
  var restored: GroupState {
    var state = self
    for index in keys.indices { state.keys[index].isRestored = true }
    return state
  }

  var keys: [KeyState]
  var watches: [WatchState] = []

  /// Notes that the key was written or removed.
  mutating func breakWatches(of slot: Int) {
    for index in watches.indices where watches[index].slot == slot {
      if !watches[index].wasAbsent { watches[index].isBroken = true }
    }
  }

  /// Whether no key has changed that was watched under the tickets.
  func holds(_ tickets: [Int]) -> Bool {
    watches.allSatisfy { watch in
      if !tickets.contains(watch.ticket) { return true }
      return watch.wasAbsent ? keys[watch.slot].value == nil : !watch.isBroken
    }
  }

  /// The same without the watches that an EXEC has ended.
  func ending(_ tickets: [Int]) -> GroupState {
    var next = self
    next.watches.removeAll { tickets.contains($0.ticket) }
    return next
  }

  var text: String { "{" + keys.map(\.text).joined(separator: ", ") + "}" }
}

/// A sequential group of keys: what each command does and answers when nothing else happens.
///
/// The only nondeterminism is expiry, whose moment is known within bounds: `steps` answers every
/// state that the call may leave.
enum Model {
  /// The states after `call` was executed on `state` with the outcome that the client saw.
  static func steps(_ state: GroupState, _ call: Call) -> [GroupState] {
    if case .notApplied = call.outcome { return [state] }
    return variants(state, call).compactMap { variant in
      step(variant, call).map { expiring($0, from: variant, of: state, call).ending(call.tickets) }
    }
  }

  /// The state after the call; nil when it cannot have had its outcome.
  private static func step(_ state: GroupState, _ call: Call) -> GroupState? {
    let holds = state.holds(call.tickets)
    switch call.outcome {
    case .notApplied: return state
    case .replied(let replies): return holds ? run(call, on: state, expecting: replies) : nil
    case .failed(let text):
      if isTooLarge(call, text) { return state }
      return holds && fails(call, on: state) ? state : nil
    case .broken: return holds ? nil : state
    case .executed, .unknown: return holds ? run(call, on: state, expecting: nil) : nil
    }
  }

  /// Between members the moment of an expiry differs with their clocks: what one of them no longer
  /// shows another one may, while some clock has not come to it and no transaction has put something
  /// else in its place.
  private static func expiring(
    _ after: GroupState, from variant: GroupState, of state: GroupState, _ call: Call
  ) -> GroupState {
    guard call.isAmongMembers, !call.commands.contains(where: { $0.verb == .flush }) else {
      return after
    }
    var after = after
    for slot in state.keys.indices where variant.keys[slot].value == nil {
      guard let expiry = state.keys[slot].expiry, after.keys[slot].value == nil,
        call.clockMillis.lowerBound < expiry.upperBound
      else { continue }
      after.keys[slot] = state.keys[slot]
      for watch in state.watches where watch.slot == slot {
        let place = after.watches.firstIndex { $0.ticket == watch.ticket && $0.slot == slot }
        if let place { after.watches[place] = watch }
      }
    }
    return after
  }

  /// Whether the call was refused for its size, and rightly so: two of the largest values of the
  /// workload are more than members send each other at once. The exact bound is not modelled.
  private static func isTooLarge(_ call: Call, _ text: String) -> Bool {
    let byteCount = call.commands.reduce(0) { $0 + ($1.written?.count ?? 0) }
    return text.contains("exceeds its bound") && byteCount > 1_000_000
  }

  /// Whether some command of the call fails at run time, and with it all of it.
  private static func fails(_ call: Call, on state: GroupState) -> Bool {
    var scratch = state
    for command in call.commands {
      if execute(command, &scratch, call.clockMillis, nil) == .fails { return true }
    }
    return false
  }

  /// The state with keys gone that must have expired, and with and without those that may have.
  private static func variants(_ state: GroupState, _ call: Call) -> [GroupState] {
    var states = [state]
    for index in state.keys.indices {
      guard let expiry = state.keys[index].expiry else { continue }
      guard call.clockMillis.upperBound >= expiry.lowerBound else { continue }
      var gone = states
      for place in gone.indices {
        gone[place].keys[index] = .absent
        gone[place].breakWatches(of: index)
      }
      let must = call.clockMillis.lowerBound >= expiry.upperBound
      states = must ? gone : states + gone
    }
    return states
  }

  /// Executes all commands or none; nil when a reply does not fit.
  private static func run(
    _ call: Call, on state: GroupState, expecting replies: [Reply]?
  ) -> GroupState? {
    var after = state
    for (index, command) in call.commands.enumerated() {
      let reply = replies.map { $0[index] }
      switch execute(command, &after, call.clockMillis, reply) {
      case .fits: continue
      case .differs: return nil
      case .fails: return replies == nil ? state : nil
      }
    }
    return after
  }

  private enum Verdict {
    case fits, differs
    /// The command fails at run time, and with it its transaction.
    case fails
  }

  /// Executes one command; compares what it answers with `reply` unless that is nil.
  private static func execute(
    _ command: SimCommand, _ state: inout GroupState, _ clock: ClosedRange<Int64>, _ reply: Reply?
  ) -> Verdict {
    if case .flush = command.verb {
      for index in state.keys.indices where state.keys[index].value != nil {
        state.keys[index] = .absent
        state.breakWatches(of: index)
      }
      return compare(.status("OK"), reply)
    }
    if case .watch(let ticket) = command.verb {
      let isAbsent = state.keys[command.slot].value == nil
      state.watches.append(WatchState(ticket: ticket, slot: command.slot, wasAbsent: isAbsent))
      return compare(.status("OK"), reply)
    }
    if writes(command.verb, state.keys[command.slot], reply) {
      state.breakWatches(of: command.slot)
    }
    return execute(command.verb, &state.keys[command.slot], clock, reply)
  }

  /// Whether the key gets a new version or is removed, if the command does not fail.
  private static func writes(
    _ verb: SimCommand.Verb, _ key: KeyState, _ reply: Reply?
  ) -> Bool {
    switch verb {
    case .get, .getVersion, .watch, .flush: false
    case .set, .update, .increment, .append: true
    case .setIfAbsent: key.value == nil
    case .delete, .getDelete, .expire: key.value != nil
    case .compareAndSet(let version, _): has(version, key, reply)
    case .persist: key.value != nil && key.expiry != nil
    }
  }

  private static func execute(
    _ verb: SimCommand.Verb, _ key: inout KeyState, _ clock: ClosedRange<Int64>, _ reply: Reply?
  ) -> Verdict {
    switch verb {
    case .get:
      return compare(key.value, reply)
    case .getVersion:
      return getVersion(&key, reply)
    case .set(let value, let expiry):
      key = KeyState(value: value.value, expiry: expiry.map { window(clock, $0) })
      return compare(.status("OK"), reply)
    case .setIfAbsent(let value):
      guard key.value == nil else { return compare(.integer(0), reply) }
      key = KeyState(value: value.value)
      return compare(.integer(1), reply)
    case .update(let value):
      guard key.value != nil else { return .fails }
      key = KeyState(value: value.value)
      return compare(.status("OK"), reply)
    case .delete:
      let count: Int64 = key.value == nil ? 0 : 1
      key = .absent
      return compare(.integer(count), reply)
    case .getDelete:
      let value = key.value
      key = .absent
      return compare(value, reply)
    case .increment(let amount):
      guard let sum = sum(key.value, amount) else { return .fails }
      key = KeyState(value: Value(Array("\(sum)".utf8)), expiry: key.expiry)
      return compare(.integer(sum), reply)
    case .append(let value):
      var longer = key.value ?? Value([])
      longer.append(value)
      key = KeyState(value: longer, expiry: key.expiry)
      return compare(.integer(Int64(longer.byteCount)), reply)
    case .compareAndSet(let version, let value):
      guard has(version, key, reply) else { return compare(.null, reply) }
      key = KeyState(value: value.value)
      guard let reply else { return .fits }
      guard case .integer(let fresh) = reply else { return .differs }
      key.version = "\(fresh)"
      return .fits
    case .expire(let millis):
      guard key.value != nil else { return compare(.integer(0), reply) }
      key.expiry = window(clock, millis)
      key.forgetVersion()
      return compare(.integer(1), reply)
    case .persist:
      guard key.value != nil, key.expiry != nil else { return compare(.integer(0), reply) }
      key.expiry = nil
      key.forgetVersion()
      return compare(.integer(1), reply)
    case .flush, .watch:
      return .differs
    }
  }

  /// Whether the key has that version; the reply says so where both may be.
  private static func has(_ version: String, _ key: KeyState, _ reply: Reply?) -> Bool {
    guard key.value != nil else { return false }
    guard key.version == nil, key.isRestored else { return key.version == version }
    return reply != .null
  }

  /// A reply names the version; the first to do so fixes it until the next write.
  private static func getVersion(_ key: inout KeyState, _ reply: Reply?) -> Verdict {
    guard let reply else { return .fits }
    guard let value = key.value else { return compare(.null, reply) }
    guard case .array(let items) = reply, items.count == 2, case .bulk(let bytes) = items[0],
      value.holds(bytes)
    else {
      return .differs
    }
    let version = text(items[1])
    if let known = key.version { return known == version ? .fits : .differs }
    key.version = version
    return .fits
  }

  /// A version as `CAS` takes it.
  static func text(_ reply: Reply) -> String {
    switch reply {
    case .integer(let value): "\(value)"
    case .bulk(let bytes): String(decoding: bytes, as: UTF8.self)
    default: reply.text
    }
  }

  private static func window(_ clock: ClosedRange<Int64>, _ millis: Int64) -> ClosedRange<Int64> {
    clock.lowerBound + millis - 1...clock.upperBound + millis + 1
  }

  private static func sum(_ value: Value?, _ amount: Int64) -> Int64? {
    guard let value else { return amount }
    guard let old = value.number else { return nil }
    let (sum, overflow) = old.addingReportingOverflow(amount)
    return overflow ? nil : sum
  }

  private static func compare(_ expected: Value?, _ reply: Reply?) -> Verdict {
    switch reply {
    case nil: .fits
    case .null: expected == nil ? .fits : .differs
    case .bulk(let bytes): expected?.holds(bytes) == true ? .fits : .differs
    default: .differs
    }
  }

  private static func compare(_ expected: Reply, _ reply: Reply?) -> Verdict {
    reply == nil || reply == expected ? .fits : .differs
  }
}
