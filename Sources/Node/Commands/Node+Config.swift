import Base
import Store

// CONFIG: what exists, under Redis's names.
extension Node {
  mutating func config() {
    let word = parser.arguments[1]
    if word.isWord("get") {
      getConfiguration()
    } else if word.isWord("set") {
      guard parser.arguments.count % 2 == 0 else { return failSyntax() }
      setConfiguration()
    } else {
      counters = NodeCounters()
      output.replyOK()
    }
  }

  private var configuration: [(name: String, value: String)] {
    let always = options.durability == .always
    return [
      ("appendfsync", always ? "always" : options.durability == .never ? "no" : "everysec"),
      ("appendonly", "yes"), ("client-output-buffer-limit", ""),
      ("databases", "1"), ("dir", options.dataDirectory),
      ("durability", options.durability.rawValue),
      ("maxclients", String(options.connectionCountMax)),
      ("maxmemory", String(control.memoryByteCountMax == .max ? 0 : control.memoryByteCountMax)),
      ("maxmemory-policy", "noeviction"),
      ("outcomes-age", String(options.database.outcomesAgeMillis / 1_000)),
      ("port", String(options.port)),
      ("proto-max-bulk-len", String(options.database.valueByteCountMax)), ("save", ""),
      ("timeout", "0"),
    ]
  }

  private mutating func getConfiguration() {
    var found: [(name: String, value: String)] = []
    for entry in configuration {
      var name = entry.name
      let matches = name.withUTF8 { bytes in
        (2..<parser.arguments.count).contains { index in
          let pattern = parser.arguments[index].map { byte in
            byte >= 65 && byte <= 90 ? byte | 0x20 : byte
          }
          return pattern.withUnsafeBytes {
            GlobPattern($0).matches(UnsafeRawBufferPointer(bytes))
          }
        }
      }
      if matches { found.append(entry) }
    }
    output.reply(map: found.count, resp: resp)
    for entry in found {
      output.reply(bulk: entry.name)
      output.reply(bulk: entry.value)
    }
  }

  private mutating func setConfiguration() {
    var memory: Int?
    for index in stride(from: 2, to: parser.arguments.count, by: 2) {
      let name = parser.arguments[index]
      let value = parser.arguments[index + 1]
      if name.isWord("maxmemory") {
        guard let bytes = parseByteCount(value.text()) else {
          return fail(
            "ERR CONFIG SET failed (possibly related to argument 'maxmemory') - "
              + "argument must be a memory value")
        }
        memory = bytes == 0 ? .max : bytes
      } else if !isPresentValue(name, value) {
        return failSetting(name)
      }
    }
    if let memory { control.memoryByteCountMax = memory }
    output.replyOK()
  }

  /// True for a setting that this server always has: clients set these without asking. `save` is
  /// accepted with any value, because the log and checkpoints take its place.
  private func isPresentValue(_ name: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer)
    -> Bool
  {
    if name.isWord("save") { return true }
    let wanted = name.text().lowercased()
    return configuration.contains { $0.name == wanted && $0.value == value.text() }
  }

  private mutating func failSetting(_ name: UnsafeRawBufferPointer) {
    let wanted = name.text().lowercased()
    if configuration.contains(where: { $0.name == wanted }) {
      return fail(
        "ERR CONFIG SET failed (possibly related to argument '\(wanted)') - "
          + "can't set it while running")
    }
    fail("ERR Unknown option or number of arguments for CONFIG SET - '\(name.text())'")
  }
}
