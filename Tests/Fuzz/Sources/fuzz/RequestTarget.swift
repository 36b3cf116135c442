@testable import Base
@testable import Node

/// RESP requests and inline commands: whatever the pieces they come in, the commands are the same.
///
/// The first byte of the input is the size of the pieces and whether the client has authenticated.
func fuzzRequest(_ input: UnsafeRawBufferPointer) {
  guard let first = input.first else { return }
  let body = UnsafeRawBufferPointer(rebasing: input[1...])
  let authenticated = first & 1 == 0
  let whole = parseRequests(body, piece: max(1, body.count), authenticated)
  let pieces = parseRequests(body, piece: Int(first >> 1) % 61 + 1, authenticated)
  expect(whole == pieces, "whole: \(whole), in pieces: \(pieces)")
  plantedMistake(when: whole.contains { $0.count == 3 && $0[0].count == 3 && $0[2].count > 4 })
  fuzzPattern(whole)
}

/// The commands in `input`, and a last one of one word that says how it ended.
private func parseRequests(
  _ input: UnsafeRawBufferPointer, piece: Int, _ authenticated: Bool
) -> [[[UInt8]]] {
  var parser = RequestParser(bulkByteCountMax: 1 << 20)
  var commands: [[[UInt8]]] = []
  var progress = ParseProgress.none
  var consumed = 0
  var received = 0
  repeat {
    received = min(input.count, received + piece)
    while consumed < received {
      let have = UnsafeRawBufferPointer(rebasing: input[consumed..<received])
      let step = withHeapCopy(have) { copy in
        let step = parser.parse(
          UnsafeRawBufferPointer(copy), &progress, authenticated: authenticated)
        if case .command = step {
          commands.append((0..<parser.arguments.count).map { [UInt8](parser.arguments[$0]) })
        }
        return step
      }
      switch step {
      case .command(let count):
        expect(count > 0 && count <= have.count, "a command of \(count) of \(have.count) bytes")
        consumed += count
        continue
      case .incomplete: break
      case .invalid(let error): return commands + [[Array("invalid \(error.text)".utf8)]]
      case .http: return commands + [[Array("http".utf8)]]
      }
      break
    }
  } while received < input.count
  return commands
}

/// KEYS patterns: every pattern ends in reasonable time and matches itself when it has no wildcard.
private func fuzzPattern(_ commands: [[[UInt8]]]) {
  guard let command = commands.first(where: { $0.count == 2 && $0[0].count <= 32 }) else { return }
  command[1].withUnsafeBytes { pattern in
    command[0].withUnsafeBytes { text in
      let short = UnsafeRawBufferPointer(rebasing: pattern.prefix(32))
      _ = GlobPattern(short).matches(text)
      let plain = short.allSatisfy { ![42, 63, 91, 92].contains($0) }
      if plain { expect(GlobPattern(short).matches(short), "a plain pattern matches itself") }
    }
  }
}
