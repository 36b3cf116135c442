import Base
import Testing

@testable import Node

/// What the parser made of a whole run of bytes handed over in pieces.
private func parseAll(_ bytes: [UInt8], pieces: [Int], authenticated: Bool = true) -> [String] {
  var parser = RequestParser(bulkByteCountMax: 1 << 20)
  var progress = ParseProgress.none
  var tail = ByteBuffer()
  var out: [String] = []
  var at = 0
  for piece in pieces + [bytes.count] {
    let end = min(bytes.count, at + piece)
    tail.append(Array(bytes[at..<end]))
    at = end
    loop: while !tail.isEmpty {
      switch parser.parse(tail.bytes, &progress, authenticated: authenticated) {
      case .incomplete: break loop
      case .invalid(let error):
        out.append("! " + error.text)
        return out
      case .http:
        out.append("http")
        return out
      case .command(let count):
        var words: [String] = []
        for index in 0..<parser.arguments.count { words.append(parser.arguments[index].text()) }
        out.append(words.joined(separator: "|"))
        tail.consume(count)
      }
    }
  }
  return out
}

private func parse(_ text: String) -> [String] { parseAll(Array(text.utf8), pieces: []) }

@Suite struct RequestParserTests {
  @Test func aPipelineIsTakenCommandByCommand() {
    let text = "*1\r\n$4\r\nPING\r\n*3\r\n$3\r\nSET\r\n$1\r\na\r\n$0\r\n\r\nGET a\r\n"
    #expect(parse(text) == ["PING", "SET|a|", "GET|a"])
  }

  @Test func howTheBytesArriveChangesNothing() {
    let text =
      "*3\r\n$3\r\nSET\r\n$5\r\nhello\r\n$12\r\n\r\n$3\r\n*1\r\n\r\nx\r\nPING\r\n*0\r\n*1\r\n$4\r\nQUIT\r\n"
    let bytes = Array(text.utf8)
    let whole = parseAll(bytes, pieces: [])
    #expect(whole.count == 5)
    for cut in 0...bytes.count { #expect(parseAll(bytes, pieces: [cut]) == whole) }
    #expect(parseAll(bytes, pieces: Array(repeating: 1, count: bytes.count)) == whole)
    var chance = Random(seed: 7)
    for _ in 0..<300 {
      let pieces = (0..<20).map { _ in chance.below(9) }
      #expect(parseAll(bytes, pieces: pieces) == whole)
    }
  }

  @Test func inlineArgumentsAreUnquoted() {
    #expect(parse("SET a \"x y\\n\\x41\"\r\n") == ["SET|a|x y\nA"])
    #expect(parse("  SET  'it\\'s'  b \n") == ["SET|it's|b"])
    #expect(parse("\r\n\n") == ["", ""])
    #expect(parse("SET \"a\r\n") == ["! ERR Protocol error: unbalanced quotes in request"])
    #expect(parse("SET \"a\"b\r\n") == ["! ERR Protocol error: unbalanced quotes in request"])
  }

  @Test func whatNoClientSendsIsRefusedInRedissWords() {
    #expect(parse("*3000000000\r\n") == ["! ERR Protocol error: invalid multibulk length"])
    #expect(parse("*x\r\n") == ["! ERR Protocol error: invalid multibulk length"])
    #expect(parse("*1\r\nfoo\r\n") == ["! ERR Protocol error: expected '$', got 'f'"])
    #expect(parse("*1\r\n$-1\r\n") == ["! ERR Protocol error: invalid bulk length"])
    #expect(parse("*1\r\n$2000000\r\n") == ["! ERR Protocol error: invalid bulk length"])
    #expect(parse("GET / HTTP/1.1\r\n") == ["http"])
    let long = String(repeating: "x", count: 70_000)
    #expect(parse(long) == ["! ERR Protocol error: too big inline request"])
  }

  @Test func beforeAuthenticationOnlySmallCommandsAreRead() {
    let many = "*11\r\n" + String(repeating: "$1\r\na\r\n", count: 11)
    #expect(
      parseAll(Array(many.utf8), pieces: [], authenticated: false)
        == ["! ERR Protocol error: unauthenticated multibulk length"])
    #expect(
      parseAll(Array("*1\r\n$16385\r\n".utf8), pieces: [], authenticated: false)
        == ["! ERR Protocol error: unauthenticated bulk length"])
  }

  @Test func damagedInputNeverTraps() {
    let text = Array("*2\r\n$3\r\nGET\r\n$3\r\nabc\r\nSET 'a' \"b\\x4f\"\r\n".utf8)
    for index in text.indices {
      for bit in 0..<8 {
        var damaged = text
        damaged[index] ^= 1 << UInt8(bit)
        _ = parseAll(damaged, pieces: [index / 2])
      }
    }
    var chance = Random(seed: 3)
    for _ in 0..<20_000 {
      let alphabet = Array("*$0123456789\r\n\"'\\x ab-".utf8)
      let noise = (0..<chance.below(40)).map { _ in alphabet[chance.below(alphabet.count)] }
      _ = parseAll(noise, pieces: [chance.below(10), chance.below(10)])
    }
  }
}

@Suite struct GlobPatternTests {
  private func matches(_ pattern: String, _ text: String) -> Bool {
    Array(pattern.utf8).withUnsafeBytes { pattern in
      Array(text.utf8).withUnsafeBytes { GlobPattern(pattern).matches($0) }
    }
  }

  @Test func patternsMatchAsInRedis() {
    for (pattern, text) in [
      ("*", ""), ("*", "abc"), ("a*c", "abbbc"), ("a?c", "abc"), ("h[ae]llo", "hello"),
      ("h[^x]llo", "hello"), ("[a-c]x", "bx"), ("[c-a]x", "bx"), ("a\\*b", "a*b"), ("**a", "xa"),
      ("a*b*c", "a1b2b3c"), ("", ""), ("[\\]]", "]"),
    ] {
      #expect(matches(pattern, text), "\(pattern) matches \(text)")
    }
    for (pattern, text) in [
      ("a", ""), ("", "a"), ("a?c", "ac"), ("h[ae]llo", "hillo"), ("h[^e]llo", "hello"),
      ("a\\*b", "axb"), ("a*b", "abc"), ("[a-c]", "d"),
    ] {
      #expect(!matches(pattern, text), "\(pattern) does not match \(text)")
    }
  }

  @Test func noPatternIsExponential() {
    let pattern = String(repeating: "*a", count: 200) + "b"
    #expect(!matches(pattern, String(repeating: "a", count: 2_000)))
  }
}
