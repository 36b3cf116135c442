import Base
import NetKit
import Store
import Testing

@testable import Node

/// What clients do that want more than their share, or want it at the wrong moment.
@Suite struct HostileTests {
  private let id = "018bcfe568007000800000000000000a"

  @Test func `A UDP message does not change what later ones are answered`() {
    var bench = NodeBench()
    _ = bench.request("MULTI\r\nCLIENT REPLY OFF\r\nCLIENT TXMODE redis\r\nEXEC\r\n")
    #expect(bench.request("PING\r\n") == "+PONG;")
    let mixed = bench.request("MULTI\r\nSET k v\r\nINCR k\r\nEXEC\r\n")
    #expect(mixed.contains("-EXECABORT"))
    #expect(bench.request("GET k\r\n") == "$-1;")
  }

  @Test func `An id that was executed is answered as before when there is no more room`() {
    var bench = NodeBench()
    let link = bench.connect()
    #expect(bench.ask("ONCE \(id) APPEND k abc", on: link) == ":3")
    #expect(bench.ask("CONFIG SET maxmemory 1", on: link) == "+OK")
    #expect(bench.ask("ONCE \(id) APPEND k abc", on: link) == ":3")
    #expect(
      bench.ask("ONCE 018bcfe568007000800000000000000b APPEND k d", on: link)
        .hasPrefix("-OOM"))
  }

  @Test func `A rename is refused where there is no room to write the value anew`() {
    var bench = NodeBench()
    let link = bench.connect()
    #expect(bench.ask("SET k v", on: link) == "+OK")
    #expect(bench.ask("CONFIG SET maxmemory 1", on: link) == "+OK")
    #expect(bench.ask("RENAME k a-longer-key", on: link).hasPrefix("-OOM"))
    #expect(bench.ask("RENAMENX k a-longer-key", on: link).hasPrefix("-OOM"))
    #expect(bench.ask("GET k", on: link) == "$1;v")
  }

  @Test func `A refusal for lack of memory ends its id`() {
    var bench = NodeBench()
    let link = bench.connect()
    #expect(bench.ask("CONFIG SET maxmemory 1", on: link) == "+OK")
    #expect(bench.ask("ONCE \(id) APPEND k abc", on: link).hasPrefix("-OOM"))
    let message = "MULTI\r\nSET k v\r\nEXEC\r\n"
    let other = OperationID(unixMillis: 1_700_000_000_000, random: 3, 4)
    #expect(bench.request(message, id: other).contains("-EXECABORT"))
    #expect(bench.ask("CONFIG SET maxmemory 1000000000", on: link) == "+OK")
    // Late copies, now that there is room.
    #expect(bench.ask("ONCE \(id) APPEND k abc", on: link).hasPrefix("-OOM"))
    #expect(bench.ask("OUTCOME \(id)", on: link) == "$7;aborted")
    #expect(bench.request(message, id: other).contains("-EXECABORT"))
    #expect(bench.ask("EXISTS k", on: link) == ":0")
  }

  @Test func `A transaction that was executed is answered as before when there is no room`() {
    var bench = NodeBench()
    let link = bench.connect()
    let other = OperationID(unixMillis: 1_700_000_000_000, random: 3, 4)
    let message = "MULTI\r\nAPPEND k abc\r\nEXEC\r\n"
    #expect(bench.request(message, id: other).hasSuffix("*1;:3;"))
    #expect(bench.ask("CONFIG SET maxmemory 1", on: link) == "+OK")
    #expect(bench.request(message, id: other).hasSuffix("*1;:3;"))
  }

  @Test func `A refusal for a full disk is uncertain under an id, and leaves what is reserved`() {
    var bench = NodeBench()
    let link = bench.connect()
    #expect(bench.ask("SET k v", on: link) == "+OK")
    let before = bench.host.node.database!.pointee.log.appended
    bench.host.node.noSpace = true
    #expect(bench.host.node.refusal([.denyOOM]) == .disk)
    let plain = bench.host.node.refusal([.denyOOM])?.text(isCertain: true)
    #expect(plain?.hasSuffix("(not-applied)") == true)
    for command in ["ONCE \(id) APPEND k abc", "MULTI\r\nAPPEND k abc\r\nONCE \(id) EXEC"] {
      bench.host.node.noSpace = true
      bench.host.link.events.append((.received(link), Array((command + "\r\n").utf8)))
      _ = bench.host.turn()
      #expect(bench.take(link).hasSuffix("(unknown);"))
    }
    let after = bench.host.node.database!.pointee.log.appended
    #expect(before == after)
  }

  @Test func `A checkpoint without room is tried again each second that deletes come in`() {
    final class Lines { var abandoned = 0 }
    let lines = Lines()
    var bench = NodeBench()
    bench.host.log = { _, line in lines.abandoned += line.contains("abandoned") ? 1 : 0 }
    let link = bench.connect()
    for key in 0...50 { #expect(bench.ask("SET k\(key) v", on: link) == "+OK") }
    bench.host.disk.isFull = true
    bench.host.disk.refusesCheckpoints = true
    for key in 0..<50 {
      #expect(bench.ask("DEL k\(key)", on: link) == ":1")
      bench.advance(millis: 100)
    }
    #expect(bench.ask("SET k v", on: link).hasPrefix("-NOSPACE"))
    #expect((4...6).contains(bench.host.disk.checkpointCount))
    #expect(lines.abandoned == 1)
    bench.host.disk.refusesCheckpoints = false
    #expect(bench.ask("DEL k50", on: link) == ":1")
    bench.advance(millis: 1_000)
    #expect(bench.ask("SET k v", on: link) == "+OK")
  }

  @Test func `A reply too large for UDP says applied only of a change`() {
    var bench = NodeBench()
    #expect(bench.request("SETRANGE k 999999 x\r\n") == ":1000000;")
    #expect(bench.request("MGET k k\r\n").hasPrefix("-TOOLARGE not-applied; "))
    #expect(bench.request("MGET k k\r\nAPPEND k x\r\n").hasPrefix("-TOOLARGE not-applied; "))
    let mixed = "APPEND k x\r\nMGET k k\r\nAPPEND k x\r\n"
    #expect(bench.request(mixed).hasPrefix("-TOOLARGE unknown; "))
    #expect(bench.request("APPEND k x\r\nMGET k k\r\n").hasPrefix("-TOOLARGE applied; "))
    let transaction = "MULTI\r\nAPPEND k x\r\nMGET k k\r\nEXEC\r\n"
    #expect(bench.request(transaction).hasPrefix("-TOOLARGE applied; "))
    #expect(bench.request("INCR k\r\nMGET k k\r\n").hasPrefix("-TOOLARGE not-applied; "))
  }

  @Test func `Why a transaction failed is told when what it saw is durable`() {
    var bench = NodeBench()
    let (writer, reader) = (bench.connect(), bench.connect())
    bench.host.disk.isHeld = true
    bench.put("SET k text\r\n", on: writer)
    bench.put("MULTI\r\nINCR k\r\nEXEC\r\n", on: reader)
    #expect(bench.take(reader) == "+OK;+QUEUED;")
    bench.host.disk.isHeld = false
    bench.run()
    #expect(bench.take(reader).hasPrefix("-EXECABORT"))
  }

  @Test func `A rename that does not fit leaves both keys as they were`() {
    var options = NodeOptions()
    options.database.transactionByteCountMax = 1_000
    var bench = NodeBench(options: options)
    let link = bench.connect()
    let value = String(repeating: "v", count: 1_000 - 23 - 1)
    #expect(bench.ask("SET k \(value)", on: link) == "+OK")
    #expect(bench.ask("RENAME k o", on: link).hasPrefix("-ERR transaction exceeds"))
    #expect(bench.ask("EXISTS k", on: link) == ":1")
    #expect(bench.ask("EXISTS o", on: link) == ":0")
  }

  @Test func `Short commands that make long records wait for the disk`() {
    var bench = NodeBench()
    let (greedy, other) = (bench.connect(), bench.connect())
    bench.host.disk.isHeld = true
    let pair = "SETRANGE k 1048576 x\r\nDEL k\r\n"
    bench.put(String(repeating: pair, count: 100), on: greedy)
    bench.put("SET other v\r\n", on: other)
    let pending = bench.host.node.database!.pointee.log.pendingByteCount
    #expect(pending <= NodeOptions.pendingLogByteCountMax + 2 << 20)
    bench.host.disk.isHeld = false
    for _ in 0..<40 { bench.run() }
    #expect(bench.take(other) == "+OK;")
    #expect(bench.take(greedy) == String(repeating: ":1048577;:1;", count: 100))
  }

  @Test func `A UDP message that asks for too much is ended`() {
    var bench = NodeBench()
    #expect(bench.request("SETRANGE k 999999 x\r\n") == ":1000000;")
    let reply = bench.request(String(repeating: "GET k\r\n", count: 10_000))
    #expect(reply.hasPrefix("-TOOLARGE not-applied"))
  }

  @Test func `With every-second what was written is forced though nothing more comes`() {
    var options = NodeOptions()
    options.durability = .everySecond
    var bench = NodeBench(options: options)
    let link = bench.connect()
    #expect(bench.ask("SET a v", on: link) == "+OK")
    bench.advance(millis: 20)
    #expect(bench.ask("SET b v", on: link) == "+OK")
    bench.advance(millis: 20)
    let deadline = bench.host.forceDeadline
    #expect(deadline != nil)
    #expect(bench.host.deadline <= deadline ?? .zero)
    bench.advance(millis: 1_000)
    #expect(bench.host.forceDeadline == nil)
    #expect(bench.host.deadline == .never)
  }

  @Test func `A force without records ends a group, so that damage behind it is told`() {
    var options = NodeOptions()
    options.durability = .everySecond
    var bench = NodeBench(options: options)
    let link = bench.connect()
    #expect(bench.ask("SET a v", on: link) == "+OK")
    bench.advance(millis: 20)
    #expect(bench.ask("SET b v", on: link) == "+OK")
    bench.advance(millis: 20)
    let before = bench.host.disk.forceCount
    bench.advance(millis: 1_000)
    let after = bench.host.disk.forceCount
    #expect(after == before + 1)
    #expect(bench.ask("SET c v", on: link) == "+OK")
    bench.advance(millis: 20)
    let groupOffset = bench.host.disk.groupOffset
    #expect(groupOffset == 0)
  }

  @Test(arguments: [false, true])
  func `Records wait for a checkpoint that is behind, for half a second`(isSlow: Bool) {
    var options = NodeOptions()
    options.checkpoints.sliceByteCountMin = 1
    options.checkpoints.sliceByteCountMax = 1
    var bench = NodeBench(options: options)
    let link = bench.connect()
    for key in 0..<100 { #expect(bench.ask("SET k\(key) v", on: link) == "+OK") }
    #expect(bench.ask("BGSAVE", on: link).hasPrefix("+Background"))
    let text = String(repeating: "x", count: 200)
    #expect(bench.ask("SET large \(text)", on: link) == "+OK")
    // The log has grown by more than a quarter of the entries that went since.
    #expect(bench.ask("SET k0 w", on: link) == "")
    #expect(bench.host.policy.holdsRecords)
    if isSlow {
      bench.advance(millis: 499)
      #expect(bench.take(link) == "")
      bench.advance(millis: 1)
      #expect(bench.host.policy.holdsRecords)
    } else {
      for _ in 0..<8 { bench.run() }
      #expect(!bench.host.policy.holdsRecords)
    }
    #expect(bench.take(link) == "+OK;")
  }

  @Test func `A late answer counts for CLIENT REPLY SKIP`() {
    var bench = NodeBench()
    let link = bench.connect()
    bench.put("CLIENT REPLY SKIP\r\nSAVE\r\nPING\r\n", on: link)
    #expect(bench.take(link) == "+PONG;")
  }

  @Test func `A client that never pauses does not keep the node from ending in order`() {
    var options = NodeOptions()
    options.durability = .everySecond
    var bench = NodeBench(options: options)
    let link = bench.connect()
    bench.host.requestStop()
    var stopped = false
    for _ in 0..<300 where !stopped {
      bench.host.link.events.append((.received(link), Array("INCR k\r\n".utf8)))
      bench.host.link.moment.instant = bench.host.link.moment.instant + .millis(10)
      if case .stopped(.requested) = bench.host.turn() { stopped = true }
    }
    #expect(stopped)
    let database = bench.host.node.database!
    #expect(database.pointee.log.pendingByteCount == 0)
    #expect(bench.host.node.forced == database.pointee.log.appended)
  }

  @Test func `What a transaction keeps aside to undo counts as used memory`() {
    var bench = NodeBench()
    let link = bench.connect()
    for key in 0..<8 { _ = bench.ask("SETRANGE k\(key) 999999 x", on: link) }
    let used = bench.host.node.database!.pointee.usedByteCount
    #expect(bench.ask("CONFIG SET maxmemory \(used + 4_000_000)", on: link) == "+OK")
    _ = bench.ask("MULTI", on: link)
    for key in 0..<8 { _ = bench.ask("SETRANGE k\(key) 0 y", on: link) }
    #expect(bench.ask("EXEC", on: link).hasPrefix("-EXECABORT"))
    #expect(bench.host.node.database!.pointee.usedByteCount == used)
    #expect(bench.ask("GETRANGE k0 0 0", on: link) == "$1;\0")
  }

  @Test func `What all connections queue and watch is bounded together`() {
    var options = NodeOptions()
    options.queuedByteCountMax = 1_000
    var bench = NodeBench(options: options)
    let value = String(repeating: "v", count: 200)
    let links = (0..<4).map { _ in bench.connect() }
    for link in links[0..<3] { #expect(bench.ask("MULTI", on: link) == "+OK") }
    #expect(bench.ask("SET a \(value)\(value)", on: links[0]) == "+QUEUED")
    #expect(bench.ask("SET a \(value)\(value)", on: links[1]) == "+QUEUED")
    #expect(bench.ask("SET a \(value)", on: links[2]).hasPrefix("-ERR the transactions"))
    #expect(bench.ask("EXEC", on: links[2]).hasPrefix("-EXECABORT"))
    // What one gives up another may use: by ending its transaction, or its connection.
    #expect(bench.ask("DISCARD", on: links[0]) == "+OK")
    #expect(bench.ask("WATCH \(value)\(value) b c d e f g", on: links[3]) == "+OK")
    #expect(bench.ask("MULTI", on: links[2]) == "+OK")
    #expect(bench.ask("SET a \(value)", on: links[2]).hasPrefix("-ERR the transactions"))
    #expect(bench.ask("WATCH h", on: links[0]).hasPrefix("-ERR the transactions"))
    bench.host.link.events.append((.closed(links[3], .closed), []))
    bench.run()
    #expect(bench.ask("DISCARD", on: links[2]) == "+OK")
    #expect(bench.ask("MULTI", on: links[2]) == "+OK")
    #expect(bench.ask("SET a \(value)", on: links[2]) == "+QUEUED")
    #expect(bench.ask("EXEC", on: links[1]) == "*1;+OK")
    #expect(bench.ask("EXEC", on: links[2]) == "*1;+OK")
    #expect(bench.ask("UNWATCH", on: links[0]) == "+OK")
    #expect(bench.host.node.queuedByteCount == 0)
  }

  @Test func `Queued arguments without bytes count too`() {
    var options = NodeOptions()
    options.database.transactionByteCountMax = 1_000
    var bench = NodeBench(options: options)
    let link = bench.connect()
    _ = bench.ask("MULTI", on: link)
    let empty = String(repeating: " \"\"", count: 300)
    #expect(bench.ask("ECHO\(empty)", on: link).hasPrefix("-ERR wrong number"))
    #expect(bench.ask("CONFIG GET\(empty)", on: link).hasPrefix("-ERR transaction exceeds"))
  }

  /// What a death takes back, a version must not name in the eyes of who was told it.
  @Test(arguments: [Durability.everySecond, .never])
  func aVersionIsToldWhenItIsForcedThoughTheDurabilityIsWeak(durability: Durability) {
    var options = NodeOptions()
    options.durability = durability
    var bench = NodeBench(options: options)
    let (link, other) = (bench.connect(), bench.connect())
    bench.host.disk.isHeld = true
    #expect(bench.ask("SET a 1", on: link) == "+OK")
    bench.put("GETV a\r\nPING\r\n", on: link)
    bench.run()
    #expect(bench.take(link) == "" && bench.ask("GET a", on: other) == "$1;1")
    bench.host.disk.isHeld = false
    bench.run()
    let told = bench.take(link).split(separator: ";")
    #expect(told.count == 5 && told.last == "+PONG")
    let (version, forceCount) = (told[3].dropFirst(), bench.host.disk.forceCount)
    #expect(forceCount > 0)
    bench.host.disk.isHeld = true
    #expect(bench.ask("GETV a", on: other).hasSuffix(String(version)))
    bench.put("CAS a \(version) 2\r\n", on: other)
    bench.run()
    #expect(bench.take(other) == "")
    bench.host.disk.isHeld = false
    bench.run()
    #expect(bench.take(other).hasPrefix(":"))
  }
}
