internal import Base
internal import NetKit
internal import Node

/// Names of members, asked for off the loop.
final class MemberNames: NameResolver {
  private let resolver: Resolver

  init(wake: @escaping @Sendable () -> Void) { resolver = Resolver(waker: wake) }

  func start(ticket: UInt64, host: String, port: UInt16) -> Bool {
    resolver.start(ticket: ticket, host: host, port: port)
  }

  func poll() -> (ticket: UInt64, endpoints: [Endpoint], problem: String)? {
    guard let answer = resolver.poll() else { return nil }
    switch answer.result {
    case .success(let endpoints): return (answer.ticket, endpoints, "")
    case .failure(let error): return (answer.ticket, [], error.description)
    }
  }
}
