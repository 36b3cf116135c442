@testable import Base
@testable import NetKit

/// Frames between nodes: whatever the pieces they come in, the messages are the same, and a declared
/// length alone holds no memory.
///
/// The first byte says how: the size of the pieces, and whether the input is one message to be framed
/// (so that the checksum is right) with the rest of it behind, or raw bytes.
func fuzzStream(_ input: UnsafeRawBufferPointer) {
  guard let first = input.first else { return }
  let body = UnsafeRawBufferPointer(rebasing: input[1...])
  var bytes = ByteBuffer()
  if first & 1 == 1, body.count > 2 {
    let cut = Int(body[0]) % (body.count - 1) + 1
    Frame.append(UnsafeRawBufferPointer(rebasing: body[1..<cut]), to: &bytes)
    bytes.append(UnsafeRawBufferPointer(rebasing: body[cut...]))
  } else {
    bytes.append(body)
  }
  let whole = readMessages(bytes.bytes, piece: max(1, bytes.count))
  let pieces = readMessages(bytes.bytes, piece: Int(first >> 1) + 1)
  expect(whole == pieces, "whole: \(whole), in pieces: \(pieces)")
  plantedMistake(when: whole.first?.first == UInt8(ascii: "Z") && whole.count > 1)
}

private func readMessages(_ input: UnsafeRawBufferPointer, piece: Int) -> [[UInt8]] {
  var link = StreamLink(messageByteCountMax: 4_096)
  var message = ByteBuffer()
  var messages: [[UInt8]] = []
  var received = 0
  while received < input.count {
    let count = min(piece, input.count - received)
    link.append(UnsafeRawBufferPointer(rebasing: input[received..<(received + count)]))
    received += count
    reading: while true {
      switch link.next(into: &message) {
      case .message: messages.append([UInt8](message.bytes))
      case .incomplete: break reading
      case .violation(let fault): return messages + [Array("\(fault)".utf8)]
      }
    }
    expect(link.byteCount <= 4_096 + 12 + piece, "\(link.byteCount) bytes are held")
  }
  return messages
}
