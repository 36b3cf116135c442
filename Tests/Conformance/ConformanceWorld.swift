import Base
import NetKit

/// What a transport told its node about peer links, with the bytes of messages.
public enum PeerTold: Equatable, Sendable {
  case opened(LinkID)
  case received(LinkID, [UInt8])
  case drained(LinkID)
  case closed(LinkID, LinkEnd)
}

/// What a world can do besides carrying messages.
public struct WorldTraits: OptionSet, Sendable {
  public let rawValue: Int
  public init(rawValue: Int) { self.rawValue = rawValue }

  /// `cut` works: nothing that is sent arrives.
  public static let cuts = WorldTraits(rawValue: 1)
  /// Messages may be lost on an open link.
  public static let loses = WorldTraits(rawValue: 2)
  /// Messages may arrive twice.
  public static let repeats = WorldTraits(rawValue: 4)
  /// Messages arrive in the order in which they were sent.
  public static let ordered = WorldTraits(rawValue: 8)
}

/// Two nodes whose transports can reach each other, and the time, real or virtual.
///
/// Whoever has a transport writes one of these for it and calls the functions of `Conformance`.
public protocol ConformanceWorld: ~Copyable {
  var traits: WorldTraits { get }
  /// The largest message of a peer link.
  var messageByteCountMax: Int { get }
  /// All that nodes 0 and 1 were told since the start or their restart, in order.
  var told: [[PeerTold]] { get }

  /// `from` opens a link to the other node.
  mutating func connect(_ from: Int) -> LinkID
  mutating func send(_ bytes: [UInt8], _ node: Int, on link: LinkID) -> SendOutcome
  mutating func close(_ node: Int, _ link: LinkID)
  func pendingByteCount(_ node: Int, _ link: LinkID) -> Int
  mutating func stopListening(_ node: Int)
  /// A node forgets everything, `told` too, and comes back at the same address.
  mutating func restart(_ node: Int)
  /// From now on nothing arrives, or everything does again. Only with `cuts`.
  mutating func cut(_ isCut: Bool)
  /// While a node is stopped it takes nothing in and does nothing; what comes to it waits.
  mutating func stop(_ node: Int, _ isStopped: Bool)
  /// Lets time pass, bounded by `millis`, until `isDone`; false when it did not come to be.
  mutating func run(_ millis: UInt64, until isDone: ([[PeerTold]]) -> Bool) -> Bool
}

/// A promise of the contract that a transport broke.
public struct ConformanceFailure: Error, CustomStringConvertible {
  public var description: String
}
