public import Base
public import NetKit

/// How requests travel.
public enum ClientTransport: String, Hashable, Sendable {
  /// One connection, kept between requests.
  case tcp
  /// One message a request; values of up to 1 MiB fit.
  case udp
}

/// Where the server is and how long to wait for it.
public struct ClientOptions: Sendable {
  /// A name or an address; `localhost` is 127.0.0.1, then ::1.
  public var host = "localhost"
  /// The server's port.
  public var port: UInt16 = 9099
  /// How requests travel.
  public var transport = ClientTransport.tcp
  /// Sent before the first command of a connection or message, if there is one.
  public var password: [UInt8]?
  /// The longest that one request may take, all its attempts together.
  public var timeout = Interval.seconds(5)
  /// How often a request is sent again over TCP after a connection was lost; the timeout ends it in
  /// any case. Lost datagrams are not counted.
  public var retryCountMax = Int.max
  /// What is taken from a server at most.
  public var replyLimits = ReplyLimits()

  /// The defaults: localhost, 9099, TCP, 5 s.
  public init() {}
}

/// What a client does, for those who want to watch or log it.
public enum ClientEvent: Sendable {
  /// A connection is tried, or a socket opened.
  case connecting(Endpoint, ClientTransport)
  /// A request leaves for the first time or again, in this many bytes.
  case sending(byteCount: Int, id: OperationID)
  /// An attempt failed, and another follows.
  case retrying(reason: String)
  /// The answer is there, in this many replies.
  case answered(replyCount: Int)
}
