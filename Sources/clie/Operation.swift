/// What `-o` names: the four numbered operations of old, and those that came with words.
enum Operation: String, CaseIterable {
  case update, get, delete, put, ping, list, incr, expire, txn, outcome, status, exec
  case members, remove, trace

  /// Understands `0` to `3` and the words.
  init?(text: String) {
    switch text {
    case "0": self = .update
    case "1": self = .get
    case "2": self = .delete
    case "3": self = .put
    default: self.init(rawValue: text)
    }
  }

  /// True when `-k` must be given.
  var needsKey: Bool {
    switch self {
    case .update, .get, .delete, .put, .incr, .expire, .outcome: true
    case .ping, .list, .txn, .status, .exec, .members, .remove, .trace: false
    }
  }

  /// True when `-v` must be given.
  var needsValue: Bool { self == .update || self == .put || self == .expire }

  /// How many words may follow it on a line of standard input.
  var wordCountMax: Int {
    switch self {
    case .ping, .status, .members, .remove: 0
    case .get, .delete, .list, .trace: 1
    case .update, .put, .incr, .expire, .outcome: 2
    case .txn, .exec: .max
    }
  }
}
