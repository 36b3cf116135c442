import Base
import Testing

@testable import NetKit

@Suite struct ClientSocketTests {
  private static var soon: Instant { systemInstant() + .seconds(5) }

  @Test func `a datagram to nobody is refused or times out`() throws {
    var socket = try DatagramSocket(connecting: Endpoint(ipv4: 0x7F00_0001, port: 1))
    var buffer = ByteBuffer()
    buffer.append("x")
    try socket.send(buffer.bytes)
    do {
      let arrived = try socket.receive(into: &buffer, until: Self.soon)
      Issue.record("received \(arrived)")
    } catch .failed(let error) {
      #expect(error.isRefused)
    }
  }

  @Test func `a connection to nobody is refused`() {
    do {
      _ = try StreamSocket(connecting: Endpoint(ipv4: 0x7F00_0001, port: 1), until: Self.soon)
      Issue.record("connected")
    } catch {
      guard case .failed(let failure) = error else {
        Issue.record("\(error)")
        return
      }
      #expect(failure.isRefused)
      #expect(error.description == "Connection refused")
    }
  }

  @Test func `a deadline in the past gives the call up at once`() throws {
    var socket = try DatagramSocket(connecting: Endpoint(ipv4: 0x7F00_0001, port: 9))
    var buffer = ByteBuffer()
    #expect(try socket.receive(into: &buffer, until: .zero) == false)
  }

  @Test func `the clocks go forward and random bytes differ`() {
    let first = systemMoment()
    let second = systemMoment()
    #expect(first.instant <= second.instant)
    #expect(first.wallNanos > 1_600_000_000_000_000_000)
    #expect(systemRandomBytes(32) != systemRandomBytes(32))
  }
}
