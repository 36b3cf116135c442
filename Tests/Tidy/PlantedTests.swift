import Testing

/// Each rule finds a planted mistake, and leaves alone what only looks like one.
@Suite struct PlantedTests {
  func count(_ rule: Rules.Rule, _ path: String, _ text: String) -> Int {
    rule(SourceFile(path: path, text: text)).count
  }

  @Test(arguments: [
    ("Sources/Base/A.swift", "import Store"),
    ("Sources/Store/A.swift", "internal import Glibc"),
    ("Sources/Store/A.swift", "import NetKit"),
    ("Sources/NetKit/A.swift", "@preconcurrency import Glibc"),
    ("Sources/Node/A.swift", "import Client"),
    ("Sources/serve/A.swift", "import Foundation"),
    ("Sources/clie/A.swift", "import struct Node.Host"),
  ])
  func `A wrong import is found`(path: String, line: String) {
    #expect(count(Rules.importsPointDown, path, line) == 1)
  }

  @Test(arguments: [
    ("Sources/NetKit/Sockets/A.swift", "internal import Glibc"),
    ("Sources/Store/Posix/A.swift", "import CLinux"),
    ("Sources/Node/A.swift", "public import Store"),
    ("Sources/Base/A.swift", "// import Store"),
    ("Benchmarks/loadgen/A.swift", "import Glibc"),
  ])
  func `A right import is left alone`(path: String, line: String) {
    #expect(count(Rules.importsPointDown, path, line) == 0)
  }

  @Test(arguments: [
    "func f() async {}", "Task { g() }", "let d = Date()", "actor A {}", "x.shuffled()",
    "let n = Int.random(in: 0..<3)", "var g = SystemRandomNumberGenerator()", "a.hashValue",
  ])
  func `Impure code is found in pure folders only`(line: String) {
    #expect(count(Rules.pureCodeIsPure, "Sources/Node/A.swift", line) == 1)
    #expect(count(Rules.pureCodeIsPure, "Sources/NetKit/Sockets/A.swift", line) == 0)
  }

  @Test(arguments: [
    "// an async task", "let text = \"Task\"", "let n = Int.random(in: 0..<3, using: &chance)",
    "var taskCount = 0", "database.random(&chance)",
  ])
  func `What only looks impure is left alone`(line: String) {
    #expect(count(Rules.pureCodeIsPure, "Sources/Node/A.swift", line) == 0)
  }

  @Test func `An undocumented public declaration is found`() {
    let rule = Rules.publicIsDocumented
    #expect(count(rule, "Sources/Base/A.swift", "public struct A {}") == 1)
    #expect(count(rule, "Sources/Base/A.swift", "/// One.\n@frozen\npublic struct A {}") == 0)
    #expect(count(rule, "Sources/Base/A.swift", "\n  @inlinable public var a: Int { 0 }") == 1)
    #expect(count(rule, "Sources/Base/A.swift", "public import Base\npublic extension A {") == 0)
    #expect(count(rule, "Sources/Base/A.swift", "  public static func < (a: A, b: A)") == 0)
    #expect(count(rule, "Sources/Base/A.swift", "  public private(set) var a = 1") == 1)
    #expect(count(rule, "Sources/Base/A.swift", "// the public var a") == 0)
    #expect(
      count(rule, "Sources/Base/A.swift", "/// Two.\npublic var a = 1\npublic var b = 2") == 0)
    #expect(count(rule, "Sources/Base/A.swift", "/// One.\npublic var a = 1\npublic func b()") == 1)
    #expect(count(rule, "Sources/Store/Posix/A.swift", "  public mutating func recover() {") == 0)
    #expect(count(rule, "Sources/Store/A.swift", "  public mutating func recover() {") == 1)
    #expect(count(rule, "Sources/Store/Posix/A.swift", "  public func undeclared() {") == 1)
  }

  @Test func `Long files and long lines are found`() {
    let long = String(repeating: "a\n", count: Rules.fileLineCountMax + 1)
    let wide = String(repeating: "a", count: Rules.lineLengthMax + 1)
    #expect(count(Rules.sizesAreBounded, "Sources/A.swift", long) == 1)
    #expect(count(Rules.sizesAreBounded, "Sources/A.swift", wide) == 1)
    #expect(count(Rules.sizesAreBounded, "Sources/A.swift", String(wide.dropLast())) == 0)
  }

  @Test func `Leftovers, paths of one machine and unclean text are found`() {
    #expect(count(Rules.nothingIsLeftOver, "a.md", "TO" + "DO: more") == 1)
    #expect(count(Rules.noMachinePaths, "a.md", "see /ro" + "ot/x") == 1)
    #expect(count(Rules.textIsClean, "a.swift", "let a = 1 ") == 1)
    #expect(count(Rules.textIsClean, "a.swift", "\tlet a = 1") == 1)
    #expect(count(Rules.noUnwelcomeWords, "Sources/A.swift", "precondition(a)") == 1)
    #expect(count(Rules.noUnwelcomeWords, "Sources/A.swift", "// a precondition") == 0)
  }
}
