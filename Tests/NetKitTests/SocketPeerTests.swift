import Base
import Testing

@testable import NetKit

@Suite(.serialized) struct SocketPeerTests {
  @Test func `two nodes exchange messages over TCP`() throws {
    var server = try SocketLoop(.echo)
    var node = try SocketLoop(.listen)
    let link = node.transport.connect(to: server.endpoint, at: node.now)
    let texts = ["", "hello", String(repeating: "m", count: 1 << 20)]
    #expect(node.send(texts[1], on: link).isQueued)
    #expect(turn(&server, &node) { $1.messages.count == 1 })
    for text in texts { #expect(node.send(text, on: link).isQueued) }
    #expect(turn(&server, &node) { $1.messages.count == 4 })
    #expect(node.messages == [texts[1], texts[0], texts[1], texts[2]].map { Array($0.utf8) })
    guard case .opened(_, .peer, _) = server.events.first else {
      Issue.record("\(server.events)")
      return
    }
    let limit = node.transport.messageByteCountMax
    #expect(node.send(String(repeating: "m", count: limit + 1), on: link).isTooLarge)
  }

  @Test func `a stranger's messages are small until it is trusted`() throws {
    let small: (inout SocketOptions) -> Void = {
      $0.strangerMessageByteCountMax = 100
      $0.messageByteCountMax = 4 << 20
    }
    var server = try SocketLoop(.listen, small)
    var node = try SocketLoop(.listen, small)
    let link = node.transport.connect(to: server.endpoint, at: node.now)
    #expect(node.send(String(repeating: "a", count: 100), on: link).isQueued)
    #expect(turn(&server, &node) { server, _ in server.messages.count == 1 })
    server.transport.trust(server.openedLinks[0])
    let most = node.transport.peerMessageByteCountMax
    #expect(most == 4 << 20)
    #expect(node.send(String(repeating: "b", count: most), on: link).isQueued)
    #expect(turn(&server, &node) { server, _ in server.messages.count == 2 })
    let other = node.transport.connect(to: server.endpoint, at: node.now)
    #expect(node.send(String(repeating: "c", count: 101), on: other).isQueued)
    #expect(turn(&server, &node) { server, _ in server.ends == [.reset] })
    #expect(server.messages.count == 2)
  }

  @Test func `a peer that nobody answers for is refused`() throws {
    var node = try SocketLoop(.listen)
    _ = node.transport.connect(to: Endpoint(ipv4: 0x7F00_0001, port: 1), at: node.now)
    #expect(node.turn { $0.ends == [.refused] })
    #expect(node.transport.connectionCount == 0)
  }

  @Test func `a peer that sends a damaged frame is cut off`() throws {
    var server = try SocketLoop(.listen)
    var client = try dial(server)
    var frame = ByteBuffer()
    [UInt8]("damage".utf8).withUnsafeBytes { Frame.append($0, to: &frame) }
    frame.store(little: UInt32(0), at: 8)
    try client.send(frame.bytes, until: systemInstant() + .seconds(5))
    #expect(server.turn { $0.ends == [.reset] })
    #expect(server.messages.isEmpty)
    #expect(server.transport.counters.badFrames == 1)
  }

  @Test func `closing one end closes the other`() throws {
    var server = try SocketLoop(.listen)
    var node = try SocketLoop(.listen)
    let link = node.transport.connect(to: server.endpoint, at: node.now)
    #expect(node.send("last", on: link).isQueued)
    #expect(turn(&server, &node) { server, _ in server.messages.count == 1 })
    node.transport.close(link, afterFlush: true, at: node.now)
    #expect(turn(&server, &node) { $0.ends.count == 1 && $1.ends.count == 1 })
    #expect(node.ends == [.closed])
    #expect(server.ends == [.closed])
  }
}
