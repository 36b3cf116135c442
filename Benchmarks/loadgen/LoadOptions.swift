import Base

/// What one run of the generator does, read from the command line.
struct LoadOptions {
  enum Wire: String { case resp, udp, memcached }
  enum Verb: String { case get, set }

  var host = "127.0.0.1"
  var port = 9099
  /// resp over TCP, our datagrams, or memcached's text protocol in its 8-byte UDP frames.
  var wire = Wire.resp
  var verb = Verb.get
  /// TCP connections, or UDP sockets.
  var clientCount = 50
  /// Requests that a client has under way: pipelined over TCP, datagrams over UDP.
  var pipeline = 1
  var valueByteCount = 3
  var keyCount = 10_000
  /// The load ends after this many requests, or after `seconds` when zero.
  var requestCount = 0
  var seconds = 2
  /// Every n-th reply is compared whole; the others by their framing.
  var checkEvery = 16
  var seed: UInt64 = 1
  /// Put every key once before the load, untimed.
  var populates = false

  static let flags = FlagTable(
    [
      Flag("host", short: "s", value: "ADDRESS", help: "IPv4 address of the server [127.0.0.1]"),
      Flag("port", short: "p", value: "PORT", help: "port [9099]"),
      Flag("wire", short: "w", value: "WIRE", help: "resp, udp or memcached [resp]"),
      Flag("operation", short: "o", value: "VERB", help: "get or set [get]"),
      Flag("clients", short: "c", value: "N", help: "connections or UDP sockets [50]"),
      Flag("pipeline", short: "P", value: "N", help: "requests under way a client [1]"),
      Flag("value-size", short: "d", value: "BYTES", help: "bytes of a value [3]"),
      Flag("keys", short: "r", value: "N", help: "keys that requests are spread over [10000]"),
      Flag("requests", short: "n", value: "N", help: "end after N requests"),
      Flag("seconds", value: "N", help: "or after N seconds [2]"),
      Flag("check-every", value: "N", help: "compare every Nth reply whole [16]"),
      Flag("seed", value: "N", help: "seed of the choice of keys [1]"),
      Flag("populate", help: "put every key once first, untimed"),
      Flag(
        "probe", value: "DIRECTORY",
        help: "no load: time a loopback round trip, a force, three forces at once"),
      Flag("help", short: "h", help: "this text"),
    ], environmentPrefix: "LOADGEN_")

  init(_ values: FlagValues) throws(UsageError) {
    host = values.text("host") ?? host
    port = try values.integer("port", in: 1...65_535) ?? port
    wire = try Self.word("wire", of: values) ?? wire
    verb = try Self.word("operation", of: values) ?? verb
    clientCount = try values.integer("clients", in: 1...20_000) ?? clientCount
    pipeline = try values.integer("pipeline", in: 1...10_000) ?? pipeline
    valueByteCount = try values.integer("value-size", in: 1...(1 << 20)) ?? valueByteCount
    keyCount = try values.integer("keys", in: 1...100_000_000) ?? keyCount
    requestCount = try values.integer("requests", in: 1...Int.max) ?? requestCount
    seconds = try values.integer("seconds", in: 1...86_400) ?? seconds
    checkEvery = try values.integer("check-every", in: 1...Int.max) ?? checkEvery
    seed = UInt64(try values.integer("seed", in: 0...Int.max) ?? 1)
    populates = values.has("populate")
    if wire != .resp, pipeline > DatagramLoad.windowMax {
      throw UsageError("over UDP --pipeline is at most \(DatagramLoad.windowMax)")
    }
    if wire != .resp, valueByteCount > 1_024 {
      throw UsageError("over UDP --value-size is at most 1024: one datagram each way")
    }
  }

  private static func word<Word: RawRepresentable<String>>(
    _ name: String, of values: FlagValues
  ) throws(UsageError) -> Word? {
    guard let text = values.text(name) else { return nil }
    guard let word = Word(rawValue: text) else {
      throw UsageError("--\(name) does not know \"\(text)\"")
    }
    return word
  }
}

/// One stretch of load: filling the keys in order, or the measured run over random keys.
struct LoadPhase {
  var verb: LoadOptions.Verb
  /// Keys in ascending order instead of by chance.
  var inOrder: Bool
  /// Ends after this many requests; zero: by the clock.
  var requestCount: Int
  var nanos: UInt64

  /// The filling of all keys.
  static func filling(_ options: LoadOptions) -> LoadPhase {
    LoadPhase(verb: .set, inOrder: true, requestCount: options.keyCount, nanos: .max)
  }

  /// The measured run.
  static func measured(_ options: LoadOptions) -> LoadPhase {
    LoadPhase(
      verb: options.verb, inOrder: false, requestCount: options.requestCount,
      nanos: options.requestCount > 0 ? .max : UInt64(options.seconds) * 1_000_000_000)
  }
}
