/// What a name in a data directory stands for.
///
/// `log-0000000000000001` and `checkpoint-0000000000000001` count from 1; a name that ends in
/// `.tmp` is a file that was not finished, which the next start removes. All else is left alone.
enum DirectoryName: Equatable {
  case segment(UInt64)
  case checkpoint(UInt64)
  case temporary
  case other

  /// Tells what `name` stands for.
  init(_ name: String) {
    if name.hasSuffix(".tmp") {
      self = .temporary
    } else if let number = Self.number(of: name, after: "log-") {
      self = .segment(number)
    } else if let number = Self.number(of: name, after: "checkpoint-") {
      self = .checkpoint(number)
    } else {
      self = .other
    }
  }

  /// The name of the segment with the sequence number `number`.
  static func segment(named number: UInt64) -> String { "log-" + digits(number) }

  /// The name of checkpoint `number`.
  static func checkpoint(named number: UInt64) -> String { "checkpoint-" + digits(number) }

  /// The name under which a file is written until it is complete.
  static func temporary(_ name: String) -> String { name + ".tmp" }

  private static let digitCount = 16

  private static func digits(_ number: UInt64) -> String {
    let text = String(number)
    return String(repeating: "0", count: max(0, digitCount - text.utf8.count)) + text
  }

  private static func number(of name: String, after prefix: String) -> UInt64? {
    guard name.hasPrefix(prefix) else { return nil }
    let digits = name.utf8.dropFirst(prefix.utf8.count)
    guard digits.count == digitCount, digits.allSatisfy({ $0 >= 48 && $0 <= 57 }) else {
      return nil
    }
    return UInt64(String(name.dropFirst(prefix.utf8.count))).flatMap { $0 == 0 ? nil : $0 }
  }
}

/// The names of a data directory, sorted out.
struct DirectoryListing {
  /// Numbers, ascending.
  var segments: [UInt64] = []
  var checkpoints: [UInt64] = []
  var temporaries: [String] = []

  init(_ names: [String]) {
    for name in names {
      switch DirectoryName(name) {
      case .segment(let number): segments.append(number)
      case .checkpoint(let number): checkpoints.append(number)
      case .temporary: temporaries.append(name)
      case .other: break
      }
    }
    segments.sort()
    checkpoints.sort()
  }
}
