/// The rules, each a function from a file to what it finds there, so that each can be shown to
/// catch a planted mistake.
enum Rules {
  typealias Rule = @Sendable (SourceFile) -> [Finding]

  // MARK: Imports

  /// What each folder may import; the longest prefix of a path counts. Dependencies point down:
  /// serve → Tuppence → Node, clie → Client, Node and Client → TPC, Store, NetKit → Base. C libraries
  /// only where I/O is done.
  static let allowedImports: [(folder: String, modules: Set<String>)] = [
    ("Sources/Base/", ["CHardware"]),
    ("Sources/NetKit/", ["Base"]),
    ("Sources/NetKit/Sockets/", ["Base", "CLinux", "Glibc", "Synchronization"]),
    ("Sources/TPC/", ["Base"]),
    ("Sources/Store/", ["Base"]),
    ("Sources/Store/Posix/", ["Base", "CLinux", "Glibc", "Synchronization"]),
    ("Sources/Node/", ["Base", "NetKit", "TPC", "Store"]),
    ("Sources/Client/", ["Base", "NetKit"]),
    ("Sources/Tuppence/", ["Base", "NetKit", "TPC", "Store", "Node", "Glibc", "Synchronization"]),
    (
      "Sources/serve/",
      [
        "Base", "NetKit", "TPC", "Store", "Node", "Tuppence", "CLinux", "Glibc", "Synchronization",
      ]
    ),
    ("Sources/clie/", ["Base", "NetKit", "Client", "CLinux", "Glibc", "Synchronization"]),
    ("Tests/SimKit/", ["Base", "NetKit", "Store", "TPC", "Node", "Client"]),
  ]

  static let importsPointDown: Rule = { file in
    let folder = allowedImports.filter { file.path.hasPrefix($0.folder) }
      .max { $0.folder.count < $1.folder.count }
    guard let folder, file.isSwift else { return [] }
    return each(file) { line in
      guard let module = importedModule(line), !folder.modules.contains(module) else { return nil }
      return "\(folder.folder) must not import \(module)"
    }
  }

  private static func importedModule(_ line: String) -> String? {
    let words = line.split(separator: " ").filter {
      !["public", "internal", "private", "fileprivate", "package"].contains($0)
        && !$0.hasPrefix("@")
    }
    guard words.first == "import", words.count >= 2 else { return nil }
    let kinds: Set<Substring> = ["struct", "class", "enum", "protocol", "func", "var", "typealias"]
    let name = kinds.contains(words[1]) && words.count > 2 ? words[2] : words[1]
    return String(name.prefix { $0 != "." })
  }

  // MARK: Purity

  /// Folders whose code knows no clock, no unseeded chance, no thread and no task.
  static func isPure(_ path: String) -> Bool {
    let pure = [
      "Sources/Base/", "Sources/NetKit/", "Sources/TPC/", "Sources/Store/", "Sources/Node/",
    ]
    let impure = ["Sources/NetKit/Sockets/", "Sources/Store/Posix/"]
    return (pure + ["Tests/SimKit/"]).contains { path.hasPrefix($0) }
      && !impure.contains { path.hasPrefix($0) }
  }

  private static let impureWords: Set<String> = [
    "async", "await", "Task", "actor", "Date", "ContinuousClock", "SuspendingClock",
    "SystemRandomNumberGenerator", "randomElement", "shuffled", "shuffle", "hashValue", "Hasher",
    "Mutex", "Atomic", "readLine", "CommandLine",
  ]

  static let pureCodeIsPure: Rule = { file in
    guard isPure(file.path) else { return [] }
    return each(file) { line in
      let words = Set(identifiers(line))
      if let word = words.intersection(impureWords).sorted().first {
        return "pure code must not use \(word)"
      }
      if line.contains(".random(in:"), !line.contains("using:") {
        return "chance comes from the seeded source that was handed in"
      }
      return nil
    }
  }

  /// Words that no part of the shipped sources uses, with the reason.
  private static let unwelcomeWords: [(word: String, reason: String)] = [
    ("precondition", "a failed precondition prints nothing in -O: use invariant"),
    ("assert", "use invariant, which holds in release builds too"),
    ("Foundation", "no Foundation in what serve and clie link"),
    ("NSLock", "no Foundation in what serve and clie link"),
    ("DispatchQueue", "one loop and named threads, no queues"),
    ("unowned", "an owner is a value or a strong reference"),
  ]

  static let noUnwelcomeWords: Rule = { file in
    guard file.path.hasPrefix("Sources/") else { return [] }
    return each(file) { line in
      let words = Set(identifiers(line))
      return unwelcomeWords.first { words.contains($0.word) }.map { "\($0.word): \($0.reason)" }
    }
  }

  // MARK: Documentation

  /// Public declarations of the libraries have a doc comment, but for what a protocol of ours asks
  /// for, whose meaning is the protocol's. Stored properties that stand together may share one.
  static let publicIsDocumented: Rule = { file in
    guard file.path.hasPrefix("Sources/") else { return [] }
    var findings: [Finding] = []
    for (index, line) in file.lines.enumerated()
    where isPublicDeclaration(line) && !isWitness(line, in: file) {
      var above = index - 1
      while above >= 0, isPartOfDeclaration(file.lines[above], below: line) { above -= 1 }
      if above < 0 || !trimmed(file.lines[above]).hasPrefix("///") {
        findings.append(
          Finding(path: file.path, line: index + 1, sentence: "a public declaration needs ///"))
      }
    }
    return findings
  }

  private static func isPublicDeclaration(_ line: String) -> Bool {
    let words = identifiers(SourceFile(path: "", text: line).codeLines.first ?? "")
    guard words.contains("public"),
      let keyword = words.first(where: {
        [
          "import", "extension", "init", "func", "var", "let", "struct", "class", "enum",
          "protocol", "typealias", "subscript", "case",
        ].contains($0)
      })
    else { return false }
    if keyword == "import" || keyword == "extension" { return false }
    if keyword == "init", line.contains("init()") { return false }
    let witnesses = ["func <", "func ==", "func hash(into", "var description: String"]
    return !witnesses.contains { line.contains($0) }
  }

  /// True for an attribute, and for a stored property right above another one.
  private static func isPartOfDeclaration(_ above: String, below line: String) -> Bool {
    if trimmed(above).hasPrefix("@"), !above.contains("public") { return true }
    return [above, line].allSatisfy { trimmed($0).hasPrefix("public var ") && !$0.contains("{") }
  }

  /// True for a member that one of our protocols documents, in the folders of its implementations.
  private static func isWitness(_ line: String, in file: SourceFile) -> Bool {
    guard ["/Posix/", "/Sockets/", "/SimKit/"].contains(where: { file.path.contains($0) })
    else { return false }
    return memberName(line).map { Tree.protocolMembers.contains($0) } ?? false
  }

  /// The name after `func` or `var`.
  static func memberName(_ line: String) -> String? {
    let words = identifiers(line)
    guard let keyword = words.firstIndex(where: { $0 == "func" || $0 == "var" }),
      keyword + 1 < words.count
    else { return nil }
    return words[keyword + 1]
  }

  // MARK: Text

  static let fileLineCountMax = 450
  static let lineLengthMax = 100
  /// Tests hold protocol scripts, whose lines are not broken.
  static let testLineLengthMax = 130

  static let sizesAreBounded: Rule = { file in
    guard file.isSwift else { return [] }
    var findings: [Finding] = []
    if file.lines.count > fileLineCountMax {
      findings.append(
        Finding(
          path: file.path, line: file.lines.count,
          sentence: "over \(fileLineCountMax) lines: look for the second subject"))
    }
    let lengthMax = file.path.hasPrefix("Tests/") ? testLineLengthMax : lineLengthMax
    for (index, line) in file.lines.enumerated() where line.count > lengthMax {
      findings.append(
        Finding(path: file.path, line: index + 1, sentence: "over \(lengthMax) columns"))
    }
    return findings
  }

  /// Signs that something was left undone, put together here so that this file has none.
  private static let leftovers = [
    "TO" + "DO", "FIX" + "ME", "XX" + "X:", "HA" + "CK:", ".disa" + "bled(", "#if " + "false",
    "pytest.mark." + "skip(", "WI" + "P:",
  ]

  static let nothingIsLeftOver: Rule = { file in
    file.lines.enumerated().compactMap { index, line in
      leftovers.first { line.contains($0) }
        .map { Finding(path: file.path, line: index + 1, sentence: "left over: \($0)") }
    }
  }

  private static let machinePaths = ["/wor" + "k/", "/ro" + "ot/", "/ho" + "me/", "bash_" + "jobs"]

  static let noMachinePaths: Rule = { file in
    file.lines.enumerated().compactMap { index, line in
      machinePaths.first { line.contains($0) }
        .map { Finding(path: file.path, line: index + 1, sentence: "a path of one machine: \($0)") }
    }
  }

  static let textIsClean: Rule = { file in
    guard file.isSwift || file.path.hasSuffix(".py") || file.path.hasSuffix(".h") else { return [] }
    return file.lines.enumerated().compactMap { index, line in
      if line.contains("\t") {
        return Finding(path: file.path, line: index + 1, sentence: "a tab")
      }
      guard line.last == " " else { return nil }
      return Finding(path: file.path, line: index + 1, sentence: "a space at the end of the line")
    }
  }

  // MARK: Parts

  private static func each(_ file: SourceFile, _ check: (String) -> String?) -> [Finding] {
    file.codeLines.enumerated().compactMap { index, line in
      check(line).map { Finding(path: file.path, line: index + 1, sentence: $0) }
    }
  }

  static func identifiers(_ line: String) -> [String] {
    line.split { !($0.isLetter || $0.isNumber || $0 == "_") }.map(String.init)
  }

  private static func trimmed(_ line: String) -> Substring { line.drop { $0 == " " } }
}
