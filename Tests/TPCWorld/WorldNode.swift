import Base
import TPC

/// One member: negotiator, resource, gate and clock.
public final class WorldNode {
  /// Something that waits until the log is durable through `mark` records.
  struct Held {
    enum What {
      case message(to: MemberID, [UInt8])
      case ticket(Ticket)
    }
    var mark: Int
    var what: What
  }

  public let member: MemberID
  public var resource: ToyResource
  public var negotiator: Negotiator
  public var isUp = true
  public var now = Instant.zero
  public var members: MemberSet
  public var epoch: Epoch
  var held: [Held] = []
  /// The requests whose transactions the owner of this run may be asked to renew.
  var sessions: [TransactionID: Request] = [:]
  /// Asked to renew, but a name is locked here.
  var renewing: [TransactionID] = []
  let options: NegotiatorOptions

  init(_ member: MemberID, members: MemberSet, epoch: Epoch, options: NegotiatorOptions) {
    self.member = member
    self.members = members
    self.epoch = epoch
    self.options = options
    resource = ToyResource(member: member)
    negotiator = Negotiator(
      member: member, members: members, epoch: epoch, options: options, seed: 1)
  }

  init(copying other: WorldNode) {
    member = other.member
    members = other.members
    epoch = other.epoch
    options = other.options
    resource = other.resource
    negotiator = Negotiator(copying: other.negotiator)
    isUp = other.isUp
    now = other.now
    held = other.held
    sessions = other.sessions
    renewing = other.renewing
  }

  /// What the client asked for.
  public struct Request: Equatable {
    public var reads: [UInt8] = []
    public var writes: [UInt8] = []
    public var operation = OperationID.none
    public var refusedBy = MemberSet()
    /// Nil: all members.
    public var participants: MemberSet?
    public var patience = Interval.seconds(5)
    public init() {}
  }

  /// Executes the request on the table as it is here.
  func body(_ request: Request, version: UInt64) -> ToyBody {
    var body = ToyBody()
    body.operation = request.operation
    body.refusedBy = request.refusedBy
    for key in request.reads {
      let seen = resource.table[key, default: ToyResource.Value()]
      body.changes.append(
        ToyBody.Change(key: key, isWrite: false, expected: seen.version, value: 0, version: 0))
    }
    for key in request.writes {
      let seen = resource.table[key, default: ToyResource.Value()]
      body.changes.append(
        ToyBody.Change(
          key: key, isWrite: true, expected: seen.version, value: seen.number + 1,
          version: version))
    }
    return body
  }
}
