import Base
import Client
import Testing

@Suite struct RespReaderTests {
  /// All replies in `text`, given to the reader in pieces of `size` bytes.
  func read(
    _ text: String, by size: Int = .max, limits: ReplyLimits = ReplyLimits()
  ) throws(ReplyError) -> [Reply] {
    var reader = RespReader(limits: limits)
    var replies: [Reply] = []
    var rest = Array(text.utf8)[...]
    while !rest.isEmpty {
      reader.input.append(Array(rest.prefix(size)))
      rest = rest.dropFirst(size)
      while let reply = try reader.next() { replies.append(reply) }
    }
    return replies
  }

  func failure(_ text: String, limits: ReplyLimits = ReplyLimits()) -> ReplyError? {
    do throws(ReplyError) {
      _ = try read(text, limits: limits)
      return nil
    } catch {
      return error
    }
  }

  @Test func `Every kind of reply is read`() throws {
    #expect(try read("+OK\r\n") == [.simple(Array("OK".utf8))])
    #expect(try read("-ERR no\r\n") == [.error(ServerError("ERR no"))])
    #expect(try read(":-12\r\n") == [.integer(-12)])
    #expect(try read("$3\r\na\r\n\r\n") == [.bytes(Array("a\r\n".utf8))])
    #expect(try read("$0\r\n\r\n") == [.bytes([])])
    #expect(try read("$-1\r\n*-1\r\n_\r\n") == [.null, .null, .null])
    #expect(try read("*0\r\n%0\r\n") == [.array([]), .map([])])
    #expect(try read("#t\r\n#f\r\n") == [.boolean(true), .boolean(false)])
    #expect(
      try read(",1.5\r\n(123\r\n") == [.double(Array("1.5".utf8)), .simple(Array("123".utf8))])
    #expect(try read("=6\r\ntxt:ab\r\n") == [.bytes(Array("ab".utf8))])
    #expect(try read("!5\r\nERR x\r\n") == [.error(ServerError("ERR x"))])
    #expect(try read("%1\r\n+a\r\n:1\r\n") == [.map([.simple([97]), .integer(1)])])
    #expect(try read("~1\r\n:1\r\n>1\r\n:2\r\n") == [.array([.integer(1)]), .array([.integer(2)])])
  }

  @Test func `Attributes are passed over, within arrays too`() throws {
    #expect(try read("|1\r\n+ttl\r\n:3\r\n:7\r\n") == [.integer(7)])
    #expect(
      try read("*2\r\n|1\r\n+a\r\n*1\r\n:1\r\n:1\r\n:2\r\n")
        == [.array([.integer(1), .integer(2)])])
  }

  @Test(arguments: 1...9)
  func `Replies are the same however their bytes are cut`(size: Int) throws {
    let text = "*3\r\n$5\r\nhello\r\n*2\r\n:1\r\n$-1\r\n-ERR x\r\n+OK\r\n$2\r\n\r\n\r\n"
    #expect(try read(text, by: size) == read(text))
  }

  @Test func `Every prefix of a reply waits for more`() throws {
    let text = Array("*2\r\n$3\r\nabc\r\n%1\r\n+k\r\n:5\r\n".utf8)
    for count in 0..<text.count {
      let prefix = String(decoding: text[..<count], as: UTF8.self)
      #expect(try read(prefix) == [], "\(count)")
    }
  }

  @Test func `What is no reply is refused`() {
    #expect(failure("?\r\n") == .unknownKind(63))
    #expect(failure("\r\n") == .unknownKind(13))
    #expect(failure(":1x\r\n") == .malformedNumber)
    #expect(failure("$-2\r\n") == .malformedNumber)
    #expect(failure("*-2\r\n") == .malformedNumber)
    #expect(failure("#x\r\n") == .malformedNumber)
    #expect(failure("+OK\n") == .missingLineEnd)
    #expect(failure("$1\r\nabc") == .missingLineEnd)
  }

  @Test func `Every limit refuses what passes it and takes what reaches it`() throws {
    var limits = ReplyLimits()
    limits.lineByteCountMax = 4
    limits.bulkByteCountMax = 3
    limits.elementCountMax = 4
    limits.depthMax = 2
    #expect(try read("+abc\r\n", limits: limits).count == 1)
    #expect(failure("+abcde\r\n", limits: limits) == .tooLarge)
    #expect(failure("+abcdefgh", limits: limits) == .tooLarge)
    #expect(try read("$3\r\nabc\r\n", limits: limits).count == 1)
    #expect(failure("$4\r\n", limits: limits) == .tooLarge)
    #expect(try read("*3\r\n:1\r\n:1\r\n:1\r\n", limits: limits).count == 1)
    #expect(failure("*4\r\n:1\r\n:1\r\n:1\r\n:1\r\n", limits: limits) == .tooLarge)
    #expect(failure("*5\r\n", limits: limits) == .tooLarge)
    #expect(try read("*1\r\n*1\r\n:1\r\n", limits: limits).count == 1)
    #expect(failure("*1\r\n*1\r\n*1\r\n", limits: limits) == .tooLarge)
  }

  @Test func `A refused stream stays refused`() {
    var reader = RespReader()
    reader.input.append("?\r\n+OK\r\n")
    for _ in 0..<2 {
      var failure: ReplyError?
      do { _ = try reader.next() } catch { failure = error }
      #expect(failure == .unknownKind(63))
    }
  }

  @Test func `Random bytes are refused or read, never a trap`() {
    var chance = Random(seed: 7)
    let alphabet = Array("*$+-:%|~#,_=!\r\n\r\n0123t".utf8)
    for _ in 0..<20_000 {
      var reader = RespReader()
      for _ in 0..<chance.below(40) {
        reader.input.append(alphabet[chance.below(alphabet.count)])
      }
      do {
        while try reader.next() != nil {}
      } catch {}
    }
  }

  @Test func `A command is an array of bulk strings`() {
    var buffer = ByteBuffer()
    buffer.append(Command("SET", "k", [0, 13, 10] as [UInt8]))
    #expect(Array(buffer.bytes) == Array("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$3\r\n\0\r\n\r\n".utf8))
  }

  @Test func `An error has a code word and a sentence`() {
    #expect(ServerError("NOTFOUND key does not exist").code == "NOTFOUND")
    #expect(ServerError("NOTFOUND key does not exist").sentence == "key does not exist")
    #expect(ServerError("something odd").code == "ERR")
    #expect(ServerError("something odd").sentence == "something odd")
  }
}
