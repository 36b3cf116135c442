internal import Base
internal import Glibc
internal import NetKit
public import Node
internal import Synchronization

/// A node in this process, on a thread of its own: alone or a member of a cluster.
///
/// ```swift
/// let server = try await Server.start(ServerOptions(dataDirectory: "data"))
/// var client = Client(host: "127.0.0.1", port: server.port)
/// try client.put("greeting", "hello")
/// try await server.stop()
/// ```
///
/// It speaks over its port like any other server; `Client` is the way to it. Its methods may be
/// called from anywhere. A server that is forgotten is stopped.
public final class Server: Sendable {
  /// The port that it listens on.
  public let port: UInt16
  private let course: Course
  private let wake: @Sendable () -> Void

  /// Opens directory and network, recovers the data, and returns when clients are served.
  public static func start(_ options: ServerOptions) async throws(ServerFailure) -> Server {
    let server = Server(try opened(options))
    try await server.course.wait(for: .ready)
    return server
  }

  private static func opened(_ options: ServerOptions) throws(ServerFailure) -> OpenServer {
    do throws(OpenFailure) {
      return try OpenServer(options)
    } catch {
      throw .notOpened(error)
    }
  }

  private init(_ opened: consuming OpenServer) {
    port = opened.link.port
    wake = opened.link.waker
    course = Course()
    LoopThread.start(opened.host(), course)
  }

  deinit { askToStop() }

  /// Returns when every member of the cluster can be reached, so that writes are taken; at once for
  /// a node alone.
  public func reachAllMembers() async throws(ServerFailure) {
    try await course.wait(for: .complete)
  }

  /// Takes no further clients, forces and answers what was received, and returns when the directory
  /// and the port are free again. Clients that stay are waited for no longer than 3 s.
  public func stop() async throws(ServerFailure) {
    askToStop()
    try await ended()
  }

  /// Returns when the server has stopped, by `stop`, by `SHUTDOWN` or because its member was
  /// removed from the cluster; throws when the disk ended it.
  public func ended() async throws(ServerFailure) {
    do throws(ServerFailure) {
      try await course.wait(for: .end)
    } catch {
      guard case .ended(.requested) = error else { throw error }
    }
  }

  private func askToStop() {
    course.askToStop()
    wake()
  }
}

/// Why a server cannot do what is asked of it.
public enum ServerFailure: Error, Sendable {
  /// It could not be started.
  case notOpened(OpenFailure)
  /// It has ended, and why.
  case ended(StopReason)
}

/// How a server stands, told by its thread to those who wait.
private final class Course: Sendable {
  enum Goal { case ready, complete, end }
  typealias Outcome = Result<Void, ServerFailure>

  private struct State {
    var isReady = false
    var isComplete = false
    var end: ServerFailure?
    var waiters: [(goal: Goal, continuation: CheckedContinuation<Outcome, Never>)] = []

    /// What one who waits for `goal` is told now; nil: nothing yet.
    func outcome(for goal: Goal) -> Outcome? {
      if let end { return .failure(end) }
      switch goal {
      case .ready: return isReady ? .success(()) : nil
      case .complete: return isComplete ? .success(()) : nil
      case .end: return nil
      }
    }
  }

  private let state = Mutex(State())
  private let stopAsked = Atomic<Bool>(false)

  var isStopAsked: Bool { stopAsked.load(ordering: .acquiring) }

  func askToStop() { stopAsked.store(true, ordering: .releasing) }

  /// Suspends until the goal is reached; throws when the server ends, or has ended, without it.
  func wait(for goal: Goal) async throws(ServerFailure) {
    let outcome = await withCheckedContinuation { continuation in
      let known = state.withLock { state -> Outcome? in
        let outcome = state.outcome(for: goal)
        if outcome == nil { state.waiters.append((goal, continuation)) }
        return outcome
      }
      if let known { continuation.resume(returning: known) }
    }
    try outcome.get()
  }

  /// The data is recovered; all members can be reached, or not.
  func serves(isComplete: Bool) {
    tell {
      $0.isReady = true
      $0.isComplete = isComplete
    }
  }

  /// The thread is done with everything.
  func ended(_ why: ServerFailure) {
    tell { $0.end = why }
  }

  private func tell(_ change: (inout State) -> Void) {
    let told = state.withLock { state in
      change(&state)
      let waiters = state.waiters
      state.waiters = waiters.filter { state.outcome(for: $0.goal) == nil }
      return waiters.compactMap { waiter in
        state.outcome(for: waiter.goal).map { (waiter.continuation, $0) }
      }
    }
    for (continuation, outcome) in told { continuation.resume(returning: outcome) }
  }
}

/// The thread that turns a server's loop. It owns everything that the loop touches.
private final class LoopThread {
  private var host: Host<SocketTransport, ThreadedDisk>?
  private let course: Course

  private init(_ host: consuming Host<SocketTransport, ThreadedDisk>, _ course: Course) {
    self.host = consume host
    self.course = course
  }

  /// The corresponding C function is `pthread_create`.
  static func start(_ host: consuming Host<SocketTransport, ThreadedDisk>, _ course: Course) {
    let runner = LoopThread(host, course)
    var thread = pthread_t()
    let code = pthread_create(
      &thread, nil,
      { context in
        guard let context else { return nil }
        Unmanaged<LoopThread>.fromOpaque(context).takeRetainedValue().run()
        return nil
      }, Unmanaged.passRetained(runner).toOpaque())
    invariant(code == 0, "the machine gives the server its thread (pthread_create: \(code))")
    pthread_detach(thread)
  }

  private func run() {
    blockSignals()
    let reason = turnUntilStopped()
    // The host is gone: directory and port are free before anybody is told.
    course.ended(.ended(reason))
  }

  private func turnUntilStopped() -> StopReason {
    guard var host = host.take() else { invariantFailed("a loop is run once") }
    var wasComplete: Bool?
    while true {
      if course.isStopAsked { host.requestStop() }
      switch host.turn() {
      case .loading: continue
      case .stopped(let reason): return reason
      case .running: break
      }
      let isComplete = host.reachesAllMembers
      guard isComplete != wasComplete else { continue }
      wasComplete = isComplete
      course.serves(isComplete: isComplete)
    }
  }

  /// Signals are the embedding program's.
  private func blockSignals() {
    var all = sigset_t()
    sigfillset(&all)
    pthread_sigmask(SIG_BLOCK, &all, nil)
  }
}
