import Base

/// What names a transfer: the client's address and the id of its exchange.
struct TransferKey: Hashable {
  var endpoint: Endpoint
  var id: OperationID

  init(_ endpoint: Endpoint, _ id: OperationID) {
    self.endpoint = endpoint
    self.id = id
  }
}

/// A client's exchange of which the request or the reply takes several datagrams.
struct Transfer: ~Copyable {
  /// How far it is.
  enum Phase {
    /// The request is being put together. Can transition to: waiting, or end by timeout.
    case receiving
    /// The node has the request. Can transition to: sending, or end with the exchange.
    case waiting
    /// The reply is under way. Can transition to: lingering, or end after too many timeouts.
    case sending
    /// The client has everything; only remembered. Ends by timeout or for another's sake.
    case lingering
  }

  let key: TransferKey
  var phase: Phase
  /// The request; of nothing when it came in one datagram. Its bytes leave with the event, what it
  /// knows of fragments stays.
  var reassembly = Reassembly()
  /// The reply; of nothing before `sending` and after.
  var sender = MessageSender()
  var congestion: Congestion
  /// When receiving ends even if fragments still come.
  var receivingEnd = Instant.never
  /// When receiving or lingering ends.
  var deadline = Instant.never
  /// The acknowledgement that was put out last: rewritten in place while it has not left.
  var ackPlace = AckPlace()

  init(_ key: TransferKey, phase: Phase, congestion: Congestion) {
    self.key = key
    self.phase = phase
    self.congestion = congestion
  }
}
