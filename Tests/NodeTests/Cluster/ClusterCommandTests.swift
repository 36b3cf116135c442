import Base
import NetKit
import Store
import TPC
import Testing

@testable import Node

/// Commands on a cluster, any member answering.
@Suite struct ClusterCommandTests {
  @Test func aWriteIsSeenEverywhere() {
    let cluster = ClusterBench()
    let links = (1...3).map { cluster.connect($0) }
    #expect(cluster.ask(1, links[0], "SET a 1") == "+OK")
    for number in 1...3 { #expect(cluster.ask(number, links[number - 1], "GET a") == "$1;1") }
    #expect(cluster.ask(2, links[1], "INCR a") == ":2")
    #expect(cluster.ask(3, links[2], "INCRBY a 5") == ":7")
    for number in 1...3 { #expect(cluster.ask(number, links[number - 1], "GET a") == "$1;7") }
    #expect(cluster.ask(3, links[2], "DEL a") == ":1")
    for number in 1...3 { #expect(cluster.ask(number, links[number - 1], "GET a") == "$-1") }
  }

  @Test func whatChangesNothingCostsNoMessage() {
    let cluster = ClusterBench()
    let link = cluster.connect(1)
    #expect(cluster.ask(1, link, "SET a 1") == "+OK")
    cluster.advance(millis: 100)
    let before = cluster.messageCount
    #expect(cluster.ask(1, link, "SETNX a 2") == ":0")
    #expect(cluster.ask(1, link, "UPDATE b 2") == "-NOTFOUND key does not exist (not-applied)")
    #expect(cluster.ask(1, link, "DEL b c") == ":0")
    #expect(cluster.ask(1, link, "INCRBY a x").hasPrefix("-ERR value is not an integer"))
    #expect(cluster.messageCount == before)
  }

  @Test func aPipelineIsAnsweredInOrder() {
    let cluster = ClusterBench()
    let link = cluster.connect(2)
    cluster.put(
      2, link, "SET a 1\r\nGET a\r\nINCR a\r\nGET b\r\nNONSENSE\r\nPING\r\nSET b 2\r\nGET b\r\n")
    #expect(
      cluster.take(2, link)
        == "+OK;$1;1;:2;$-1;-ERR unknown command 'NONSENSE', with args beginning with: ;+PONG;"
        + "+OK;$1;2")
  }

  @Test func aTransactionIsAllOrNothing() {
    let cluster = ClusterBench()
    let link = cluster.connect(1)
    let other = cluster.connect(3)
    cluster.put(1, link, "MULTI\r\nSET a 1\r\nSET b 2\r\nGET a\r\nEXEC\r\n")
    #expect(cluster.take(1, link) == "+OK;+QUEUED;+QUEUED;+QUEUED;*3;+OK;+OK;$1;1")
    #expect(cluster.ask(3, other, "MGET a b") == "*2;$1;1;$1;2")
    cluster.put(1, link, "MULTI\r\nSET a 5\r\nUPDATE c 2\r\nEXEC\r\n")
    #expect(cluster.take(1, link).contains("-EXECABORT"))
    #expect(cluster.ask(3, other, "MGET a b c") == "*3;$1;1;$1;2;$-1")
  }

  @Test func aWatchedKeyThatAnotherMemberChangedEndsTheTransaction() {
    let cluster = ClusterBench()
    let link = cluster.connect(1)
    let other = cluster.connect(2)
    #expect(cluster.ask(1, link, "SET a 1") == "+OK")
    #expect(cluster.ask(1, link, "WATCH a") == "+OK")
    #expect(cluster.ask(2, other, "SET a 2") == "+OK")
    cluster.put(1, link, "MULTI\r\nSET a 3\r\nEXEC\r\n")
    #expect(cluster.take(1, link) == "+OK;+QUEUED;*-1")
    #expect(cluster.ask(1, link, "GET a") == "$1;2")
  }

  @Test func manyClientsIncrementOneKeyInOneRound() {
    let cluster = ClusterBench()
    let links = (0..<20).map { _ in cluster.connect(1) }
    for link in links {
      cluster[1].bench.host.link.events.append((.received(link), Array("INCR n\r\n".utf8)))
    }
    cluster.run()
    let replies = Set(links.map { cluster.take(1, $0) })
    #expect(replies == Set((1...20).map { ":\($0)" }))
    #expect(cluster[1].bench.host.node.cluster!.pointee.counters.rounds == 1)
  }

  @Test func twoMembersIncrementOneKeyAtOnce() {
    let cluster = ClusterBench()
    let links = (1...3).map { cluster.connect($0) }
    var total = 0
    for _ in 0..<10 {
      for number in 1...3 {
        cluster[number].bench.host.link.events.append(
          (.received(links[number - 1]), Array("INCR n\r\n".utf8)))
      }
      total += 3
      for _ in 0..<400 where !links.indices.allSatisfy({ cluster[$0 + 1].bench.host.isClusterIdle })
      {
        cluster.advance(millis: 5)
      }
      cluster.advance(millis: 5)
    }
    for number in 1...3 {
      #expect(cluster.ask(number, links[number - 1], "GET n").hasSuffix(";\(total)"))
    }
  }

  @Test(arguments: ["zz", "1", "1.x", "1.2.3", ".", "0.1", "65.1", "-1.1", "+1.2", "1.02"])
  func aTraceIsOfATransaction(name: String) {
    let cluster = ClusterBench()
    let link = cluster.connect(1)
    #expect(cluster.ask(1, link, "TRACE \(name)").hasPrefix("-ERR a transaction is"))
    #expect(cluster.ask(1, link, "TRACE 1.999") == "*0")
    #expect(cluster.ask(1, link, "TRACE 1.1 1.2").hasPrefix("-ERR syntax"))
  }

  @Test func anIdIsExecutedOnceWhicheverMemberGetsIt() {
    let cluster = ClusterBench()
    let links = (1...3).map { cluster.connect($0) }
    let id = OperationID(unixMillis: 1_700_000_000_000, random: 1, 2)
    #expect(cluster.ask(1, links[0], "OUTCOME \(id)") == "$10;never-seen")
    for number in 1...3 {
      #expect(cluster.ask(number, links[number - 1], "ONCE \(id) INCR n") == ":1")
    }
    #expect(cluster.ask(2, links[1], "OUTCOME \(id)") == "$9;committed")
    #expect(cluster.ask(3, links[2], "GET n") == "$1;1")
    let sealed = OperationID(unixMillis: 1_700_000_000_000, random: 3, 4)
    #expect(cluster.ask(1, links[0], "OUTCOME \(sealed) SEAL") == "$7;aborted")
    #expect(cluster.ask(3, links[2], "ONCE \(sealed) INCR n").hasPrefix("-ABORTED"))
  }

  @Test func flushallEmptiesEveryMember() {
    let cluster = ClusterBench()
    let links = (1...3).map { cluster.connect($0) }
    for key in 0..<20 { #expect(cluster.ask(1, links[0], "SET k\(key) v") == "+OK") }
    #expect(cluster.ask(2, links[1], "FLUSHALL") == "+OK")
    for number in 1...3 { #expect(cluster.ask(number, links[number - 1], "DBSIZE") == ":0") }
  }

  @Test func aRequestOverUDPIsOneUnit() {
    let cluster = ClusterBench()
    let id = OperationID(unixMillis: 1_700_000_000_000, random: 5, 6)
    cluster[2].bench.host.link.events.append(
      (
        .request(
          LinkID(slot: 2_000, generation: 1), Endpoint(ipv4: 0x7F00_0001, port: 6_000), id: id,
          plain: false), Array("GET a\r\nSET a 1\r\nGET a\r\n".utf8)
      ))
    cluster.run()
    #expect(cluster.take(2, LinkID(slot: 2_000, generation: 1)) == "$-1;+OK;$1;1")
  }

  @Test func oneIdAtTwoMembersAtOnceIsExecutedOnce() {
    let cluster = ClusterBench()
    let links = (1...3).map { cluster.connect($0) }
    let id = OperationID(unixMillis: 1_700_000_000_000, random: 1, 2)
    for number in 1...3 {
      cluster[number].bench.host.link.events.append(
        (.received(links[number - 1]), Array("ONCE \(id) INCR n\r\n".utf8)))
    }
    cluster.settle()
    for number in 1...3 { #expect(cluster.take(number, links[number - 1]) == ":1") }
    #expect(cluster.ask(3, links[2], "GET n") == "$1;1")
  }

  @Test func aDuplicateDoesNotHarmTheOthersOfItsRound() {
    let cluster = ClusterBench()
    let id = OperationID(unixMillis: 1_700_000_000_000, random: 1, 2)
    let first = cluster.connect(1)
    let links = (0..<3).map { _ in cluster.connect(2) }
    // Member 2 has not heard of the decision when the copy reaches it.
    cluster[1].bench.host.link.events.append(
      (.received(first), Array("ONCE \(id) INCR n\r\n".utf8)))
    for (index, command) in ["SET a 1", "ONCE \(id) INCR n", "SET b 2"].enumerated() {
      cluster[2].bench.host.link.events.append(
        (.received(links[index]), Array((command + "\r\n").utf8)))
    }
    cluster.settle()
    #expect(cluster.take(1, first) == ":1")
    #expect(links.map { cluster.take(2, $0) } == ["+OK", ":1", "+OK"])
    #expect(cluster.ask(1, first, "MGET a b n") == "*3;$1;1;$1;2;$1;1")
  }

  @Test func whatNotAllPrepareIsAborted() {
    let cluster = ClusterBench()
    let writer = cluster.connect(1)
    let other = cluster.connect(1)
    #expect(cluster.ask(1, writer, "SET a old") == "+OK")
    cluster[3].isCut = true
    cluster.put(1, writer, "SET a new\r\n")
    cluster.put(1, other, "GET a\r\nPING\r\n")
    cluster.advance(millis: 4_000)
    #expect(cluster.take(1, writer) == "")
    #expect(cluster.take(1, other) == "")
    cluster.advance(millis: 1_100)
    let told = cluster.take(1, writer)
    #expect(told.hasPrefix("-ABORTED") && told.hasSuffix("(not-applied)"), "\(told)")
    #expect(cluster.take(1, other) == "$3;old;+PONG")
    cluster[3].isCut = false
    cluster.advance(millis: 3_000)
    #expect(cluster.ask(3, cluster.connect(3), "GET a") == "$3;old")
  }

  @Test func aKeyInDoubtIsNotWaitedForForEver() {
    let cluster = ClusterBench()
    let writer = cluster.connect(1)
    let reader = cluster.connect(2)
    #expect(cluster.ask(1, writer, "SET a old") == "+OK")
    // Member 2 prepares, and hears no more of the coordinator.
    cluster[1].bench.put("SET a new\r\n", on: writer)
    cluster.sayOnly(1)
    cluster[2].bench.run()
    cluster[1].isCut = true
    cluster.put(2, reader, "GET a\r\nPING\r\n")
    for _ in 0..<49 { cluster.advance(millis: 100) }
    #expect(cluster.take(2, reader) == "")
    for _ in 0..<2 { cluster.advance(millis: 100) }
    let told = cluster.take(2, reader)
    #expect(told.hasPrefix("-BUSY") && told.hasSuffix("(not-applied);+PONG"), "\(told)")
    cluster[1].isCut = false
    cluster.settle()
    for _ in 0..<30 { cluster.advance(millis: 100) }
    let here = cluster.ask(2, reader, "GET a")
    #expect(here == cluster.ask(1, cluster.connect(1), "GET a"))
    #expect(cluster[2].bench.host.node.cluster!.pointee.negotiator.inDoubt.isEmpty)
  }

  @Test func whatNoMessageCarriesIsRefused() {
    let cluster = ClusterBench()
    let link = cluster.connect(1)
    let large = String(repeating: "v", count: 60_000)
    cluster[1].bench.host.link.peerLimit = 50_000
    let reply = cluster.ask(1, link, "SET a \(large)")
    #expect(
      reply == "-ERR transaction exceeds its bound of 48976 bytes between members (not-applied)")
    #expect(cluster.ask(1, link, "SET a 1") == "+OK")
  }

  @Test func flushallGetsItsTurnUnderLoad() {
    let cluster = ClusterBench()
    let writers = (0..<4).map { _ in cluster.connect(1) }
    let flusher = cluster.connect(2)
    for (index, writer) in writers.enumerated() {
      cluster[1].bench.host.link.events.append(
        (.received(writer), Array("SET k\(index) v\r\n".utf8)))
    }
    cluster[2].bench.host.link.events.append((.received(flusher), Array("FLUSHALL\r\n".utf8)))
    cluster.settle()
    #expect(cluster.take(2, flusher) == "+OK")
    for writer in writers { #expect(cluster.take(1, writer) == "+OK") }
    let counts = Set((1...3).map { cluster.ask($0, cluster.connect($0), "DBSIZE") })
    #expect(counts.count == 1)
  }

  @Test func anExpiredKeyIsAbsentEverywhere() {
    let cluster = ClusterBench()
    let links = (1...3).map { cluster.connect($0) }
    #expect(cluster.ask(1, links[0], "SET a 1 PX 100") == "+OK")
    // The clock of member 2 is ahead: there the key has expired first.
    cluster[2].bench.advance(millis: 200)
    #expect(cluster.ask(2, links[1], "SET a 2 NX") == "+OK")
    for number in 1...3 { #expect(cluster.ask(number, links[number - 1], "GET a") == "$1;2") }
    #expect(cluster.ask(3, links[2], "SET b 1 PX 100") == "+OK")
    cluster[3].bench.advance(millis: 500)
    // Member 1 still sees it, appends, is refused by those who don't, and then sees it as they do.
    cluster.put(1, links[0], "APPEND b 2\r\n")
    cluster.settle()
    #expect(cluster.take(1, links[0]) == ":1")
    for number in 1...3 { #expect(cluster.ask(number, links[number - 1], "GET b") == "$1;2") }
  }

  @Test func aReadWaitsForTheDecisionOfWhatIsPrepared() {
    let cluster = ClusterBench()
    let writer = cluster.connect(1)
    let reader = cluster.connect(2)
    #expect(cluster.ask(1, writer, "SET a old") == "+OK")
    // The decision does not reach member 2.
    cluster[1].bench.put("SET a new\r\n", on: writer)
    cluster.sayOnly(1)
    cluster[2].bench.run()
    cluster[2].bench.put("GET a\r\n", on: reader)
    #expect(cluster.take(2, reader) == "")
    cluster.run()
    #expect(cluster.take(2, reader) == "$3;new")
    #expect(cluster.take(1, writer) == "+OK")
  }
}
