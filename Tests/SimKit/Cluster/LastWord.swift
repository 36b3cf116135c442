import Base

/// What a member is to say to another one right before its life ends: a word of the protocol, by the
/// first item of a message (`TPC/Message.swift`). A machine that ends then takes with it whatever the
/// word should have waited for.
struct LastWord {
  private var kind: UInt8
  /// The byte behind kind, id and attempt; nil: any.
  private var word: UInt8?
  /// How often it is said until it is the last.
  private var countLeft: Int

  /// Prepare, vote, decision (commit, dead, aborted), acknowledgement (commit, aborted), inquiry,
  /// answer (commit, refused, aborted, prepared). Words of an end stand several times: what a machine
  /// takes with it then shows only if everybody else is prepared.
  private static let all: [(UInt8, UInt8?)] = [
    (1, nil), (3, nil), (4, 0), (4, 1), (4, 1), (4, 2), (4, 2), (4, 2), (4, 2), (5, 0), (5, 2),
    (6, nil), (7, 0), (7, 1), (7, 1), (7, 1), (7, 2), (7, 3),
  ]

  /// Kinds of items, counted from 1; 0 stands for what is no message of the negotiator's.
  static let kindCount = 8
  static let voteKind = 3
  static let decisionKind = 4

  private static let headerByteCount = 24
  private static let itemHeadByteCount = 23

  init(_ chance: inout Random) {
    (kind, word) = Self.all[chance.below(Self.all.count)]
    countLeft = 1 + chance.below(chance.chance(1, in: 2) ? 4 : 40)
  }

  /// The kind of the first item.
  static func kind(of message: ArraySlice<UInt8>) -> Int {
    let at = message.startIndex + headerByteCount
    return at < message.endIndex ? min(Int(message[at]), kindCount - 1) : 0
  }

  /// Takes note of a message that the negotiator has made; true when it is the last.
  mutating func isSaid(by message: ArraySlice<UInt8>) -> Bool {
    let start = message.startIndex + Self.headerByteCount
    let at = start + Self.itemHeadByteCount
    guard at < message.endIndex, message[start] == kind, word == nil || message[at] == word else {
      return false
    }
    countLeft -= 1
    return countLeft == 0
  }
}
