import Client
import Glibc
import Testing

@testable import clie

@Suite struct HelpTests {
  /// Read and, when `TUPPENCE_REWRITE_GOLDEN` is set, written by this test.
  let path = #filePath.dropLast("HelpTests.swift".count) + "Golden/help.txt"

  @Test func `The help is what the golden file says`() throws {
    let help = renderHelp()
    if getenv("TUPPENCE_REWRITE_GOLDEN") != nil {
      let file = try #require(fopen(String(path), "w"))
      fputs(help, file)
      fclose(file)
    }
    let golden = try GoldenFile.read(String(path))
    #expect(help == golden, "run once with TUPPENCE_REWRITE_GOLDEN=1 if this is meant")
  }

  @Test func `The help shows an example for every operation`() {
    let lines = renderHelp().split(separator: "\n")
    for operation in Operation.allCases {
      let number = ["update": "0", "get": "1", "delete": "2", "put": "3"][operation.rawValue]
      let flag = "-o \(number ?? operation.rawValue)"
      #expect(lines.contains { $0.contains("clie") && $0.contains(flag) }, "\(operation)")
    }
  }

  @Test func `The page about clie explains every operation, exit code and error kind`() throws {
    let folder = #filePath.dropLast("Tests/ClientTests/HelpTests.swift".count)
    let page = try GoldenFile.read(folder + "docs/clie.md")
    for operation in Operation.allCases { #expect(page.contains("`\(operation.rawValue)`")) }
    for code in ExitCode.allCases { #expect(page.contains("\n| \(code.rawValue) |")) }
    let reasons: [ClientError.Reason] = [
      .unresolved, .unreachable, .noAnswer, .malformedReply, .tooLarge, .missing, .aborted,
      .refused, .replyNotKept, .server,
    ]
    for reason in reasons { #expect(page.contains("`\(Report.name(reason))`")) }
  }

  @Test func `No line of the help is wider than 90 columns`() {
    for line in renderHelp().split(separator: "\n") { #expect(line.utf8.count <= 90, "\(line)") }
  }
}

/// Whole files as text.
enum GoldenFile {
  static func read(_ path: String) throws -> String {
    let descriptor = open(path, O_RDONLY)
    try #require(descriptor >= 0, "\(path) can be read")
    defer { close(descriptor) }
    var bytes: [UInt8] = []
    while try StandardStreams.readMore(of: descriptor, path, into: &bytes) {}
    return String(decoding: bytes, as: UTF8.self)
  }
}
