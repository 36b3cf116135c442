import Base
import NetKit

// The connection itself: who speaks, in which protocol.
extension Node {
  mutating func ping() {
    switch parser.arguments.count {
    case 1: output.append("+PONG\r\n")
    case 2: output.reply(bulk: parser.arguments[1])
    default: fail("ERR wrong number of arguments for 'ping' command")
    }
  }

  mutating func select() {
    guard let number = parseDecimal(parser.arguments[1]) else { return failNotInteger() }
    guard number == 0 else { return fail("ERR DB index is out of range") }
    output.replyOK()
  }

  mutating func quit(_ session: SessionPointer) {
    output.replyOK()
    close(session)
  }

  mutating func reset(_ session: SessionPointer) {
    session.pointee.queue = nil
    session.pointee.watches = []
    session.pointee.resp = 2
    session.pointee.name = []
    session.pointee.replies = .on
    session.pointee.redisTransactions = false
    session.pointee.authenticated = !options.requiresPassword
    output.append("+RESET\r\n")
  }

  // MARK: HELLO and AUTH

  mutating func hello(_ session: SessionPointer) {
    var version = session.pointee.resp
    var index = 1
    if parser.arguments.count > 1 {
      guard let number = parseDecimal(parser.arguments[1]) else {
        return fail("ERR Protocol version is not an integer or out of range")
      }
      guard number == 2 || number == 3 else {
        return fail("NOPROTO unsupported protocol version")
      }
      version = UInt8(number)
      index = 2
    }
    var password: Int?
    var name: Int?
    while index < parser.arguments.count {
      let left = parser.arguments.count - index - 1
      if parser.arguments[index].isWord("auth"), left >= 2 {
        guard parser.arguments[index + 1].isWord("default") else { return failPassword() }
        password = index + 2
        index += 3
      } else if parser.arguments[index].isWord("setname"), left >= 1 {
        name = index + 1
        index += 2
      } else {
        return fail(
          "ERR Syntax error in HELLO option '\(parser.arguments[index].text())'")
      }
    }
    if let name {
      guard isPrintable(parser.arguments[name]) else { return failName() }
      session.pointee.name = [UInt8](parser.arguments[name])
    }
    if let password, options.requiresPassword {
      return check(parser.arguments[password], hello: version, session)
    }
    guard session.pointee.authenticated else {
      return fail(
        "NOAUTH HELLO must be called with the client already authenticated, otherwise the HELLO "
          + "<proto> AUTH <user> <pass> option can be used to authenticate the client and select "
          + "the RESP protocol version at the same time")
    }
    answerHello(session, version)
  }

  private mutating func answerHello(_ session: SessionPointer, _ version: UInt8) {
    session.pointee.resp = version
    resp = version
    output.reply(map: 7, resp: resp)
    output.reply(bulk: "server")
    output.reply(bulk: "redis")
    output.reply(bulk: "version")
    output.reply(bulk: redisVersion)
    output.reply(bulk: "proto")
    output.reply(integer: Int64(version))
    output.reply(bulk: "id")
    output.reply(integer: Int64(session.pointee.clientID))
    output.reply(bulk: "mode")
    output.reply(bulk: "standalone")
    output.reply(bulk: "role")
    output.reply(bulk: "master")
    output.reply(bulk: "modules")
    output.reply(array: 0)
  }

  mutating func auth(_ session: SessionPointer) {
    guard parser.arguments.count <= 3 else { return failSyntax() }
    guard options.requiresPassword else {
      if parser.arguments.count == 3, parser.arguments[1].isWord("default") {
        return output.replyOK()
      }
      return fail(
        "ERR AUTH <password> called without any password configured for the default user. Are you "
          + "sure your configuration is correct?")
    }
    if parser.arguments.count == 3, !parser.arguments[1].isWord("default") {
      return failPassword()
    }
    check(parser.arguments[parser.arguments.count - 1], hello: 0, session)
  }

  private mutating func failPassword() {
    fail("WRONGPASS invalid username-password pair or user is disabled.")
  }

  /// Has a password checked off the loop; the session waits for the answer.
  private mutating func check(
    _ password: UnsafeRawBufferPointer, hello: UInt8, _ session: SessionPointer
  ) {
    let ticket = newTicket()
    guard let passwords, passwords.start(ticket: ticket, password: [UInt8](password)) else {
      return fail("ERR too many passwords are being checked; try again")
    }
    session.pointee.stall = .password(ticket: ticket, hello: hello)
    control.passwordWaiters.append((ticket, session.pointee.link))
  }

  /// Answers the session whose password was checked, into `output`; returns its link.
  mutating func passwordChecked(ticket: UInt64, accepted: Bool) -> LinkID? {
    guard let at = control.passwordWaiters.firstIndex(where: { $0.ticket == ticket }) else {
      return nil
    }
    let link = control.passwordWaiters.remove(at: at).link
    guard let session = sessions[link],
      case .password(ticket, let hello) = session.pointee.stall
    else { return nil }
    session.pointee.stall = .none
    resp = session.pointee.resp
    let start = output.count
    if accepted {
      session.pointee.authenticated = true
      if hello > 0 { answerHello(session, hello) } else { output.replyOK() }
    } else {
      failPassword()
    }
    finishLateReply(session, from: start)
    if !session.pointee.isReady { becomeReady(session) }
    return link
  }

  // MARK: CLIENT

  mutating func client(_ session: SessionPointer) {
    let word = parser.arguments[1]
    if word.isWord("id") {
      output.reply(integer: Int64(session.pointee.clientID))
    } else if word.isWord("getname") {
      if session.pointee.name.isEmpty { return output.replyNil(resp: resp) }
      session.pointee.name.withUnsafeBytes { output.reply(bulk: $0) }
    } else if word.isWord("setname") {
      guard isPrintable(parser.arguments[2]) else { return failName() }
      session.pointee.name = [UInt8](parser.arguments[2])
      output.replyOK()
    } else if word.isWord("setinfo") {
      setInfo(session)
    } else if word.isWord("info") {
      output.reply(text: describe(session) + "\n", resp: resp)
    } else if word.isWord("list") {
      listClients()
    } else if word.isWord("kill") {
      killClients(session)
    } else if word.isWord("reply") {
      setReplies(session)
    } else if word.isWord("no-evict") {
      guard parser.arguments[2].isWord("on") || parser.arguments[2].isWord("off") else {
        return failSyntax()
      }
      output.replyOK()
    } else {
      setTransactionMode(session)
    }
  }

  private mutating func failName() {
    fail("ERR Client names cannot contain spaces, newlines or special characters.")
  }

  private func isPrintable(_ bytes: UnsafeRawBufferPointer) -> Bool {
    bytes.count <= 1_024 && bytes.allSatisfy { $0 >= 33 && $0 <= 126 }
  }

  private mutating func setInfo(_ session: SessionPointer) {
    guard isPrintable(parser.arguments[3]) else {
      return fail(
        "ERR \(parser.arguments[2].text()) cannot contain spaces, newlines or special characters.")
    }
    if parser.arguments[2].isWord("lib-name") {
      session.pointee.libraryName = [UInt8](parser.arguments[3])
    } else if parser.arguments[2].isWord("lib-ver") {
      session.pointee.libraryVersion = [UInt8](parser.arguments[3])
    } else {
      return fail("ERR Unrecognized option '\(parser.arguments[2].text())'")
    }
    output.replyOK()
  }

  private mutating func setReplies(_ session: SessionPointer) {
    let word = parser.arguments[2]
    if word.isWord("on") {
      session.pointee.replies = .on
      output.replyOK()
    } else if word.isWord("off") {
      session.pointee.replies = .off
    } else if word.isWord("skip") {
      if session.pointee.replies == .on { session.pointee.replies = .skipNext }
    } else {
      failSyntax()
    }
  }

  /// `CLIENT TXMODE atomic|redis`: whether a command that fails in EXEC undoes the others.
  private mutating func setTransactionMode(_ session: SessionPointer) {
    if parser.arguments[2].isWord("redis") {
      session.pointee.redisTransactions = true
    } else if parser.arguments[2].isWord("atomic") {
      session.pointee.redisTransactions = false
    } else {
      return failSyntax()
    }
    output.replyOK()
  }

  private func describe(_ session: SessionPointer) -> String {
    let client = session.pointee
    let age = (now.instant - client.openedAt).millis / 1_000
    let idle = (now.instant - client.activeAt).millis / 1_000
    let queued = client.queue.map { $0.argumentCounts.count } ?? -1
    let text = { (bytes: [UInt8]) in String(decoding: bytes, as: UTF8.self) }
    return "id=\(client.clientID) addr=\(client.endpoint) laddr=:\(options.port) fd=-1"
      + " name=\(text(client.name)) age=\(age) idle=\(idle) flags=\(queued >= 0 ? "x" : "N")"
      + " db=0 sub=0 psub=0 multi=\(queued) qbuf=\(client.tail.buffer.count) qbuf-free=0"
      + " argv-mem=0 multi-mem=0 obl=0 oll=\(client.heldCount) omem=\(client.heldByteCount)"
      + " tot-mem=\(client.tail.buffer.capacity + client.heldByteCount) events=r"
      + " cmd=\(commands.spec(of: client.lastCommand).pointee.name) user=default redir=-1"
      + " resp=\(client.resp) lib-name=\(text(client.libraryName))"
      + " lib-ver=\(text(client.libraryVersion))"
  }

  private mutating func listClients() {
    var wanted: Set<UInt64>?
    let count = parser.arguments.count
    if count > 3, parser.arguments[2].isWord("id") {
      wanted = []
      for index in 3..<count {
        guard let id = parseDecimal(parser.arguments[index]), id > 0 else {
          return fail("ERR Invalid client ID")
        }
        wanted!.insert(UInt64(id))
      }
    } else if count == 4, parser.arguments[2].isWord("type") {
      guard parser.arguments[3].isWord("normal") else {
        return output.reply(text: "", resp: resp)
      }
    } else if count != 2 {
      return failSyntax()
    }
    var text = ""
    sessions.visit { session in
      if wanted?.contains(session.pointee.clientID) ?? true { text += describe(session) + "\n" }
    }
    output.reply(text: text, resp: resp)
  }

  private mutating func killClients(_ session: SessionPointer) {
    var filter = KillFilter(skipsSelf: parser.arguments.count > 3)
    if parser.arguments.count == 3 {
      filter.address = parser.arguments[2].text()
    } else if !read(&filter) {
      return
    }
    var victims: [SessionPointer] = []
    sessions.visit { other in
      if filter.address.map({ $0 == other.pointee.endpoint.description }) ?? true,
        filter.id.map({ $0 == other.pointee.clientID }) ?? true,
        !filter.nobody, !(filter.skipsSelf && other == session)
      {
        victims.append(other)
      }
    }
    for victim in victims { close(victim) }
    if parser.arguments.count > 3 { return output.reply(integer: victims.count) }
    victims.isEmpty ? fail("ERR No such client") : output.replyOK()
  }

  private struct KillFilter {
    var address: String?
    var id: UInt64?
    var skipsSelf: Bool
    /// A filter that no client of this server can match.
    var nobody = false
  }

  private mutating func read(_ filter: inout KillFilter) -> Bool {
    var index = 2
    while index < parser.arguments.count {
      guard index + 1 < parser.arguments.count else {
        failSyntax()
        return false
      }
      let word = parser.arguments[index]
      let value = parser.arguments[index + 1]
      if word.isWord("addr") {
        filter.address = value.text()
      } else if word.isWord("id"), let id = parseDecimal(value), id > 0 {
        filter.id = UInt64(id)
      } else if word.isWord("laddr") {
        filter.nobody = filter.nobody || value.text() != ":\(options.port)"
      } else if word.isWord("type") {
        filter.nobody = filter.nobody || !value.isWord("normal")
      } else if word.isWord("user") {
        filter.nobody = filter.nobody || !value.isWord("default")
      } else if word.isWord("skipme"), value.isWord("yes") || value.isWord("no") {
        filter.skipsSelf = value.isWord("yes")
      } else {
        failSyntax()
        return false
      }
      index += 2
    }
    return true
  }
}
