import Base
import NetKit

extension Path {
  /// One attempt over TCP, on the connection that is there or on a new one.
  mutating func exchangeOverStream(
    _ request: Request, until deadline: Instant, _ observe: ((ClientEvent) -> Void)?
  ) throws(AttemptFailure) -> Answer {
    if stream == nil {
      try connect(until: deadline, observe)
      if let refusal = try authenticate(until: deadline) {
        reset()
        return Answer(replies: [refusal])
      }
    }
    output.removeAll()
    for command in request.commands.dropLast() { output.append(command) }
    let last = request.commands[request.commands.count - 1]
    output.append(request.effect == .change ? last.once(request.id) : last)
    observe?(.sending(byteCount: output.count, id: request.id))
    return try transfer(replyCount: request.commands.count, until: deadline)
  }

  private mutating func connect(
    until deadline: Instant, _ observe: ((ClientEvent) -> Void)?
  ) throws(AttemptFailure) {
    var failures: [String] = []
    for (index, endpoint) in endpoints.enumerated() {
      observe?(.connecting(endpoint, .tcp))
      do {
        stream = try StreamSocket(
          connecting: endpoint, until: self.deadline(ofEndpoint: index, within: deadline))
        return
      } catch {
        failures.append("\(endpoint): \(error)")
      }
    }
    throw .notConnected("cannot connect to " + failures.joined(separator: ", "))
  }

  /// The server's refusal of the password, or nil. Waits for the answer: before it the server takes
  /// only small requests. That a server wants no password is not a refusal.
  private mutating func authenticate(until deadline: Instant) throws(AttemptFailure) -> Reply? {
    guard let password = options.password else { return nil }
    output.removeAll()
    output.append(Command("AUTH", password))
    do {
      let reply = try transfer(replyCount: 1, until: deadline).last
      return reply.error?.code == "WRONGPASS" ? reply : nil
    } catch {
      throw error.beforeRequest
    }
  }

  /// Sends `output` and reads so many replies.
  private mutating func transfer(
    replyCount: Int, until deadline: Instant
  ) throws(AttemptFailure) -> Answer {
    do {
      try stream!.send(output.bytes, until: deadline)
    } catch .timedOut {
      throw .expired(wasSent: false)
    } catch {
      // A server that refuses a request in its middle answers before it closes.
      if let refusal = try? receive(replyCount: 1, until: systemInstant()),
        refusal.last.error != nil
      {
        reset()
        return refusal
      }
      throw .incomplete(text(error))
    }
    return try receive(replyCount: replyCount, until: deadline)
  }

  private mutating func receive(
    replyCount: Int, until deadline: Instant
  ) throws(AttemptFailure) -> Answer {
    var replies: [Reply] = []
    while replies.count < replyCount {
      if let reply = try readReply() {
        replies.append(reply)
        continue
      }
      do {
        try stream!.receive(into: &reader.input, until: deadline)
      } catch .timedOut {
        throw .expired(wasSent: true)
      } catch {
        guard replies.last?.error != nil else { throw .lost(text(error)) }
        // An error and the end: the server answers no more.
        reset()
        break
      }
    }
    return Answer(replies: replies)
  }

  private mutating func readReply() throws(AttemptFailure) -> Reply? {
    do {
      return try reader.next()
    } catch {
      throw .malformed(error.description)
    }
  }

  private func text(_ error: SocketError) -> String { "connection lost: \(error)" }
}

extension AttemptFailure {
  /// The failure of what precedes a request: of the request itself nothing has left.
  fileprivate var beforeRequest: AttemptFailure {
    switch self {
    case .lost(let text): .incomplete(text)
    case .expired: .expired(wasSent: false)
    default: self
    }
  }
}
