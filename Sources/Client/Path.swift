import Base
import NetKit

/// What is sent at once and answered at once.
struct Request {
  /// At least one. Of a change the last one stands for the whole.
  var commands: [Command]
  var effect: Command.Effect
  /// Names the exchange; of a change it is the operation id.
  var id: OperationID
}

/// What came back for one request.
struct Answer {
  /// At least one: an error that ended everything may stand alone.
  var replies: [Reply]
  /// Copies of the request were sent of which no account can be given.
  var wasRepeated = false

  var last: Reply { replies[replies.count - 1] }
}

/// The way to one server: names, sockets, and what has come in. Makes one attempt at a time and
/// says how it failed; `RetryPlan` decides what follows.
struct Path: ~Copyable {
  let options: ClientOptions
  /// In the order in which they are tried; empty before the name was resolved.
  var endpoints: [Endpoint] = []
  var stream: StreamSocket?
  /// What came over `stream`.
  var reader: RespReader
  var output = ByteBuffer()

  init(_ options: ClientOptions) {
    self.options = options
    reader = RespReader(limits: options.replyLimits)
  }

  /// Gives up the connection: after a failure it is of no use.
  mutating func reset() {
    stream = nil
    reader = RespReader(limits: options.replyLimits)
  }

  /// Sends a request and waits for its answer until `deadline`.
  mutating func exchange(
    _ request: Request, until deadline: Instant, seed: UInt64, _ observe: ((ClientEvent) -> Void)?
  ) throws(AttemptFailure) -> Answer {
    try resolveName()
    let answer =
      switch options.transport {
      case .tcp: try exchangeOverStream(request, until: deadline, observe)
      case .udp: try exchangeOverDatagrams(request, until: deadline, seed: seed, observe)
      }
    observe?(.answered(replyCount: answer.replies.count))
    return answer
  }

  private mutating func resolveName() throws(AttemptFailure) {
    guard endpoints.isEmpty else { return }
    do {
      endpoints = try resolve(host: options.host, port: options.port)
    } catch {
      throw .unresolved(error.description)
    }
  }

  /// When to turn to the next endpoint while `deadline` covers all that are left.
  func deadline(ofEndpoint index: Int, within deadline: Instant) -> Instant {
    let now = systemInstant()
    let share = (deadline - now).nanos / UInt64(endpoints.count - index)
    return now + Interval(nanos: share)
  }
}
