import Base
import Testing

@testable import NetKit

@Suite struct StreamLinkTests {
  private static func frame(_ message: [UInt8]) -> [UInt8] {
    var buffer = ByteBuffer()
    message.withUnsafeBytes { Frame.append($0, to: &buffer) }
    return Array(buffer.bytes)
  }

  /// Everything that comes out of a link, and how it stands in the end.
  private static func read(_ bytes: [UInt8], pieces: Int = .max, messageByteCountMax: Int = 64)
    -> (messages: [[UInt8]], outcome: FrameOutcome)
  {
    var link = StreamLink(messageByteCountMax: messageByteCountMax)
    var buffer = ByteBuffer()
    var messages: [[UInt8]] = []
    var outcome = FrameOutcome.incomplete
    var rest = bytes[...]
    repeat {
      let piece = rest.prefix(pieces)
      rest = rest.dropFirst(piece.count)
      piece.withUnsafeBytes { link.append($0) }
      while true {
        outcome = link.next(into: &buffer)
        guard case .message = outcome else { break }
        messages.append(Array(buffer.bytes))
      }
    } while !rest.isEmpty
    return (messages, outcome)
  }

  private static let samples: [[UInt8]] = [[], [7], Array("hello".utf8), Array(0..<64)]

  @Test(arguments: [1, 2, 3, 5, 7, 11, 12, 13, 1_000])
  func `messages come out as they went in, however the stream was cut`(pieces: Int) {
    let stream = Self.samples.flatMap { Self.frame($0) }
    let (messages, outcome) = Self.read(stream, pieces: pieces)
    #expect(messages == Self.samples)
    #expect(outcome == .incomplete)
  }

  @Test func `a prefix of a frame is never a message`() {
    let frame = Self.frame(Array(0..<40))
    for count in 0..<frame.count {
      let (messages, outcome) = Self.read(Array(frame[..<count]))
      #expect(messages.isEmpty)
      #expect(outcome == .incomplete)
    }
  }

  @Test func `a frame with any bit flipped is never accepted`() {
    let frame = Self.frame(Array("a message of a peer".utf8))
    for bit in 0..<frame.count * 8 {
      var flipped = frame
      flipped[bit / 8] ^= 1 << UInt8(bit % 8)
      // What follows fills the longer message that a flipped length may declare.
      flipped += [UInt8](repeating: 0, count: 64)
      #expect(Self.read(flipped).messages.isEmpty, "bit \(bit)")
    }
  }

  @Test func `a message of the largest size passes and one byte more is a violation`() {
    #expect(Self.read(Self.frame([UInt8](repeating: 1, count: 64))).messages.count == 1)
    let (messages, outcome) = Self.read(Self.frame([UInt8](repeating: 1, count: 65)))
    #expect(messages.isEmpty)
    #expect(outcome == .violation(.tooLarge(65)))
  }

  @Test func `a declared length takes no memory`() {
    var link = StreamLink(messageByteCountMax: 1 << 30)
    var buffer = ByteBuffer()
    var front = ByteBuffer()
    front.append(little: Frame.magic)
    front.append(little: UInt32(1 << 30))
    front.append(little: UInt32(0))
    link.append(front.bytes)
    #expect(link.next(into: &buffer) == .incomplete)
    #expect(link.byteCount == 12)
    #expect(buffer.capacity == 0)
  }

  @Test func `another version and another protocol are told apart at once`() {
    #expect(Self.read([0xF5, 0x32, 0x50, 2]).outcome == .violation(.version(2)))
    #expect(Self.read([0xF5, 0x33]).outcome == .violation(.magic))
    #expect(Self.read(Array("*1\r\n".utf8)).outcome == .violation(.magic))
  }

  @Test func `after a violation nothing more is read`() {
    let good = Self.frame([1, 2, 3])
    var bad = good
    bad[12] ^= 1
    let (messages, outcome) = Self.read(good + bad + good)
    #expect(messages == [[1, 2, 3]])
    #expect(outcome == .violation(.checksum))
  }
}
