import Base
import NetKit
import TPC

/// Who belongs to the shop: `north=127.0.0.1:9201,south=127.0.0.1:9202,ledger=127.0.0.1:9203`.
///
/// The member that is called `ledger` keeps the ledger, the others are warehouses. All are given
/// the same list; a member's number is its place in it, from 1.
struct Roster {
  struct Place {
    var name: String
    var endpoint: Endpoint
  }

  let places: [Place]

  static let ledgerName = "ledger"

  init(_ text: String) throws(UsageError) {
    var places: [Place] = []
    for part in text.split(separator: ",", omittingEmptySubsequences: false) {
      let parts = part.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      guard parts.count == 2, isName(parts[0]), let endpoint = Endpoint(String(parts[1])) else {
        throw UsageError("--members must be NAME=ADDRESS:PORT,..., not \"\(part)\"")
      }
      let name = String(parts[0])
      guard !places.contains(where: { $0.name == name || $0.endpoint == endpoint }) else {
        throw UsageError("--members gives a name or an address twice: \(part)")
      }
      places.append(Place(name: name, endpoint: endpoint))
    }
    self.places = places
    guard places.count <= Int(MemberID.numberMax), places.count > 1, member(Self.ledgerName) != nil
    else { throw UsageError("--members must name the ledger and 1 to 63 warehouses") }
  }

  /// The number of the member with that name.
  func member(_ name: String) -> MemberID? {
    places.firstIndex { $0.name == name }.map { MemberID(UInt16($0 + 1)) }
  }

  /// Name and address of a member.
  func place(of member: MemberID) -> Place { places[Int(member.number) - 1] }

  /// What must stay as it is as long as a member keeps its data: `north, 1 of north,south,ledger`.
  /// Addresses may change.
  func identity(of member: MemberID) -> String {
    let names = places.map(\.name).joined(separator: ",")
    return "\(place(of: member).name), \(member.number) of \(names)"
  }

  /// All of them.
  var members: MemberSet { MemberSet((1...places.count).map { MemberID(UInt16($0)) }) }

  /// Who has a part in a move; nil when it names a warehouse that there is not.
  func participants(of move: Move) -> MemberSet? {
    var participants = MemberSet()
    for name in [move.from, move.to, Self.ledgerName] {
      guard let name else { continue }
      guard let member = member(name) else { return nil }
      participants.insert(member)
    }
    // The ledger is no warehouse.
    guard move.from != Self.ledgerName, move.to != Self.ledgerName else { return nil }
    return participants
  }
}
