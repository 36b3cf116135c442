import Base
import NetKit

extension Path {
  /// One attempt over UDP, at each endpoint in turn until one is not refused.
  ///
  /// Lost datagrams are sent again within the attempt; it ends with the answer, at the deadline,
  /// or when the system reports that nobody listens.
  mutating func exchangeOverDatagrams(
    _ request: Request, until deadline: Instant, seed: UInt64, _ observe: ((ClientEvent) -> Void)?
  ) throws(AttemptFailure) -> Answer {
    try encodeMessage(request)
    var failures: [String] = []
    for endpoint in endpoints {
      observe?(.connecting(endpoint, .udp))
      observe?(.sending(byteCount: output.count, id: request.id))
      do throws(DatagramFailure) {
        return try send(request, to: endpoint, until: deadline, seed: seed)
      } catch {
        switch error {
        case .refused(let text): failures.append("\(endpoint): \(text)")
        case .ended(let failure): throw failure
        }
      }
    }
    throw .notConnected("cannot reach " + failures.joined(separator: ", "))
  }

  private mutating func encodeMessage(_ request: Request) throws(AttemptFailure) {
    output.removeAll()
    if let password = options.password { output.append(Command("AUTH", password)) }
    for command in request.commands { output.append(command) }
    let limit = DatagramOptions().messageByteCountMax
    guard output.count <= limit else {
      throw .tooLarge(
        "the request has \(output.count) bytes, and over UDP at most \(limit) are sent: use TCP")
    }
  }

  private mutating func send(
    _ request: Request, to endpoint: Endpoint, until deadline: Instant, seed: UInt64
  ) throws(DatagramFailure) -> Answer {
    var socket = try open(endpoint)
    var exchange = ClientExchange(
      request: output.bytes, id: request.id, change: request.effect != .read, to: endpoint,
      options: DatagramOptions(), seed: seed, at: systemInstant(), expiry: deadline)
    var datagram = ByteBuffer()
    // Copies sent before the address was proven cannot have been taken, and don't count.
    var harmlessCount = 0
    var mayHaveBeenTaken = exchange.mayHaveBeenTaken
    do {
      try socket.flush(&exchange.outgoing)
      while exchange.state == .waiting {
        if try socket.receive(into: &datagram, until: exchange.deadline) {
          exchange.handle(datagram.bytes, at: systemInstant())
        } else {
          exchange.wake(at: systemInstant())
        }
        if !mayHaveBeenTaken {
          mayHaveBeenTaken = exchange.mayHaveBeenTaken
          harmlessCount = exchange.retransmittedCount
        }
        try socket.flush(&exchange.outgoing)
      }
    } catch {
      // Refused before anything was repeated: the only copy was the one that nobody took.
      let isOnlyCopy = exchange.retransmittedCount == 0 && !exchange.wasHeard
      throw isOnlyCopy ? .refused("\(error)") : .ended(.lost("\(endpoint): \(error)"))
    }
    guard exchange.state == .answered else {
      throw .ended(.expired(wasSent: exchange.mayHaveBeenTaken))
    }
    return Answer(
      replies: try readMessage(exchange.reply),
      wasRepeated: exchange.retransmittedCount > harmlessCount)
  }

  private func open(_ endpoint: Endpoint) throws(DatagramFailure) -> DatagramSocket {
    do {
      return try DatagramSocket(connecting: endpoint)
    } catch {
      throw .refused("\(error)")
    }
  }

  /// The replies within one message, without that to `AUTH` unless it says why there are no others.
  private func readMessage(_ message: UnsafeRawBufferPointer) throws(DatagramFailure) -> [Reply] {
    var reader = RespReader(limits: options.replyLimits)
    reader.input.append(message)
    var replies: [Reply] = []
    do {
      while let reply = try reader.next() { replies.append(reply) }
    } catch {
      throw .ended(.malformed(error.description))
    }
    guard reader.isAtBoundary, let first = replies.first else {
      throw .ended(.malformed("the reply is not whole"))
    }
    guard options.password != nil, replies.count > 1 else { return replies }
    let isRefused = first.error != nil && replies.last?.error?.code == "NOAUTH"
    return isRefused ? [first] : Array(replies.dropFirst())
  }
}

/// How an attempt at one endpoint ended without an answer.
private enum DatagramFailure: Error {
  /// Nobody takes datagrams there; the next endpoint may.
  case refused(String)
  /// The attempt is over.
  case ended(AttemptFailure)
}

extension DatagramSocket {
  /// Sends what is ready.
  fileprivate mutating func flush(_ outgoing: inout OutgoingDatagrams) throws(SocketError) {
    for index in 0..<outgoing.count { try send(outgoing.bytes(at: index)) }
    outgoing.removeFirst(outgoing.count)
  }
}
