import Base
import NetKit
import Store

// The server: time, saving, the list of commands.
extension Node {
  mutating func time() {
    let micros = now.wallNanos / 1_000
    output.reply(array: 2)
    output.reply(bulk: String(micros / 1_000_000))
    output.reply(bulk: String(micros % 1_000_000))
  }

  /// Answers once everything executed so far is forced, whatever the durability; starts a
  /// checkpoint.
  mutating func save(_ session: SessionPointer) {
    guard let database else { return }
    control.checkpointRequested = true
    session.pointee.stall = .save(database.pointee.log.appended)
    control.saveWaiters.append(session.pointee.link)
  }

  /// The sessions whose SAVE is forced through `forced`; each is to be answered, and goes on.
  mutating func finishSaves(forced: Mark) -> [LinkID] {
    guard !control.saveWaiters.isEmpty else { return [] }
    var done: [LinkID] = []
    var left: [LinkID] = []
    for link in control.saveWaiters {
      guard let session = sessions[link], case .save(let mark) = session.pointee.stall else {
        continue
      }
      guard mark <= forced else {
        left.append(link)
        continue
      }
      session.pointee.stall = .none
      if !session.pointee.isReady { becomeReady(session) }
      done.append(link)
    }
    control.saveWaiters = left
    return done
  }

  /// Answers a session that `finishSaves` gave.
  mutating func answerSave(_ link: LinkID) {
    guard let session = sessions[link] else { return }
    output.replyOK()
    finishLateReply(session, from: 0)
  }

  mutating func backgroundSave() {
    if control.checkpointRunning || control.checkpointRequested {
      return fail("ERR Background save already in progress")
    }
    control.checkpointRequested = true
    output.reply(simple: "Background saving started")
  }

  /// No replicas yet: 0 of them have the writes. The writes themselves are durable when this is
  /// answered, because the reply stands behind theirs.
  mutating func wait() {
    guard let replicas = parseDecimal(parser.arguments[1]),
      let timeout = parseDecimal(parser.arguments[2])
    else { return failNotInteger() }
    guard replicas >= 0 else { return failNotInteger() }
    guard timeout >= 0 else { return fail("ERR timeout is negative") }
    if let database, database.pointee.log.appended > durable { replyWaits = true }
    output.reply(integer: 0)
  }

  /// Removing all functions leaves none, as there were; nothing else of FUNCTION exists.
  mutating func function() {
    output.replyOK()
  }

  mutating func shutdown(_ session: SessionPointer) {
    for index in 1..<parser.arguments.count {
      let word = parser.arguments[index]
      guard
        word.isWord("save") || word.isWord("nosave") || word.isWord("now") || word.isWord("force")
      else { return failSyntax() }
    }
    control.stopRequested = true
    close(session)
  }

  // MARK: COMMAND

  mutating func describeCommands() {
    guard parser.arguments.count > 1 else {
      output.reply(array: CommandSpec.all.count)
      for spec in CommandSpec.all { describe(spec) }
      return
    }
    let word = parser.arguments[1]
    if word.isWord("count") {
      output.reply(integer: CommandSpec.all.count)
    } else if word.isWord("info") {
      let names = parser.arguments.count - 2
      if names == 0 {
        output.reply(array: CommandSpec.all.count)
        for spec in CommandSpec.all { describe(spec) }
        return
      }
      output.reply(array: names)
      for index in 2..<parser.arguments.count {
        if let spec = commands.find(parser.arguments[index]) {
          describe(spec.pointee)
        } else {
          output.replyNilArray(resp: resp)
        }
      }
    } else {
      describeDocuments()
    }
  }

  private mutating func describe(_ spec: CommandSpec) {
    output.reply(array: 10)
    output.reply(bulk: spec.name.description)
    output.reply(integer: spec.arity)
    let flags = Self.flagNames(spec.flags)
    output.reply(set: flags.count, resp: resp)
    for flag in flags { output.append(string: "+\(flag)\r\n") }
    output.reply(integer: spec.firstKey)
    output.reply(integer: spec.lastKey)
    output.reply(integer: spec.step)
    output.reply(set: 0, resp: resp)
    output.reply(array: 0)
    output.reply(array: 0)
    output.reply(array: 0)
  }

  private static func flagNames(_ flags: CommandFlags) -> [String] {
    var names: [String] = []
    if flags.contains(.write) { names.append("write") }
    if flags.contains(.readOnly) { names.append("readonly") }
    if flags.contains(.denyOOM) { names.append("denyoom") }
    if flags.contains(.admin) { names.append("admin") }
    if flags.contains(.noAuth) { names.append("no_auth") }
    if flags.contains(.loading) { names.append("loading") }
    if flags.contains(.fast) { names.append("fast") }
    return names
  }

  private mutating func describeDocuments() {
    var specs: [CommandSpec] = []
    if parser.arguments.count == 2 {
      specs = CommandSpec.all
    } else {
      for index in 2..<parser.arguments.count {
        if let spec = commands.find(parser.arguments[index]) { specs.append(spec.pointee) }
      }
    }
    output.reply(map: specs.count, resp: resp)
    for spec in specs {
      output.reply(bulk: spec.name.description)
      output.reply(map: 3, resp: resp)
      output.reply(bulk: "summary")
      output.reply(bulk: spec.summary.description)
      output.reply(bulk: "since")
      output.reply(bulk: spec.since.description)
      output.reply(bulk: "group")
      output.reply(bulk: spec.group.description)
    }
  }
}
