import Testing

@testable import NetKit

@Suite struct EndpointTests {
  @Test(arguments: [
    "127.0.0.1:9099", "0.0.0.0:0", "255.255.255.255:65535", "[::]:1", "[::1]:9099",
    "[2001:db8::1]:80", "[1:2:3:4:5:6:7:8]:9", "[fe80::1%3]:4", "[1:0:0:2::3]:5", "[::2:0:0:3]:6",
    "[1::]:7",
  ])
  func `a printed endpoint reads as itself`(text: String) throws {
    let endpoint = try #require(Endpoint(text))
    #expect(endpoint.description == text)
    #expect(Endpoint(endpoint.description) == endpoint)
  }

  @Test(arguments: [
    "", ":", "1.2.3.4", "1.2.3:4", "1.2.3.4:", "1.2.3.4:65536", "1.2.3.4:+1", "01.2.3.4:5",
    "1.2.3.256:5", "::1:9099", "[1.2.3.4]:5", "[::1]", "[::1", "[1::2::3]:4", "[1:2:3:4:5:6:7]:8",
    "[1:2:3:4:5:6:7:8:9]:1", "[12345::]:1", "[:::]:1", "[1:2:3:4::5:6:7:8]:1", "[g::]:1",
    "[::1%x]:2", "localhost:9099", "[:1:2:3:4:5:6:7]:1",
  ])
  func `what is not an endpoint is refused`(text: String) {
    #expect(Endpoint(text) == nil)
  }

  @Test func `a mapped address is an IPv4 address`() throws {
    let mapped = try #require(Endpoint("[::ffff:10.0.0.1]:5"))
    #expect(mapped == Endpoint(ipv4: 0x0A00_0001, port: 5))
    #expect(mapped.isIPv4)
    #expect(mapped.description == "10.0.0.1:5")
  }

  @Test func `the longest and first run of zeroes is the one left out`() {
    #expect(Endpoint(address: "0:0:1:0:0:0:2:0", port: 1)?.addressText == "0:0:1::2:0")
    #expect(Endpoint(address: "1:0:0:2:0:0:3:4", port: 1)?.addressText == "1::2:0:0:3:4")
    #expect(Endpoint(address: "1:0:2:3:4:5:6:7", port: 1)?.addressText == "1:0:2:3:4:5:6:7")
  }

  @Test(arguments: ["127.0.0.1:5", "[::1]:6", "[2001:db8::42]:7"])
  func `a socket address keeps the endpoint`(text: String) throws {
    let endpoint = try #require(Endpoint(text))
    #expect(SocketAddress(endpoint).endpoint == endpoint)
  }

  @Test func `localhost is both loopback addresses`() throws {
    let endpoints = try resolve(host: "localhost", port: 7)
    #expect(endpoints.map(\.description) == ["127.0.0.1:7", "[::1]:7"])
  }
}
