import Foundation

/// One text file of the repository.
struct SourceFile: Sendable {
  /// From the root of the repository, such as `Sources/Base/Mark.swift`.
  var path: String
  var lines: [String]

  init(path: String, text: String) {
    self.path = path
    lines = text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
    if lines.last == "" { lines.removeLast() }
  }

  var text: String { lines.joined(separator: "\n") }
  var isSwift: Bool { path.hasSuffix(".swift") }

  /// The lines without comments and without what stands in quotes, so that words are code.
  var codeLines: [String] { lines.map(Self.code) }

  private static func code(_ line: String) -> String {
    var result = ""
    var inQuotes = false
    var previous: Character = " "
    for character in line {
      if character == "\"", previous != "\\" { inQuotes.toggle() }
      if !inQuotes, character == "/", previous == "/" {
        result.removeLast()
        break
      }
      if !inQuotes { result.append(character) }
      previous = character
    }
    return result
  }
}

/// What a rule found: file, line (from 1) and a sentence.
struct Finding: CustomStringConvertible, Equatable, Sendable {
  var path: String
  var line: Int
  var sentence: String

  var description: String { "\(path):\(line): \(sentence)" }
}

/// The repository as it lies on disk.
enum Tree {
  static let root = URL(fileURLWithPath: #filePath)
    .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

  /// Every text file that a person wrote, sorted by path.
  static let files: [SourceFile] = {
    let endings = ["swift", "h", "modulemap", "md", "py", "sh", "json", "txt", "yml", "yaml"]
    var found: [SourceFile] = []
    var folders = [""]
    while let folder = folders.popLast() {
      for name in contents(of: folder) {
        let path = folder.isEmpty ? name : "\(folder)/\(name)"
        if isFolder(path) {
          if !skipped(name) { folders.append(path) }
        } else if endings.contains(where: { name.hasSuffix(".\($0)") }) || !name.contains("."),
          let text = try? String(contentsOf: root.appendingPathComponent(path), encoding: .utf8)
        {
          found.append(SourceFile(path: path, text: text))
        }
      }
    }
    return found.sorted { $0.path < $1.path }
  }()

  static var swift: [SourceFile] { files.filter(\.isSwift) }
  static var sources: [SourceFile] { swift.filter { $0.path.hasPrefix("Sources/") } }

  /// The names of all members that our public protocols declare.
  static let protocolMembers: Set<String> = {
    var names: Set<String> = []
    for file in sources {
      var isInside = false
      for line in file.lines {
        if line.hasPrefix("public protocol ") { isInside = true }
        if line == "}" { isInside = false }
        if isInside, let name = Rules.memberName(line) { names.insert(name) }
      }
    }
    return names
  }()

  static func exists(_ path: String) -> Bool {
    FileManager.default.fileExists(atPath: root.appendingPathComponent(path).path)
  }

  static func file(_ path: String) -> SourceFile? { files.first { $0.path == path } }

  /// Build folders, caches, data directories and what begins with a dot, but for `.ci`.
  private static func skipped(_ name: String) -> Bool {
    name.hasPrefix(".") && name != ".ci" || name == "__pycache__" || name == "tuppence-data"
      || name == "corpus" || name == "node_modules"
  }

  private static func contents(of folder: String) -> [String] {
    let path = root.appendingPathComponent(folder).path
    return (try? FileManager.default.contentsOfDirectory(atPath: path)) ?? []
  }

  private static func isFolder(_ path: String) -> Bool {
    var folder: ObjCBool = false
    let place = root.appendingPathComponent(path).path
    return FileManager.default.fileExists(atPath: place, isDirectory: &folder) && folder.boolValue
  }
}
