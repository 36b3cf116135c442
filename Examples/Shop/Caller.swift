import Base
import NetKit

/// A client of the shop: one link, one request, one reply, before it perhaps a transaction's name.
struct Caller: ~Copyable {
  /// Why there is no reply.
  enum Failure: Error {
    /// Nothing was sent.
    case unreachable
    /// Something was sent; what became of it is not known. If it was told to have begun a
    /// transaction, that is its name.
    case noAnswer(String?)
  }

  private var transport: SocketTransport
  private var input = ByteBuffer()

  /// A little longer than a service tries.
  static var patience: Interval { .seconds(8) }

  init(usesDatagrams: Bool) throws(ListenError) {
    var options = SocketOptions()
    options.peersUseDatagrams = usesDatagrams
    options.connectTimeout = .seconds(2)
    options.datagrams.handshakeTimeout = .seconds(2)
    transport = try SocketTransport(options)
  }

  /// Sends a request to a member of the shop and waits for the reply.
  mutating func ask(_ request: String, at endpoint: Endpoint) throws(Failure) -> String {
    var now = systemMoment()
    let deadline = now.instant + Self.patience
    let link = transport.connect(to: endpoint, at: now)
    var wasSent = false
    var begun: String?
    var reply: String?
    while now.instant < deadline {
      transport.flush(at: now)
      now = transport.wait(until: deadline)
      while let event = transport.next(into: &input, at: now) {
        switch event {
        case .opened(link, _, _):
          wasSent = true
          send(request, on: link, at: now)
        case .received(link) where input.bytes.first == Wire.begun:
          begun = text
        case .received(link) where input.bytes.first == Wire.reply:
          reply = text
        case .closed(link, _) where reply == nil: throw wasSent ? .noAnswer(begun) : .unreachable
        default: break
        }
      }
      // Not before all events are taken: some may have come together with the reply.
      if let reply {
        transport.close(link, afterFlush: true, at: now)
        transport.flush(at: now)
        return reply
      }
    }
    throw wasSent ? .noAnswer(begun) : .unreachable
  }

  /// What came after the first byte.
  private var text: String { String(decoding: input.bytes.dropFirst(), as: UTF8.self) }

  private mutating func send(_ request: String, on link: LinkID, at now: Moment) {
    var message = ByteBuffer()
    message.append(Wire.request)
    message.append(string: request)
    _ = transport.send(message.bytes, on: link, at: now)
  }
}
