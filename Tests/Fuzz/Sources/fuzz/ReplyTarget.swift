@testable import Base
@testable import Client

/// RESP2 and RESP3 replies: whatever the pieces they come in, the replies are the same.
func fuzzReply(_ input: UnsafeRawBufferPointer) {
  guard let first = input.first else { return }
  let body = UnsafeRawBufferPointer(rebasing: input[1...])
  let whole = readReplies(body, piece: max(1, body.count))
  let pieces = readReplies(body, piece: Int(first) % 61 + 1)
  expect(whole == pieces, "whole: \(whole), in pieces: \(pieces)")
}

private func readReplies(_ input: UnsafeRawBufferPointer, piece: Int) -> [String] {
  var limits = ReplyLimits()
  limits.lineByteCountMax = 1 << 10
  limits.bulkByteCountMax = 1 << 16
  limits.elementCountMax = 1 << 10
  limits.depthMax = 8
  var reader = RespReader(limits: limits)
  var replies: [String] = []
  var received = 0
  while received < input.count {
    let count = min(piece, input.count - received)
    reader.input.append(UnsafeRawBufferPointer(rebasing: input[received..<(received + count)]))
    received += count
    do {
      while let reply = try reader.next() {
        if case .array(let elements) = reply { plantedMistake(when: elements.isEmpty) }
        replies.append("\(reply)")
      }
    } catch {
      return replies + ["\(error)"]
    }
  }
  return replies
}
