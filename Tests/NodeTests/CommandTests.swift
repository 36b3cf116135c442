import Base
import NetKit
import Store
import Testing

@testable import Node

/// Runs a script of `command -> reply` lines on one connection.
private func expectScript(_ script: String) {
  var bench = NodeBench()
  let link = bench.connect()
  for line in script.split(separator: "\n") {
    let parts = line.split(separator: ">", maxSplits: 1).map { $0.trimmed }
    guard parts.count == 2 else { continue }
    let reply = bench.ask(parts[0], on: link)[...].trimmed
    #expect(reply == parts[1], "\(parts[0])")
  }
}

extension Substring {
  fileprivate var trimmed: String {
    var text = self
    while text.first == " " { text.removeFirst() }
    while text.last == " " { text.removeLast() }
    return String(text)
  }
}

@Suite struct CommandTests {
  @Test func stringsBehaveAsInRedis() {
    expectScript(
      """
      SET a 1 > +OK
      GET a > $1;1
      GET b > $-1
      SET a 2 NX > $-1
      SET c 2 XX > $-1
      SET a 3 XX GET > $1;1
      SET a 3 XX XX > +OK
      SET a 3 XX NX > -ERR syntax error
      GET a > $1;3
      SET a 1 EX 10 PX 10 > -ERR syntax error
      SET a 1 EX 0 > -ERR invalid expire time in 'set' command
      SET a 1 EX x > -ERR value is not an integer or out of range
      SETNX a 1 > :0
      SETNX d 1 > :1
      GETSET d 2 > $1;1
      GETDEL d > $1;2
      GETDEL d > $-1
      APPEND e ab > :2
      APPEND e cd > :4
      STRLEN e > :4
      GETRANGE e 1 -2 > $2;bc
      GETRANGE e -100 100 > $4;abcd
      GETRANGE e 3 1 > $0;
      SETRANGE e 6 x > :7
      GETRANGE e 4 5 > $2;\u{0}\u{0}
      SETRANGE e -1 x > -ERR offset is out of range
      MSET k1 v1 k2 v2 > +OK
      MSET k1 v1 k2 > -ERR wrong number of arguments for 'mset' command
      MGET k1 k2 k3 > *3;$2;v1;$2;v2;$-1
      MSETNX k3 a k1 b > :0
      MSETNX k3 a k4 b > :1
      GET > -ERR wrong number of arguments for 'get' command
      nonsense a b > -ERR unknown command 'nonsense', with args beginning with: 'a' 'b'
      """)
  }

  @Test func numbersBehaveAsInRedis() {
    expectScript(
      """
      INCR n > :1
      INCRBY n 10 > :11
      DECRBY n 5 > :6
      DECR n > :5
      SET n 9223372036854775807 > +OK
      INCR n > -ERR increment or decrement would overflow
      SET n abc > +OK
      INCR n > -ERR value is not an integer or out of range
      DECRBY n -9223372036854775808 > -ERR decrement would overflow
      SET f 10.5 > +OK
      INCRBYFLOAT f 0.1 > $4;10.6
      INCRBYFLOAT f -5e3 > $23;-4989.39999999999999991
      INCRBYFLOAT f x > -ERR value is not a valid float
      """)
  }

  @Test func keysBehaveAsInRedis() {
    expectScript(
      """
      MSET a 1 b 2 c 3 > +OK
      EXISTS a a x > :2
      TYPE a > +string
      TYPE x > +none
      DEL a x > :1
      UNLINK b > :1
      RENAME x y > -ERR no such key
      RENAME c d > +OK
      GET d > $1;3
      SET e 5 > +OK
      RENAMENX d e > :0
      RENAMENX d g > :1
      COPY g h > :1
      COPY g e > :0
      COPY g e REPLACE > :1
      GET e > $1;3
      COPY g g > -ERR source and destination objects are the same
      DBSIZE > :3
      KEYS [gx] > *1;$1;g
      SCAN 0 COUNT 100 MATCH h > *2;$1;0;*1;$1;h
      SCAN x > -ERR invalid cursor
      SCAN 0 TYPE list COUNT 100 > *2;$1;0;*0
      FLUSHALL > +OK
      DBSIZE > :0
      RANDOMKEY > $-1
      """)
  }

  @Test func keysExpireByTheClock() {
    var bench = NodeBench()
    let link = bench.connect()
    #expect(bench.ask("SET a 1 PX 1500", on: link) == "+OK")
    #expect(bench.ask("TTL a", on: link) == ":2")
    #expect(bench.ask("PTTL a", on: link) == ":1500")
    #expect(bench.ask("EXPIRE a 100 NX", on: link) == ":0")
    #expect(bench.ask("EXPIRE a 1 GT", on: link) == ":0")
    #expect(bench.ask("EXPIRE a 1 LT", on: link) == ":1")
    #expect(bench.ask("EXPIRETIME a", on: link) == ":1700000001")
    #expect(bench.ask("EXPIRE a 1 NX XX", on: link).hasPrefix("-ERR NX and XX"))
    #expect(bench.ask("GETEX a PERSIST", on: link) == "$1;1")
    #expect(bench.ask("TTL a", on: link) == ":-1")
    #expect(bench.ask("TTL x", on: link) == ":-2")
    #expect(bench.ask("PEXPIRE a 500", on: link) == ":1")
    bench.advance(millis: 501)
    #expect(bench.ask("GET a", on: link) == "$-1")
    #expect(bench.ask("DBSIZE", on: link) == ":0")
    #expect(bench.ask("SET b 1 KEEPTTL", on: link) == "+OK")
    #expect(bench.ask("EXPIRE b -1", on: link) == ":1")
    #expect(bench.ask("EXISTS b", on: link) == ":0")
    #expect(bench.ask("EXPIRE b 9223372036854775807", on: link).hasPrefix("-ERR invalid expire"))
  }

  @Test func aFailureInExecUndoesAll() {
    expectScript(
      """
      SET a x > +OK
      MULTI > +OK
      SET b 1 > +QUEUED
      INCR a > +QUEUED
      DEL a > +QUEUED
      EXEC > -EXECABORT Transaction discarded because of: ERR value is not an integer or out of range
      MGET a b > *2;$1;x;$-1
      CLIENT TXMODE redis > +OK
      MULTI > +OK
      SET b 1 > +QUEUED
      INCR a > +QUEUED
      EXEC > *2;+OK;-ERR value is not an integer or out of range
      GET b > $1;1
      CLIENT TXMODE atomic > +OK
      MULTI > +OK
      nonsense > -ERR unknown command 'nonsense', with args beginning with:
      EXEC > -EXECABORT Transaction discarded because of previous errors.
      EXEC > -ERR EXEC without MULTI
      MULTI > +OK
      MULTI > -ERR MULTI calls can not be nested
      DISCARD > +OK
      DISCARD > -ERR DISCARD without MULTI
      MULTI > +OK
      SET c 1 > +QUEUED
      CHECK c EQ 1 > +QUEUED
      INCR c > +QUEUED
      EXEC > *3;+OK;+OK;:2
      MULTI > +OK
      SET c 8 > +QUEUED
      CHECK c ABSENT > +QUEUED
      EXEC > -EXECABORT Transaction discarded because of: CONDITION check of the key does not hold (not-applied)
      MULTI > +OK
      CHECK c ABSENT > +QUEUED
      SET c 9 > +QUEUED
      EXEC > -EXECABORT Transaction discarded because of: CONDITION check of the key does not hold (not-applied)
      GET c > $1;2
      """)
  }

  @Test func execFailsWhenAWatchedKeyChanged() {
    var bench = NodeBench()
    let one = bench.connect()
    let two = bench.connect()
    #expect(bench.ask("WATCH a b", on: one) == "+OK")
    #expect(bench.ask("SET b 1", on: two) == "+OK")
    #expect(bench.ask("MULTI", on: one) == "+OK")
    #expect(bench.ask("SET a 1", on: one) == "+QUEUED")
    #expect(bench.ask("EXEC", on: one) == "*-1")
    #expect(bench.ask("WATCH a b", on: one) == "+OK")
    #expect(bench.ask("MULTI", on: one) == "+OK")
    #expect(bench.ask("SET a 1", on: one) == "+QUEUED")
    #expect(bench.ask("EXEC", on: one) == "*1;+OK")
  }

  @Test func ourOwnCommandsSayWhatTheyDo() {
    var bench = NodeBench()
    let link = bench.connect()
    #expect(bench.ask("UPDATE a 1", on: link) == "-NOTFOUND key does not exist (not-applied)")
    #expect(bench.ask("CAS a 5 1", on: link) == "$-1")
    let version = bench.ask("CAS a 0 1", on: link)
    #expect(version.hasPrefix(":17"))
    #expect(bench.ask("GETV a", on: link) == "*2;$1;1;" + version)
    #expect(bench.ask("CAS a 0 2", on: link) == "$-1")
    let next = bench.ask("CAS a \(version.dropFirst()) 2", on: link)
    #expect(next.hasPrefix(":17") && next != version)
    #expect(bench.ask("UPDATE a 3", on: link) == "+OK")
    #expect(bench.ask("GETV x", on: link) == "*-1")
  }
}

@Suite struct ExactlyOnceTests {
  private let id = OperationID(unixMillis: 1_700_000_000_000, random: 1, 2)

  @Test func anIdIsExecutedOnce() {
    var bench = NodeBench()
    let link = bench.connect()
    #expect(bench.ask("OUTCOME \(id)", on: link) == "$10;never-seen")
    #expect(bench.ask("ONCE \(id) INCR n", on: link) == ":1")
    #expect(bench.ask("ONCE \(id) INCR n", on: link) == ":1")
    #expect(bench.ask("GET n", on: link) == "$1;1")
    #expect(bench.ask("OUTCOME \(id)", on: link) == "$9;committed")
    #expect(bench.request("INCR n\r\n", id: id) == ":1;")
    let other = OperationID(unixMillis: 1_700_000_000_000, random: 3, 4)
    #expect(bench.request("INCR n\r\n", id: other) == ":2;")
    #expect(bench.request("INCR n\r\n", id: other) == ":2;")
    #expect(bench.ask("GET n", on: link) == "$1;2")
  }

  @Test func aTransactionWhoseWatchFailedIsNotSaidToBeCommitted() {
    var bench = NodeBench()
    let link = bench.connect()
    bench.put("WATCH w\r\nSET w 1\r\nMULTI\r\nSET w 2\r\nONCE \(id) EXEC\r\n", on: link)
    #expect(bench.take(link) == "+OK;+OK;+OK;+QUEUED;*-1;")
    #expect(bench.ask("OUTCOME \(id)", on: link) == "$7;aborted")
    bench.put("MULTI\r\nSET w 2\r\nONCE \(id) EXEC\r\n", on: link)
    #expect(bench.take(link) == "+OK;+QUEUED;*-1;")
    #expect(bench.ask("GET w", on: link) == "$1;1")
  }

  @Test func aSealedIdIsNeverExecuted() {
    var bench = NodeBench()
    let link = bench.connect()
    #expect(bench.ask("OUTCOME \(id) SEAL", on: link) == "$7;aborted")
    #expect(bench.ask("ONCE \(id) INCR n", on: link).hasPrefix("-ABORTED"))
    #expect(bench.ask("GET n", on: link) == "$-1")
  }

  @Test func idsFromTheFutureAndThePastAreRefused() {
    var bench = NodeBench()
    let link = bench.connect()
    let future = OperationID(unixMillis: 1_700_000_070_000, random: 1, 2)
    let past = OperationID(unixMillis: 1_600_000_000_000, random: 1, 2)
    #expect(bench.ask("ONCE \(future) INCR n", on: link).hasPrefix("-IDFUTURE"))
    #expect(bench.ask("ONCE \(past) INCR n", on: link).hasPrefix("-IDEXPIRED"))
    #expect(bench.ask("OUTCOME \(past)", on: link) == "$7;expired")
    #expect(bench.ask("ONCE zz INCR n", on: link).hasPrefix("-ERR an operation id"))
  }

  @Test func aWholeTransactionIsExecutedOnce() {
    var bench = NodeBench()
    let link = bench.connect()
    for _ in 0..<2 {
      #expect(bench.ask("MULTI", on: link) == "+OK")
      #expect(bench.ask("INCR a", on: link) == "+QUEUED")
      #expect(bench.ask("INCR b", on: link) == "+QUEUED")
      #expect(bench.ask("ONCE \(id) EXEC", on: link) == "*2;:1;:1")
    }
    #expect(bench.ask("MGET a b", on: link) == "*2;$1;1;$1;1")
    let other = OperationID(unixMillis: 1_700_000_000_001, random: 1, 2)
    for _ in 0..<2 {
      let message = "MULTI\r\nINCR a\r\nINCR b\r\nEXEC\r\n"
      #expect(bench.request(message, id: other) == "+OK;+QUEUED;+QUEUED;*2;:2;:2;")
    }
  }
}

@Suite struct ProtocolTests {
  @Test func helloNegotiates() {
    var bench = NodeBench()
    let link = bench.connect()
    let map = bench.ask("HELLO 3", on: link)
    #expect(map.hasPrefix("%7;$6;server;$5;redis;"))
    #expect(bench.ask("GET x", on: link) == "_")
    #expect(bench.ask("HELLO 4", on: link) == "-NOPROTO unsupported protocol version")
    #expect(bench.ask("HELLO 2 SETNAME me", on: link).hasPrefix("*14;"))
    #expect(bench.ask("CLIENT GETNAME", on: link) == "$2;me")
    #expect(bench.ask("RESET", on: link) == "+RESET")
    #expect(bench.ask("CLIENT GETNAME", on: link) == "$-1")
  }

  @Test func repliesCanBeTurnedOff() {
    var bench = NodeBench()
    let link = bench.connect()
    #expect(bench.ask("CLIENT REPLY SKIP", on: link) == "")
    #expect(bench.ask("PING", on: link) == "")
    #expect(bench.ask("PING", on: link) == "+PONG")
    #expect(bench.ask("CLIENT REPLY OFF", on: link) == "")
    #expect(bench.ask("PING", on: link) == "")
    #expect(bench.ask("CLIENT REPLY ON", on: link) == "+OK")
  }

  @Test func quitAndProtocolErrorsCloseAfterTheAnswer() {
    var bench = NodeBench()
    let link = bench.connect()
    bench.put("PING\r\nQUIT\r\nPING\r\n", on: link)
    #expect(bench.take(link) == "+PONG;+OK;")
    let closed = bench.host.link.closed
    #expect(closed == [link])
    let other = bench.connect()
    bench.put("PING\r\n*1\r\nx", on: other)
    #expect(bench.take(other) == "+PONG;-ERR Protocol error: expected '$', got 'x';")
    let closedThen = bench.host.link.closed
    #expect(closedThen.contains(other))
    let web = bench.connect()
    bench.put("GET /index HTTP/1.1\r\nHost: x\r\n\r\n", on: web)
    #expect(bench.take(web).hasPrefix("HTTP/1.1 426 Upgrade Required"))
    let post = bench.connect()
    bench.put("POST / \r\n", on: post)
    #expect(bench.take(post) == "")
    let closedLast = bench.host.link.closed
    #expect(closedLast.contains(post))
  }

  @Test func overUDPThereIsNoStateBetweenMessages() {
    var bench = NodeBench()
    #expect(bench.request("*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n1\r\nGET a\r\n") == "+OK;$1;1;")
    #expect(
      bench.request("MULTI\r\nINCR a\r\n").hasSuffix("-ERR MULTI without EXEC in one message;"))
    #expect(bench.request("GET a\r\n") == "$1;1;")
    #expect(bench.request("HELLO 3\r\n").hasPrefix("-ERR 'hello' needs a connection"))
    #expect(bench.request("*2\r\n$3\r\nGET\r\n").hasPrefix("-ERR Protocol error: a UDP message"))
    #expect(bench.request("GET a", plain: true) == "$1;1;")
    let far = Endpoint(ipv4: 0x0A00_0001, port: 1)
    #expect(bench.request("GET a\r\n", plain: true, from: far) == "")
  }
}

@Suite struct GateTests {
  @Test func noReplyLeavesBeforeWhatItTellsIsDurable() {
    var bench = NodeBench()
    let writer = bench.connect()
    let reader = bench.connect()
    #expect(bench.ask("SET old 1", on: writer) == "+OK")
    bench.host.disk.isHeld = true
    bench.put("GET old\r\nSET a 1\r\nGET old\r\n", on: writer)
    #expect(bench.take(writer) == "$1;1;")
    #expect(bench.ask("GET a", on: reader) == "")
    #expect(bench.ask("PING", on: reader) == "")
    let third = bench.connect()
    #expect(bench.ask("GET old", on: third) == "$1;1")
    #expect(bench.ask("DEL old", on: third) == "")
    let fourth = bench.connect()
    #expect(bench.ask("GET old", on: fourth) == "")
    let fifth = bench.connect()
    #expect(bench.ask("SETNX a 2", on: fifth) == "")
    bench.host.disk.isHeld = false
    bench.run()
    #expect(bench.take(writer) == "+OK;$1;1;")
    #expect(bench.take(reader) == "$1;1;+PONG;")
    #expect(bench.take(third) == ":1;")
    #expect(bench.take(fourth) == "$-1;")
    #expect(bench.take(fifth) == ":0;")
  }

  @Test func aConnectionOwesNothingOnceWhatItWaitedForIsDurable() {
    var bench = NodeBench()
    let link = bench.connect()
    bench.host.disk.isHeld = true
    #expect(bench.ask("SET a 1", on: link) == "")
    // Further batches that wait for the same force join the first one's run at the gate.
    #expect(bench.ask("PING", on: link) == "")
    #expect(bench.ask("GET b", on: link) == "")
    bench.host.disk.isHeld = false
    bench.run()
    #expect(bench.take(link) == "+OK;+PONG;$-1;")
    bench.host.disk.isHeld = true
    #expect(bench.ask("PING", on: link) == "+PONG")
    #expect(bench.ask("QUIT", on: link) == "+OK")
    let closed = bench.host.link.closed
    #expect(closed == [link])
  }

  @Test func oneTurnsChangesAreOneGroup() {
    var bench = NodeBench()
    let links = (0..<10).map { _ in bench.connect() }
    let before = bench.host.disk.groupCount
    for link in links { bench.host.link.events.append((.received(link), Array("INCR n\r\n".utf8))) }
    bench.run()
    let after = bench.host.disk.groupCount
    #expect(after == before + 1)
    #expect(bench.take(links[9]) == ":10;")
  }

  @Test func aLongPipelineIsSharedOutOverTurns() {
    var bench = NodeBench()
    let link = bench.connect()
    bench.put(String(repeating: "PING\r\n", count: 3_500), on: link)
    let reply = bench.take(link)
    #expect(reply.split(separator: ";").count == 3_500)
  }

  @Test func stoppingAnswersWhatWasAcknowledged() {
    var bench = NodeBench()
    let link = bench.connect()
    bench.host.disk.isHeld = true
    bench.put("SET a 1\r\n", on: link)
    bench.host.requestStop()
    bench.run()
    #expect(bench.take(link) == "")
    bench.host.disk.isHeld = false
    bench.run()
    #expect(bench.take(link) == "+OK;")
    guard case .stopped(.requested) = bench.host.turn() else {
      Issue.record("the host has not stopped")
      return
    }
    let isListening = bench.host.link.isListening
    #expect(!isListening)
  }

  @Test func everySecondIsForcedAlsoWhenNobodyComes() {
    var options = NodeOptions()
    options.durability = .everySecond
    var bench = NodeBench(options: options)
    let link = bench.connect()
    bench.advance(millis: 5_000)
    #expect(bench.ask("SET a 1", on: link) == "+OK")
    bench.advance(millis: 20)
    #expect(bench.ask("SET a 2", on: link) == "+OK")
    bench.advance(millis: 20)
    let before = bench.host.disk.forceCount
    let deadline = bench.host.link.lastDeadline
    let now = bench.host.link.moment.instant
    #expect(deadline <= now + .seconds(1))
    bench.advance(millis: 1_000)
    let after = bench.host.disk.forceCount
    #expect(after == before + 1)
    bench.advance(millis: 5_000)
    let atLast = bench.host.disk.forceCount
    #expect(atLast == after)
  }
}
