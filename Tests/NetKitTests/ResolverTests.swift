import Base
import Testing

@testable import NetKit

@Suite struct ResolverTests {
  @Test func `names are resolved off the loop, which is woken for the answer`() throws {
    var loop = try SocketLoop(.listen)
    let resolver = Resolver(waker: loop.transport.waker)
    #expect(resolver.start(ticket: 1, host: "localhost", port: 7))
    #expect(resolver.start(ticket: 2, host: "::1", port: 8))
    var answers: [UInt64: [String]] = [:]
    let limit = systemInstant() + .seconds(5)
    while answers.count < 2, systemInstant() < limit {
      loop.turn(millis: 1_000)
      while let answer = resolver.poll() {
        answers[answer.ticket] = try answer.result.get().map(\.description)
      }
    }
    #expect(answers == [1: ["127.0.0.1:7", "[::1]:7"], 2: ["[::1]:8"]])
  }

  @Test func `a name that cannot exist is an error that names it`() {
    do {
      let endpoints = try resolve(host: "no such name", port: 1)
      Issue.record("\(endpoints)")
    } catch {
      #expect(error.host == "no such name")
      #expect(error.description.hasPrefix("cannot resolve no such name: "))
    }
  }
}
