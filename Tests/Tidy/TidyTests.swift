import Testing

/// The rules of the tree, kept by a test instead of by memory.
@Suite struct TidyTests {
  func check(_ rule: Rules.Rule, over files: [SourceFile] = Tree.files) {
    #expect(!files.isEmpty)
    let findings = files.flatMap(rule)
    let list = findings.map(\.description).joined(separator: "\n")
    #expect(findings.isEmpty, "\(findings.count) findings:\n\(list)")
  }

  @Test func `Imports point down, and C libraries stay where I/O is done`() {
    check(Rules.importsPointDown)
  }

  @Test func `Pure code knows no clock, no unseeded chance, no thread and no task`() {
    check(Rules.pureCodeIsPure)
  }

  @Test func `Unwelcome words are absent from the sources`() { check(Rules.noUnwelcomeWords) }

  @Test func `Public declarations are documented`() { check(Rules.publicIsDocumented) }

  @Test func `Files and lines are of a readable size`() { check(Rules.sizesAreBounded) }

  @Test func `Nothing is left over`() { check(Rules.nothingIsLeftOver) }

  @Test func `No path of one machine is in the tree`() { check(Rules.noMachinePaths) }

  @Test func `Text has no tabs and no spaces at the ends of lines`() { check(Rules.textIsClean) }

  @Test func `The package has no dependencies and no unsafe flags`() throws {
    let manifest = try #require(Tree.file("Package.swift")).text
    #expect(!manifest.contains(".package("))
    #expect(!manifest.contains("unsafeFlags"))
  }

  @Test func `Every golden file is used, and every golden file used exists`() {
    let tests = Tree.files.filter { $0.path.hasPrefix("Tests/") && !$0.path.contains("/Golden/") }
    for golden in Tree.files where golden.path.contains("/Golden/") {
      let name = golden.path.split(separator: "/").last ?? ""
      let stem = name.prefix { $0 != "." }
      #expect(
        tests.contains { $0.text.contains(name) || $0.text.contains("\"\(stem)\"") },
        "\(golden.path) is used by no test")
    }
    for test in tests where !test.path.hasPrefix("Tests/Tidy/") {
      for path in quoted(test, containing: "Golden/") where !path.contains("\\(") {
        let folder = test.path.split(separator: "/").dropLast().joined(separator: "/")
        #expect(Tree.exists("\(folder)/\(path)") || Tree.exists(path), "\(test.path): \(path)")
      }
    }
  }

  private func quoted(_ file: SourceFile, containing part: String) -> [String] {
    file.lines.flatMap { $0.split(separator: "\"", omittingEmptySubsequences: false) }
      .filter { $0.contains(part) && !$0.contains(" ") && $0.contains(".") }.map(String.init)
  }
}
