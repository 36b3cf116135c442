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
  var held: [Held] = []
  /// The requests whose transactions the owner of this run may be asked to renew.
  var sessions: [TransactionID: Request] = [:]
  /// Which attempt was asked for last.
  var attempts: [TransactionID: Attempt] = [:]
  /// Asked to renew, but a name is locked here.
  var renewing: [TransactionID] = []
  let options: NegotiatorOptions

  init(_ member: MemberID, members: MemberSet, epoch: Epoch, options: NegotiatorOptions) {
    self.member = member
    self.options = options
    resource = ToyResource(member: member, members: members, epoch: epoch)
    negotiator = Negotiator(
      member: member, members: members.union(MemberSet([member])), epoch: epoch,
      options: options, seed: 1)
  }

  init(copying other: WorldNode) {
    member = other.member
    options = other.options
    resource = other.resource
    negotiator = Negotiator(copying: other.negotiator)
    isUp = other.isUp
    now = other.now
    held = other.held
    sessions = other.sessions
    renewing = other.renewing
  }

  public var members: MemberSet { resource.members }

  /// A life that begins with nothing, to join those of `donor`.
  func prepareToJoin(_ donor: WorldNode) {
    resource = ToyResource(
      member: member, members: donor.members, epoch: donor.resource.epoch)
    negotiator = makeNegotiator()
    negotiator.countAsNewcomer()
    isUp = true
    held = []
    sessions = [:]
    renewing = []
  }

  func makeNegotiator() -> Negotiator {
    Negotiator(
      member: member, members: members.union(MemberSet([member])), epoch: resource.epoch,
      options: options, seed: 1)
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
    /// A change of members.
    public var admits: MemberID?
    public var dismisses: MemberID?
    public init() {}
  }

  /// Executes the request on the table as it is here.
  func body(_ request: Request, version: UInt64) -> ToyBody {
    var body = ToyBody()
    body.operation = request.operation
    body.refusedBy = request.refusedBy
    if let admitted = request.admits { body.admits.insert(admitted) }
    if let dismissed = request.dismisses { body.dismisses.insert(dismissed) }
    if body.isChange { body.base = resource.epoch }
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
