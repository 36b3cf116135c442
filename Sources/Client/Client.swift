public import Base
import NetKit

/// A connection to one server: each call sends one request, waits for its answer, and says for
/// certain what became of it.
///
/// ```swift
/// var client = Client(host: "localhost", port: 9099, transport: .udp)
/// try client.put("greeting", "hello")
/// let value = try client.get("greeting")
/// ```
///
/// Every change carries an operation id, so it may be sent again after a lost connection or a lost
/// datagram and is still executed once. Calls block for at most `options.timeout`. Nothing is
/// opened before the first request. Used by one thread at a time.
public struct Client: ~Copyable {
  /// Where the server is and how long to wait for it.
  public let options: ClientOptions
  /// Called with each thing the client does.
  public var observe: ((ClientEvent) -> Void)?
  /// The id of the latest change; `.none` before the first.
  public private(set) var lastID = OperationID.none
  /// What the latest request does when it is repeated.
  private(set) var lastEffect = Command.Effect.read
  private var path: Path
  private var chance: Random

  /// A client with all its options.
  public init(_ options: ClientOptions) {
    self.options = options
    path = Path(options)
    chance = Random(seed: systemRandomWord())
  }

  /// A client of the server at `host` and `port`.
  public init(
    host: String = "localhost", port: UInt16 = 9099, transport: ClientTransport = .tcp
  ) {
    var options = ClientOptions()
    options.host = host
    options.port = port
    options.transport = transport
    self.init(options)
  }

  /// Sends any command and returns the server's reply, error replies included.
  ///
  /// Commands known to change data are sent under an operation id. Throws when there is no answer.
  public mutating func execute(_ command: Command) throws(ClientError) -> Reply {
    try send([command], command.effect).last ?? .null
  }

  // MARK: Requests

  /// Sends commands as one request and returns a reply for each. Of a change the last command is
  /// the one that the operation id stands for.
  mutating func send(
    _ commands: [Command], _ effect: Command.Effect
  ) throws(ClientError) -> [Reply] {
    let request = Request(commands: commands, effect: effect, id: makeID())
    if effect == .change { lastID = request.id }
    lastEffect = effect
    var plan = RetryPlan(
      effect: effect, id: request.id, retryCountMax: options.retryCountMax,
      timeout: options.timeout, at: systemInstant())
    while true {
      switch try attempt(request, &plan) {
      case .done(let replies): return replies
      case .again(let instant): systemSleep(until: instant)
      }
    }
  }

  private enum Attempt {
    case done([Reply])
    case again(at: Instant)
  }

  private mutating func attempt(
    _ request: Request, _ plan: inout RetryPlan
  ) throws(ClientError) -> Attempt {
    let answer: Answer
    do {
      answer = try path.exchange(request, until: plan.deadline, seed: chance.next(), observe)
    } catch {
      path.reset()
      switch plan.decide(after: error, at: systemInstant()) {
      case .fail(let error): throw error
      case .retry(let instant):
        observe?(.retrying(reason: error.sentence))
        return .again(at: instant)
      }
    }
    if answer.wasRepeated { plan.noteRepetition() }
    switch plan.decide(about: answer.last, at: systemInstant()) {
    case .accept: return .done(answer.replies)
    case .retry(let instant): return .again(at: instant)
    case .settle: return .done(try settle(request, answer, plan))
    }
  }

  /// Makes a "not done" certain while an earlier copy may be under way: an id that is sealed before
  /// it was seen can do nothing any more.
  private mutating func settle(
    _ request: Request, _ answer: Answer, _ plan: RetryPlan
  ) throws(ClientError) -> [Reply] {
    let seal = Request(
      commands: [Command("OUTCOME", request.id.description, "SEAL")], effect: .read, id: makeID())
    let sealed = try? path.exchange(seal, until: plan.deadline, seed: chance.next(), observe)
    switch sealed.flatMap({ OutcomeState($0.last) }) {
    case .aborted: return answer.replies
    case .committed: return committedReplies(to: request, plan)
    case .inDoubt, .expired, .neverSeen, nil:
      path.reset()
      throw plan.unsettled(answer.last)
    }
  }

  /// The replies to a request that is known to be executed: the server answers as it did then.
  private mutating func committedReplies(to request: Request, _ plan: RetryPlan) -> [Reply] {
    let again = try? path.exchange(request, until: plan.deadline, seed: chance.next(), observe)
    if let again, again.last.error == nil { return again.replies }
    path.reset()
    return [.error(ServerError("DUPLICATE applied; its reply is not known"))]
  }

  private mutating func makeID() -> OperationID {
    OperationID(
      unixMillis: systemMoment().wallMillis, random: chance.next(), chance.next())
  }
}
