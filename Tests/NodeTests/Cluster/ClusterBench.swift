import Base
import NetKit
import Store
import TPC

@testable import Node

/// A cluster of nodes with scripted transports and disks; their messages are moved by the test.
final class ClusterBench {
  final class Member {
    var bench: NodeBench
    let id: MemberID
    /// Messages to it are dropped.
    var isCut = false
    init(_ id: MemberID, count: Int, _ options: NegotiatorOptions) {
      self.id = id
      bench = NodeBench(clusterMember: id, count: count, negotiator: options)
    }
  }

  let members: [Member]
  /// Which messages are dropped, by sender and receiver.
  var drops: (_ from: Int, _ to: Int) -> Bool = { _, _ in false }
  /// Messages that were moved.
  private(set) var messageCount = 0

  init(count: Int = 3, options: NegotiatorOptions = NegotiatorOptions()) {
    members = (1...count).map { Member(MemberID(UInt16($0)), count: count, options) }
    run()
  }

  subscript(_ number: Int) -> Member { members[number - 1] }

  /// Lets everybody work until nobody has a message left.
  func run() {
    for _ in 0..<200 {
      var moved = false
      for member in members {
        member.bench.run()
        while let (to, message) = member.bench.host.nextMessage() {
          moved = true
          messageCount += 1
          let receiver = self[Int(to.number)]
          guard !receiver.isCut, !member.isCut,
            !drops(Int(member.id.number), Int(to.number))
          else { continue }
          message.withUnsafeBytes { receiver.bench.host.node.receive($0, from: member.id) }
        }
      }
      if !moved { return }
    }
    fatalError("the members never stop talking")
  }

  /// Everybody gets what a member has to say, and nobody answers yet.
  func sayOnly(_ number: Int) {
    while let (to, message) = self[number].bench.host.nextMessage() {
      message.withUnsafeBytes {
        self[Int(to.number)].bench.host.node.receive($0, from: MemberID(UInt16(number)))
      }
    }
  }

  /// An operation id of now.
  var id: OperationID {
    OperationID(unixMillis: Int64(self[1].bench.host.link.moment.wallMillis), random: 1, 2)
  }

  /// Time passes for everybody.
  func advance(millis: UInt64) {
    for member in members { member.bench.advance(millis: millis) }
    run()
  }

  /// Time passes until no round is under way.
  func settle() {
    run()
    for _ in 0..<400 where !members.allSatisfy({ $0.bench.host.isClusterIdle }) {
      advance(millis: 5)
    }
    advance(millis: 5)
  }

  func connect(_ number: Int) -> LinkID { self[number].bench.connect() }

  /// The reply to an inline command at a member, once all messages have been moved.
  func ask(_ number: Int, _ link: LinkID, _ command: String) -> String {
    put(number, link, command + "\r\n")
    return take(number, link)
  }

  func put(_ number: Int, _ link: LinkID, _ text: String) {
    self[number].bench.put(text, on: link)
    run()
  }

  func take(_ number: Int, _ link: LinkID) -> String {
    let reply = self[number].bench.take(link)
    return reply.hasSuffix(";") ? String(reply.dropLast()) : reply
  }
}
