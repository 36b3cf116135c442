import Client
import Foundation
import Testing
import Tuppence

@Suite struct ServerTests {
  @Test func `what was written is there after a stop and a start in the same process`() async throws
  {
    try await withFolder { folder in
      let first = try await Server.start(ServerOptions(dataDirectory: folder))
      var client = Client(port: first.port)
      try client.put("greeting", "hello")
      try await first.stop()
      let second = try await Server.start(ServerOptions(dataDirectory: folder))
      var other = Client(port: second.port)
      #expect(try other.get("greeting") == "hello".byteArray)
      try await second.stop()
    }
  }

  @Test func `a directory that is served is refused, and free after the stop`() async throws {
    try await withFolder { folder in
      let first = try await Server.start(ServerOptions(dataDirectory: folder))
      await #expect {
        try await Server.start(ServerOptions(dataDirectory: folder))
      } throws: { error in
        guard case .notOpened(.directory(.inUse)) = error as? ServerFailure else { return false }
        return true
      }
      try await first.stop()
      try await Server.start(ServerOptions(dataDirectory: folder)).stop()
    }
  }

  @Test func `a port that is taken is refused, and the directory is free again`() async throws {
    try await withFolder { folder in
      let first = try await Server.start(ServerOptions(dataDirectory: "\(folder)/a"))
      await #expect {
        try await Server.start(ServerOptions(dataDirectory: "\(folder)/b", port: first.port))
      } throws: { error in
        guard case .notOpened(.network) = error as? ServerFailure else { return false }
        return true
      }
      try await Server.start(ServerOptions(dataDirectory: "\(folder)/b")).stop()
      try await first.stop()
    }
  }

  @Test func `SHUTDOWN ends a server, and all who wait are told`() async throws {
    try await withFolder { folder in
      let server = try await Server.start(ServerOptions(dataDirectory: folder))
      try await server.reachAllMembers()
      async let waiting: Void = server.ended()
      var client = Client(port: server.port)
      // The answer is the end of the connection.
      _ = try? client.execute(Command("SHUTDOWN"))
      try await waiting
      try await server.stop()
      await #expect(throws: ServerFailure.self) { try await server.reachAllMembers() }
    }
  }

  @Test func `who waits for members that never come is told of the stop`() async throws {
    try await withFolder { folder in
      let list = try MemberList("1=127.0.0.1:\(try freePort()),2=127.0.0.1:1")
      let server = try await Server.start(
        ServerOptions(dataDirectory: folder, member: MemberID(1), of: list))
      let waiting = Task { try await server.reachAllMembers() }
      try await server.stop()
      await #expect(throws: ServerFailure.self) { try await waiting.value }
    }
  }

  @Test func `a server that is forgotten stops`() async throws {
    try await withFolder { folder in
      var server: Server? = try await Server.start(ServerOptions(dataDirectory: folder))
      let port = try #require(server?.port)
      server = nil
      var isFree = false
      for _ in 0..<500 where !isFree {
        try await Task.sleep(for: .milliseconds(10))
        if let next = try? await Server.start(ServerOptions(dataDirectory: folder, port: port)) {
          isFree = true
          try await next.stop()
        }
      }
      #expect(isFree)
    }
  }

  // MARK: Parts

  private func withFolder(_ body: (String) async throws -> Void) async throws {
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: false)
    defer { try? FileManager.default.removeItem(at: folder) }
    try await body(folder.path)
  }

  private func freePort() throws -> UInt16 {
    var options = SocketOptions()
    options.addresses = [ListenAddress(Endpoint(ipv4: 0x7F00_0001, port: 0))]
    return try SocketTransport(options).port
  }
}
