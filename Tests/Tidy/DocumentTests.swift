import Testing

/// The documents say what is there.
@Suite struct DocumentTests {
  let documents = Tree.files.filter { $0.path.hasSuffix(".md") }

  @Test func `Links between documents lead somewhere`() {
    for document in documents {
      let folder = document.path.split(separator: "/").dropLast().joined(separator: "/")
      for link in links(in: document) where !link.contains("://") && !link.hasPrefix("#") {
        let target = link.split(separator: "#").first.map(String.init) ?? ""
        let path = resolve(target, in: folder)
        #expect(Tree.exists(path), "\(document.path) links to \(link)")
      }
    }
  }

  @Test func `The documents that a newcomer looks for exist`() {
    for path in [
      "README.md", "LICENSE", "CHANGELOG.md", "CONTRIBUTING.md", "ARCHITECTURE.md",
      "docs/operations.md", "docs/commands.md", "docs/guarantees.md",
    ] {
      #expect(Tree.exists(path), "\(path)")
    }
  }

  @Test func `Every flag of serve is explained in the operations guide`() throws {
    let options = try #require(Tree.file("Sources/serve/ServeOptions.swift"))
    let guide = try #require(Tree.file("docs/operations.md")).text
    let names = flagNames(in: options)
    #expect(names.count > 15)
    for name in names { #expect(guide.contains("--\(name)"), "--\(name)") }
  }

  @Test func `Every exit code of serve is explained in the operations guide`() throws {
    let codes = try #require(Tree.file("Sources/serve/ExitCode.swift"))
    let guide = try #require(Tree.file("docs/operations.md")).text
    for line in codes.lines where line.contains("case ") && line.contains(" = ") {
      let code = line.split(separator: " ").last ?? ""
      #expect(guide.contains("| \(code) |"), "exit code \(code)")
    }
  }

  @Test func `Every command is in the list of commands`() throws {
    let specs = try #require(Tree.file("Sources/Node/Commands/CommandSpecs.swift"))
    let list = try #require(Tree.file("docs/commands.md")).text
    let names = specs.text.split(separator: "name: \"").dropFirst().compactMap {
      $0.split(separator: "\"").first.map { String($0).uppercased() }
    }
    #expect(names.count > 70)
    for name in names { #expect(list.contains("`\(name)"), "\(name)") }
  }

  @Test func `The map names every folder of the sources`() throws {
    let map = try #require(Tree.file("ARCHITECTURE.md")).text
    let folders = Set(
      Tree.sources.map { $0.path.split(separator: "/").dropLast().joined(separator: "/") })
    for folder in folders {
      let name = folder.split(separator: "/").last ?? ""
      #expect(map.contains("\(name)/"), "\(folder) is not on the map")
    }
  }

  @Test func `Every rule of the protocol is named by a test`() throws {
    let page = try #require(Tree.file("docs/protocol.md"))
    let rules = page.lines.filter { $0.hasPrefix("## Rule ") }
      .compactMap { $0.dropFirst(8).split(separator: ":").first.flatMap { Int($0) } }
    #expect(rules == Array(1...10))
    let names = Tree.files.filter { $0.path.hasPrefix("Tests/TPCTests/") && $0.isSwift }
      .reduce(into: [String]()) { $0 += $1.lines }
      .filter { $0.contains("func `") }
    for rule in rules {
      #expect(names.contains { $0.contains("`Rule \(rule): ") }, "rule \(rule)")
    }
  }

  // MARK: Parts

  private func flagNames(in file: SourceFile) -> [String] {
    let pieces = file.text.split(separator: "Flag(").dropFirst()
    return pieces.compactMap { piece in
      piece.drop { $0 != "\"" }.dropFirst().split(separator: "\"").first.map(String.init)
    }
  }

  private func links(in document: SourceFile) -> [String] {
    document.text.split(separator: "](").dropFirst().compactMap { piece in
      piece.split(separator: ")", omittingEmptySubsequences: false).first.map(String.init)
    }
  }

  private func resolve(_ link: String, in folder: String) -> String {
    var parts = folder.split(separator: "/").map(String.init)
    for part in link.split(separator: "/") {
      switch part {
      case ".": continue
      case "..": _ = parts.popLast()
      default: parts.append(String(part))
      }
    }
    return parts.joined(separator: "/")
  }
}
