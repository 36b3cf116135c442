internal import Glibc
internal import Synchronization

/// A name that could not be turned into an address.
public struct ResolveError: Error, Hashable, Sendable, CustomStringConvertible {
  /// The name that was asked for.
  public var host: String
  /// What the C library said, such as `Name or service not known`.
  public var reason: String

  /// Name and reason in one phrase.
  public var description: String { "cannot resolve \(host): \(reason)" }
}

/// Turns a name or a numeric address into endpoints, in the order in which they should be tried.
///
/// Blocks while a name server is asked; the loop uses `Resolver` instead. `localhost` is answered
/// without asking: 127.0.0.1, then ::1. The corresponding C function is `getaddrinfo`.
public func resolve(host: String, port: UInt16) throws(ResolveError) -> [Endpoint] {
  if let endpoint = Endpoint(address: host, port: port) { return [endpoint] }
  if host == "localhost" {
    return [Endpoint(ipv4: 0x7F00_0001, port: port), Endpoint(high: 0, low: 1, port: port)]
  }
  var hints = addrinfo()
  hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
  var first: UnsafeMutablePointer<addrinfo>?
  let code = getaddrinfo(host, nil, &hints, &first)
  guard code == 0 else {
    let reason = gai_strerror(code).map { String(cString: $0) } ?? "error \(code)"
    throw ResolveError(host: host, reason: reason)
  }
  defer { freeaddrinfo(first) }
  var endpoints: [Endpoint] = []
  var next = first
  while let info = next?.pointee {
    if let address = info.ai_addr, var endpoint = Endpoint(socketAddress: address) {
      endpoint.port = port
      if !endpoints.contains(endpoint) { endpoints.append(endpoint) }
    }
    next = info.ai_next
  }
  guard !endpoints.isEmpty else { throw ResolveError(host: host, reason: "no address") }
  return endpoints
}

/// Resolves names off the loop: each lookup on a thread of its own that ends with it, since one
/// name server that does not answer must not hold up the other names.
///
/// `start` and `poll` are called by the loop; the loop is woken when there is something to poll.
public final class Resolver: Sendable {
  /// A lookup that has ended.
  public struct Answer: Sendable {
    /// The number that `start` was given.
    public var ticket: UInt64
    /// The endpoints in the order in which they should be tried, or why there are none.
    public var result: Result<[Endpoint], ResolveError>
  }

  private struct State {
    var runningCount = 0
    var answers: [Answer] = []
  }

  private let state = Mutex(State())
  private let waker: @Sendable () -> Void

  /// Lookups under way at once, at most.
  public static var lookupCountMax: Int { 16 }

  /// `waker` makes the loop call `poll`; it is called from other threads.
  public init(waker: @escaping @Sendable () -> Void) { self.waker = waker }

  /// Begins a lookup; false when there are too many under way or no thread is to be had.
  public func start(ticket: UInt64, host: String, port: UInt16) -> Bool {
    let isAdmitted = state.withLock { state in
      guard state.runningCount < Self.lookupCountMax else { return false }
      state.runningCount += 1
      return true
    }
    guard isAdmitted else { return false }
    let lookup = Lookup { [self] in
      let result = Result { () throws(ResolveError) in try resolve(host: host, port: port) }
      finish(Answer(ticket: ticket, result: result))
    }
    if runOnThread(lookup) { return true }
    state.withLock { $0.runningCount -= 1 }
    return false
  }

  /// The next lookup that has ended, in the order in which they did.
  public func poll() -> Answer? {
    state.withLock { $0.answers.isEmpty ? nil : $0.answers.removeFirst() }
  }

  private func finish(_ answer: Answer) {
    state.withLock { state in
      state.runningCount -= 1
      state.answers.append(answer)
    }
    waker()
  }
}

/// What a lookup's thread runs.
private final class Lookup: Sendable {
  let run: @Sendable () -> Void
  init(run: @escaping @Sendable () -> Void) { self.run = run }
}

/// Runs a lookup on a thread that nobody waits for; false when there is none to be had.
private func runOnThread(_ lookup: Lookup) -> Bool {
  let context = Unmanaged.passRetained(lookup)
  var thread = pthread_t()
  let code = pthread_create(
    &thread, nil,
    { context in
      Unmanaged<Lookup>.fromOpaque(context!).takeRetainedValue().run()
      return nil
    }, context.toOpaque())
  guard code == 0 else {
    context.release()
    return false
  }
  pthread_detach(thread)
  return true
}
