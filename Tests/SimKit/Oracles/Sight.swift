/// Which of the values that calls wrote some reply shows, by the tokens `<number>` in them, which occur
/// nowhere else.
struct Sight {
  private var seen: Set<Int> = []

  init(_ calls: [Call]) {
    for call in calls {
      guard case .replied(let replies) = call.outcome else { continue }
      for reply in replies { note(reply) }
    }
  }

  /// A call of unknown outcome that wrote tokens, none of which was ever seen.
  func hides(_ call: Call) -> Bool {
    guard call.outcome == .unknown else { return false }
    let tokens = call.commands.flatMap { $0.written.map(Self.tokens) ?? [] }
    return !tokens.isEmpty && tokens.allSatisfy { !seen.contains($0) }
  }

  private mutating func note(_ reply: Reply) {
    switch reply {
    case .bulk(let bytes): seen.formUnion(Self.tokens(bytes))
    case .array(let items): for item in items { note(item) }
    default: break
    }
  }

  private static func tokens(_ bytes: [UInt8]) -> [Int] {
    var tokens: [Int] = []
    var number: Int?
    for byte in bytes {
      switch byte {
      case UInt8(ascii: "<"): number = 0
      case UInt8(ascii: ">"):
        if let number { tokens.append(number) }
        number = nil
      case UInt8(ascii: "0")...UInt8(ascii: "9"):
        number = number.map { $0 &* 10 &+ Int(byte &- UInt8(ascii: "0")) }
      default: number = nil
      }
    }
    return tokens
  }
}
