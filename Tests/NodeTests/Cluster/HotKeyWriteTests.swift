import Base
import NetKit
import TPC
import Testing

@testable import Node

/// One key that clients of several members want all the time: it is never free between two turns.
@Suite struct HotKeyWriteTests {
  /// Clients that send a command again as soon as the last one is answered, and messages that take
  /// 100 us, as does a turn.
  private final class World {
    final class Client {
      let member: Int
      let link: LinkID
      let command: String
      let lineCount: Int
      var replies = ""
      var answerCount = 0
      var longestWait = 0
      var waited = 0

      init(_ member: Int, _ link: LinkID, _ command: String, lineCount: Int) {
        self.member = member
        self.link = link
        self.command = command
        self.lineCount = lineCount
      }
    }

    let cluster = ClusterBench(options: Cluster.negotiatorOptions)
    private(set) var clients: [Client] = []
    private var messages: [(to: MemberID, from: MemberID, bytes: [UInt8])] = []

    init() {
      let link = cluster.connect(1)
      _ = cluster.ask(1, link, "MSET k 1 other 1")
    }

    /// `lineCount`: how many lines a reply has.
    func add(_ count: Int, at member: Int, _ command: String, lineCount: Int = 1) {
      for _ in 0..<count {
        clients.append(
          Client(member, cluster.connect(member), command + "\r\n", lineCount: lineCount))
        send(clients[clients.count - 1])
      }
    }

    private func send(_ client: Client) {
      cluster[client.member].bench.host.link.events.append(
        (.received(client.link), Array(client.command.utf8)))
    }

    func step() {
      let arrived = messages
      messages = []
      for (to, from, bytes) in arrived {
        bytes.withUnsafeBytes {
          cluster[Int(to.number)].bench.host.node.receive($0, from: from)
        }
      }
      for member in cluster.members {
        member.bench.host.link.moment.instant = member.bench.host.link.moment.instant + .micros(100)
        member.bench.host.link.moment.wallNanos += 100_000
        _ = member.bench.host.turn()
        while let (to, message) = member.bench.host.nextMessage() {
          messages.append((to, member.id, message))
        }
      }
      for client in clients {
        client.waited += 1
        client.replies += cluster[client.member].bench.take(client.link)
        guard client.replies.count(where: { $0 == ";" }) >= client.lineCount else { continue }
        #expect(!client.replies.hasPrefix("-"), "\(client.replies)")
        client.longestWait = max(client.longestWait, client.waited)
        client.answerCount += 1
        client.replies = ""
        client.waited = 0
        send(client)
      }
    }

    func answerCount(at member: Int) -> Int {
      clients.filter { $0.member == member }.reduce(0) { $0 + $1.answerCount }
    }

    /// As when a key is unlocked.
    func tryBlocked(at member: Int) {
      cluster[member].bench.host.node.cluster!.pointee.mayUnblock = true
      cluster.run()
    }

    var reservationCount: Int {
      cluster.members.reduce(0) {
        $0 + $1.bench.host.node.cluster!.pointee.negotiator.reservationCount
      }
    }
  }

  /// A command that waits takes a place in line after 10 ms, which is 100 steps, and a turn that
  /// goes to another member costs an attempt.
  private static let longestWait = 350

  @Test func `Rule 5: writes of one key through two members take turns`() {
    let world = World()
    world.add(4, at: 1, "INCR k")
    world.add(4, at: 2, "INCR k")
    for _ in 0..<10_000 { world.step() }
    let (one, two) = (world.answerCount(at: 1), world.answerCount(at: 2))
    #expect(min(one, two) * 2 > max(one, two))
    for client in world.clients { #expect(client.longestWait < Self.longestWait) }
  }

  @Test(arguments: [
    ("MGET k other", 5), ("MSET k 1 other 2", 1), ("SET other 1\r\nMSET k 1 other 2", 2),
    ("MULTI\r\nGET k\r\nINCR other\r\nEXEC", 7), ("WATCH k other", 1), ("FLUSHALL", 1),
  ])
  func `Rule 5: what needs several keys comes in between`(command: String, lineCount: Int) {
    let world = World()
    world.add(4, at: 1, "INCR k")
    world.add(4, at: 2, "INCR other")
    world.add(1, at: 3, command, lineCount: lineCount)
    for _ in 0..<4_000 { world.step() }
    for client in world.clients {
      #expect(client.answerCount > 0)
      #expect(client.longestWait < Self.longestWait)
    }
  }

  /// `k` is held by a transaction of member 1 that does not get on.
  private func held() -> World {
    let world = World()
    world.cluster.drops = { _, to in to == 1 }
    world.cluster.put(1, world.cluster.connect(1), "SET k b\r\n")
    return world
  }

  @Test func `A place is taken after a while, and by one of those who wait for a key`() {
    let world = held()
    let cluster = world.cluster
    let links = (0..<3).map { _ in cluster.connect(2) }
    cluster.put(2, links[0], "MSET k c other c\r\n")
    cluster.put(2, links[1], "SET k d\r\n")
    #expect(world.reservationCount == 0)
    cluster.advance(millis: 10)
    world.tryBlocked(at: 2)
    #expect(world.reservationCount == 1)
    // The younger one comes behind it; what holds up neither does not.
    #expect(cluster.ask(2, cluster.connect(2), "GET other") == "$1;1")
    cluster.put(2, links[2], "SET other e\r\n")
    #expect(cluster.take(2, links[2]) == "")
    // Who goes away leaves its place to the next.
    cluster[2].bench.host.link.events.append((.closed(links[0], .closed), []))
    cluster.run()
    #expect(world.reservationCount == 1)
    cluster.drops = { _, _ in false }
    cluster.settle()
    #expect(cluster.take(2, links[1]) == "+OK" && cluster.take(2, links[2]) == "+OK")
    #expect(world.reservationCount == 0)
  }

  @Test func `A place is given back by who gives up`() {
    let world = held()
    let cluster = world.cluster
    let link = cluster.connect(2)
    cluster.put(2, link, "FLUSHALL\r\n")
    #expect(world.reservationCount == 1)
    for _ in 0..<51 { cluster.advance(millis: 100) }
    #expect(cluster.take(2, link).hasPrefix("-BUSY"))
    #expect(world.reservationCount == 0)
    cluster.drops = { _, _ in false }
    cluster.settle()
  }

  @Test func `A client that does not read its replies keeps no place`() {
    let world = held()
    let cluster = world.cluster
    let link = cluster.connect(2)
    cluster.put(2, link, "FLUSHALL\r\n")
    #expect(world.reservationCount == 1)
    let session = cluster[2].bench.host.node.sessions[link]!
    session.pointee.stall = .none
    cluster[2].bench.host.node.becomeReady(session)
    session.pointee.stall = .output
    cluster.run()
    #expect(world.reservationCount == 0)
    session.pointee.stall = .none
    cluster[2].bench.host.node.becomeReady(session)
    cluster.run()
    #expect(world.reservationCount == 1)
    cluster.drops = { _, _ in false }
    cluster.settle()
    #expect(cluster.take(2, link) == "+OK" && world.reservationCount == 0)
  }

  @Test func `A read of several keys comes in between changes of all keys`() {
    let world = World()
    world.add(4, at: 1, "FLUSHALL")
    world.add(1, at: 2, "MGET a b", lineCount: 3)
    for _ in 0..<4_000 { world.step() }
    for client in world.clients {
      #expect(client.answerCount > 0)
      #expect(client.longestWait < Self.longestWait)
    }
  }

  @Test func `Reads of the same keys need one place`() {
    let world = held()
    let cluster = world.cluster
    let links = (0..<3).map { _ in cluster.connect(2) }
    for link in links { cluster.put(2, link, "MGET k other\r\n") }
    cluster.advance(millis: 10)
    world.tryBlocked(at: 2)
    #expect(world.reservationCount == 1)
    cluster[2].bench.host.link.events.append((.closed(links[0], .closed), []))
    cluster.run()
    #expect(world.reservationCount == 1)
    cluster.drops = { _, _ in false }
    cluster.settle()
    #expect(cluster.take(2, links[1]) == "*2;$1;b;$1;1" && world.reservationCount == 0)
  }

  @Test func `A message over UDP has a place though its first command found its key free`() {
    let world = held()
    let cluster = world.cluster
    let link = LinkID(slot: 5_000, generation: 1)
    cluster[2].bench.host.link.events.append(
      (
        .request(link, Endpoint(ipv4: 0x7F00_0001, port: 6_000), id: .none, plain: false),
        Array("SET a 1\r\nSET k 2\r\n".utf8)
      ))
    cluster.run()
    cluster.advance(millis: 10)
    world.tryBlocked(at: 2)
    #expect(world.reservationCount == 1)
    cluster.drops = { _, _ in false }
    cluster.settle()
    #expect(cluster[2].bench.take(link) == "+OK;+OK;" && world.reservationCount == 0)
  }

  @Test func `The place of a proposal goes with the guest`() throws {
    let world = held()
    let cluster = world.cluster
    let guest = try MemberList("4=127.0.0.1:7004").entries[0]
    let pointer = cluster[2].bench.host.node.cluster!
    #expect(cluster[2].bench.host.node.proposeChange(.add(guest), pointer) == .busy)
    #expect(cluster[2].bench.host.node.proposeChange(.add(guest), pointer) == .busy)
    #expect(world.reservationCount == 1)
    cluster[2].bench.host.node.guestUnreachable()
    #expect(world.reservationCount == 0)
    cluster.drops = { _, _ in false }
    cluster.settle()
  }

  /// It passes a younger transaction that waits here, so it must not be the younger one itself.
  @Test func `A seal that waited begins under the age at which it began to wait`() {
    let cluster = ClusterBench()
    let (one, two, three) = (cluster.connect(1), cluster.connect(2), cluster.connect(3))
    let writer = cluster.connect(2)
    let id = cluster.id
    func say(_ number: Int, to receivers: [Int]) -> [(to: MemberID, bytes: [UInt8])] {
      var kept: [(to: MemberID, bytes: [UInt8])] = []
      cluster[number].bench.run()
      while let (to, bytes) = cluster[number].bench.host.nextMessage() {
        if receivers.contains(Int(to.number)) {
          hear(bytes, at: Int(to.number), from: number)
        } else {
          kept.append((to, bytes))
        }
      }
      return kept
    }
    func hear(_ bytes: [UInt8], at receiver: Int, from sender: Int) {
      bytes.withUnsafeBytes {
        cluster[receiver].bench.host.node.receive($0, from: MemberID(UInt16(sender)))
      }
    }
    #expect(cluster.ask(1, one, "SET a 1") == "+OK")
    cluster[1].bench.put("FLUSHALL\r\n", on: one)
    _ = say(1, to: [2, 3])
    cluster[2].bench.run()
    cluster[2].bench.put("OUTCOME \(id) SEAL\r\n", on: two)
    #expect(cluster[2].bench.take(two) == "")
    _ = say(2, to: [1])
    _ = say(3, to: [1])
    let commits = say(1, to: [3])
    cluster[3].bench.run()
    cluster[3].bench.put("MEMBERS REMOVE 1\r\n", on: three)
    let prepares = say(3, to: [1])
    cluster[2].bench.advance(millis: 1)
    for (_, bytes) in commits { hear(bytes, at: 2, from: 1) }
    Array("SET x 1\r\n".utf8).withUnsafeBytes {
      cluster[2].bench.host.node.receive($0, on: writer)
    }
    for (_, bytes) in prepares { hear(bytes, at: 2, from: 3) }
    cluster[2].bench.run()
    cluster.settle()
    for _ in 0..<40 { cluster.advance(millis: 50) }
    #expect(cluster.take(2, two) == "$7;aborted")
    #expect(cluster.take(2, writer) == "+OK")
    #expect(cluster.take(3, three).contains("member 1 is removed"))
  }
}
