import CLinux
import Glibc

/// What the machine itself takes for the parts of a commit: a message over loopback to a thread on
/// another core and back (and to one on the same core, which is no member that works at the same
/// time), a force, and three forces at the same time; and for a commit of bare threads:
/// a message to two others, which force and answer, while the first one forces. Medians, no server
/// involved.
struct Probe {
  private static let rounds = 400
  private static let messageByteCount = 200
  private static let writeByteCount = 512
  private static let fileByteCount = 1 << 20

  /// Measures with files in `directory`, which are removed; one line of JSON, in microseconds.
  static func run(in directory: String) -> String {
    let roundTrip = medianRoundTrip(isAcrossCores: true)
    let onOneCore = medianRoundTrip(isAcrossCores: false)
    let alone = medianForce(of: 1, in: directory)
    let three = medianForce(of: 3, in: directory)
    let bare = medianBareCommit(in: directory)
    return """
      {"round_trip_us":\(micros(roundTrip)),"one_core_us":\(micros(onOneCore)),\
      "force_us":\(micros(alone)),\
      "slowest_of_three_us":\(micros(three)),"bare_commit_us":\(micros(bare))}
      """
  }

  private static func micros(_ nanos: UInt64) -> Double { Double(nanos / 100) / 10 }

  private static func median(_ samples: [UInt64]) -> UInt64 { samples.sorted()[samples.count / 2] }

  // MARK: Forces

  /// The median time until the last of `count` threads has written and forced a sector of its own
  /// file, which was filled with zeroes and forced before.
  private static func medianForce(of count: Int, in directory: String) -> UInt64 {
    let files = (0..<count).map { openFile("\(directory)/probe-\(getpid())-\($0)") }
    defer { for file in files { close(file) } }
    let start = Barrier(count)
    let end = Barrier(count)
    let threads = files.dropFirst().map { file in
      Thread {
        for round in 0..<rounds {
          start.wait()
          force(file, round)
          end.wait()
        }
      }
    }
    var samples: [UInt64] = []
    for round in 0..<rounds {
      start.wait()
      let began = clockNanos()
      force(files[0], round)
      end.wait()
      samples.append(clockNanos() - began)
    }
    for thread in threads { thread.join() }
    return median(samples)
  }

  /// The median time of a commit without any work: two threads force when a message comes and
  /// answer then; who has sent it forces meanwhile and waits for both.
  private static func medianBareCommit(in directory: String) -> UInt64 {
    let files = (0..<3).map { openFile("\(directory)/probe-\(getpid())-\($0)") }
    defer { for file in files { close(file) } }
    let pairs = (0..<2).map { _ in connectedPair() }
    let threads = zip(pairs, files.dropFirst()).map { pair, file in
      Thread {
        for round in 0..<rounds {
          receive(pair.1)
          force(file, round)
          send(pair.1)
        }
      }
    }
    var samples: [UInt64] = []
    for round in 0..<rounds {
      let began = clockNanos()
      for pair in pairs { send(pair.0) }
      force(files[0], round)
      for pair in pairs { receive(pair.0) }
      samples.append(clockNanos() - began)
    }
    for thread in threads { thread.join() }
    for pair in pairs {
      close(pair.0)
      close(pair.1)
    }
    return median(samples)
  }

  private static func openFile(_ path: String) -> Int32 {
    let file = open(path, O_RDWR | O_CREAT | O_EXCL, 0o600)
    guard file >= 0 else { stop(call: "open \(path)") }
    guard unlink(path) == 0 else { stop(call: "unlink \(path)") }
    let zeroes = [UInt8](repeating: 0, count: fileByteCount)
    guard write(file, zeroes, zeroes.count) == zeroes.count, fsync(file) == 0 else {
      stop(call: "write \(path)")
    }
    return file
  }

  private static func force(_ file: Int32, _ round: Int) {
    let bytes = [UInt8](repeating: UInt8(truncatingIfNeeded: round), count: writeByteCount)
    let offset = round * writeByteCount % fileByteCount
    guard pwrite(file, bytes, bytes.count, off_t(offset)) == bytes.count, fdatasync(file) == 0
    else { stop(call: "fdatasync") }
  }

  // MARK: Messages

  /// The median time of a message over a TCP connection on loopback and its answer. Where the
  /// scheduler chose the cores, it was that of one core or of two by chance.
  private static func medianRoundTrip(isAcrossCores: Bool) -> UInt64 {
    let (near, far) = connectedPair()
    let allowed = Cores.allowed
    allowed.first.use()
    defer { allowed.use() }
    let other = isAcrossCores ? allowed.last : allowed.first
    let echo = Thread {
      other.use()
      for _ in 0..<rounds {
        receive(far)
        send(far)
      }
    }
    var samples: [UInt64] = []
    for _ in 0..<rounds {
      let began = clockNanos()
      send(near)
      receive(near)
      samples.append(clockNanos() - began)
    }
    echo.join()
    close(near)
    close(far)
    return median(samples)
  }

  private static func send(_ socket: Int32) {
    let bytes = [UInt8](repeating: 1, count: messageByteCount)
    guard write(socket, bytes, bytes.count) == bytes.count else { stop(call: "write") }
  }

  private static func receive(_ socket: Int32) {
    var bytes = [UInt8](repeating: 0, count: messageByteCount)
    guard recv(socket, &bytes, bytes.count, Int32(MSG_WAITALL)) == bytes.count else {
      stop(call: "recv")
    }
  }

  private static func connectedPair() -> (Int32, Int32) {
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
    var size = socklen_t(MemoryLayout<sockaddr_in>.size)
    let listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    let near = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    defer { close(listener) }
    let isConnected = withUnsafeMutablePointer(to: &address) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        bind(listener, $0, size) == 0 && listen(listener, 1) == 0
          && getsockname(listener, $0, &size) == 0 && connect(near, $0, size) == 0
      }
    }
    let far = accept(listener, nil, nil)
    guard isConnected, far >= 0 else { stop(call: "a connection over loopback") }
    for socket in [near, far] {
      setOption(socket, level: Int32(IPPROTO_TCP), name: TCP_NODELAY, to: 1)
    }
    return (near, far)
  }
}

/// Lets threads go on together.
private struct Barrier: @unchecked Sendable {
  private let place = UnsafeMutablePointer<pthread_barrier_t>.allocate(capacity: 1)

  init(_ count: Int) { pthread_barrier_init(place, nil, UInt32(count)) }

  func wait() { pthread_barrier_wait(place) }
}

/// A thread that runs a closure once.
private struct Thread {
  private final class Body {
    let run: () -> Void
    init(_ run: @escaping () -> Void) { self.run = run }
  }
  private var id = pthread_t()

  init(_ run: @escaping () -> Void) {
    let body = Unmanaged.passRetained(Body(run)).toOpaque()
    let result = pthread_create(
      &id, nil,
      { place in
        Unmanaged<Body>.fromOpaque(place!).takeRetainedValue().run()
        return nil
      }, body)
    guard result == 0 else { stop("pthread_create: \(result)") }
  }

  func join() { pthread_join(id, nil) }
}

/// Cores of the machine, a bit for each.
private struct Cores {
  private var bits = [UInt64](repeating: 0, count: 16)

  /// Those that this process may use.
  static var allowed: Cores {
    var cores = Cores()
    let byteCount = cores.bits.count * 8
    guard cl_sched_getaffinity(0, byteCount, &cores.bits) >= 0 else {
      stop(call: "sched_getaffinity")
    }
    return cores
  }

  private var numbers: [Int] {
    (0..<bits.count * 64).filter { bits[$0 / 64] >> UInt64($0 % 64) & 1 == 1 }
  }

  var first: Cores { Cores(only: numbers.first!) }
  var last: Cores { Cores(only: numbers.last!) }

  private init() {}
  private init(only number: Int) { bits[number / 64] = 1 << UInt64(number % 64) }

  /// Has the calling thread run on them only.
  func use() {
    guard cl_sched_setaffinity(0, bits.count * 8, bits) == 0 else {
      stop(call: "sched_setaffinity")
    }
  }
}
