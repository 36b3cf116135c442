import Base
import NetKit
import Store
import TPC

// What INFO and TRACE tell of the transactions of a member.
extension Node {
  /// Transactions in doubt that INFO lists one by one, the oldest first.
  private static var listedDoubtCountMax: Int { 16 }

  /// Lines of the section `Cluster` about transactions.
  func transactionLines(_ cluster: ClusterPointer) -> [(String, String)] {
    let doubts = cluster.pointee.negotiator.inDoubt.filter {
      $0.id.node != cluster.pointee.negotiator.member
        || cluster.pointee.rounds[$0.id] == nil
    }
    let counters = cluster.pointee.negotiator.counters
    let own = cluster.pointee.counters
    let numbers: [(String, UInt64)] = [
      ("transactions_open", UInt64(cluster.pointee.rounds.count)),
      ("transactions_in_doubt", UInt64(doubts.count)),
      ("transactions_begun", counters.begun), ("transactions_committed", counters.committed),
      ("transactions_aborted", counters.aborted), ("transactions_retried", counters.retried),
      ("transactions_unknown", own.unknown), ("commands_in_transactions", own.units),
      ("votes_yes", counters.yesVotes), ("votes_no", counters.noVotes),
      ("messages_sent", counters.messagesSent),
      ("messages_received", counters.messagesReceived), ("messages_repeated", counters.resends),
      ("inquiries", counters.inquiries), ("contradictions", counters.contradictions),
      ("keys_locked", UInt64(cluster.pointee.negotiator.lockCount)),
      (
        "commands_waiting",
        UInt64(cluster.pointee.blockedSessions.count + cluster.pointee.blockedRequests.count)
      ),
    ]
    let listed = doubts.prefix(Self.listedDoubtCountMax).enumerated().map { index, doubt in
      let waits = doubt.waitsFor.map { "\($0)" }.joined(separator: " ")
      let age = (now.instant - doubt.since).nanos / 1_000_000
      return (
        "in_doubt\(index)",
        "transaction=\(doubt.id),attempt=\(doubt.attempt),age_ms=\(age),"
          + "coordinator=\(doubt.id.node),waits_for=\(waits)"
      )
    }
    return [("confirmed", cluster.pointee.isConfirmed ? "1" : "0")]
      + numbers.map { ($0.0, String($0.1)) } + listed
  }

  /// `TRACE [TRANSACTION]`: the last steps of the protocol that this member took, oldest first.
  mutating func trace() {
    guard let cluster else { return fail("ERR a node alone has no protocol to trace") }
    let wanted = parser.arguments.count > 1 ? parser.arguments[1].text() : nil
    guard parser.arguments.count <= 2 else { return failSyntax() }
    if let wanted, !isTransactionName(wanted) {
      return fail("ERR a transaction is node.counter, such as 1.42")
    }
    var lines: [String] = []
    cluster.pointee.steps.visit { wallNanos, step in
      if let wanted, step.id.description != wanted { return }
      let micros = String(wallNanos / 1_000 % 1_000_000)
      let padded = String(repeating: "0", count: 6 - micros.count) + micros
      lines.append("\(wallNanos / 1_000_000_000).\(padded) \(step)")
    }
    output.reply(array: lines.count)
    for var line in lines { line.withUTF8 { output.reply(bulk: UnsafeRawBufferPointer($0)) } }
  }

  private func isTransactionName(_ text: String) -> Bool {
    let parts = text.split(separator: ".", omittingEmptySubsequences: false)
    guard parts.count == 2, let node = UInt16(parts[0]), let counter = UInt64(parts[1]) else {
      return false
    }
    return MemberID(node).isValid && text == "\(node).\(counter)"
  }
}
