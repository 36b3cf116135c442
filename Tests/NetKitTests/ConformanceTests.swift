import Base
import Conformance
import Testing

@testable import NetKit

/// The contract of `Transport` over what this module can build: datagram cores joined by a wire,
/// in good weather and bad, and real sockets on loopback.
@Suite(.serialized) struct ConformanceTests {
  @Test(arguments: Setting.allCases)
  func opensAndCarriesBothWays(setting: Setting) throws {
    try setting.run(
      { try Conformance.opensAndCarriesBothWays(&$0) },
      { try Conformance.opensAndCarriesBothWays(&$0) })
  }

  @Test(arguments: Setting.allCases)
  func sizesUpToTheLimit(setting: Setting) throws {
    try setting.run(
      { try Conformance.sizesUpToTheLimit(&$0) }, { try Conformance.sizesUpToTheLimit(&$0) })
  }

  @Test(arguments: Setting.allCases)
  func orderLossAndRepetition(setting: Setting) throws {
    try setting.run(
      { try Conformance.orderLossAndRepetition(&$0, seed: 7) },
      { try Conformance.orderLossAndRepetition(&$0, seed: 7) })
  }

  @Test(arguments: Setting.allCases)
  func backPressure(setting: Setting) throws {
    try setting.run(
      { try Conformance.backPressure(&$0) }, { try Conformance.backPressure(&$0) })
  }

  @Test(arguments: Setting.allCases)
  func closingEndsBothSides(setting: Setting) throws {
    try setting.run(
      { try Conformance.closingEndsBothSides(&$0) }, { try Conformance.closingEndsBothSides(&$0) })
  }

  @Test(arguments: Setting.allCases)
  func peerRestart(setting: Setting) throws {
    try setting.run(
      { try Conformance.peerRestart(&$0) }, { try Conformance.peerRestart(&$0) })
  }

  @Test(arguments: Setting.allCases)
  func halfOpen(setting: Setting) throws {
    try setting.run(
      { try Conformance.halfOpen(&$0) }, { try Conformance.halfOpen(&$0) })
  }

  @Test(arguments: Setting.allCases)
  func connectingToNobody(setting: Setting) throws {
    try setting.run(
      { try Conformance.connectingToNobody(&$0) }, { try Conformance.connectingToNobody(&$0) })
  }

  @Test(arguments: Setting.allCases)
  func drainingKeepsOpenLinks(setting: Setting) throws {
    try setting.run(
      { try Conformance.drainingKeepsOpenLinks(&$0) },
      { try Conformance.drainingKeepsOpenLinks(&$0) })
  }
}

/// The worlds.
enum Setting: String, CaseIterable {
  case datagrams
  case datagramsInBadWeather
  case socketsOverTCP
  case socketsOverUDP

  /// Runs one test in a fresh world; given twice, because a closure has one type.
  func run(
    _ simulated: (inout PeerWorld) throws -> Void, _ real: (inout SocketWorld) throws -> Void
  ) throws {
    switch self {
    case .datagrams:
      var world = PeerWorld(seed: 1)
      try simulated(&world)
    case .datagramsInBadWeather:
      let weather = Weather(loss: 50, repetition: 50, damage: 20, delayMicrosMax: 5_000)
      var options = DatagramOptions()
      options.peerTimeout = .seconds(10)
      var world = PeerWorld(seed: 2, weather: weather, options: options)
      try simulated(&world)
    case .socketsOverTCP, .socketsOverUDP:
      var world = try SocketWorld(overDatagrams: self == .socketsOverUDP)
      try real(&world)
    }
  }
}
