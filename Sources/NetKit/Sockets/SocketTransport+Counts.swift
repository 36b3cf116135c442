// What INFO shows of the network.
extension SocketTransport {
  /// Connections, bytes and datagrams, and why any were turned away.
  public var counts: [(name: String, value: UInt64)] {
    let datagrams = datagramCounters
    return [
      ("connections_accepted", counters.accepted), ("rejected_connections", counters.refused),
      ("accept_failures", counters.acceptFailures), ("tls_hellos_closed", counters.tlsHellos),
      ("closed_by_output_bound", counters.closedByOverflow),
      ("closed_by_timeout", counters.closedByTimeout), ("peer_frames_bad", counters.badFrames),
      ("tcp_bytes_received", counters.bytesReceived), ("tcp_bytes_sent", counters.bytesSent),
      ("tcp_bytes_pending", UInt64(pendingOutputByteCount)),
      ("udp_received", datagrams.received), ("udp_sent", datagrams.sent),
      ("udp_requests", datagrams.requests), ("udp_replies", datagrams.replies),
      ("udp_challenged", datagrams.challenged), ("udp_throttled", datagrams.throttled),
      ("udp_damaged", datagrams.damaged), ("udp_malformed", datagrams.malformed),
      ("udp_oversized", datagrams.oversized), ("udp_stray", datagrams.stray),
      ("udp_overloaded", datagrams.overloaded), ("udp_retransmitted", datagrams.retransmitted),
      ("udp_replies_lost", datagrams.repliesLost),
    ]
  }
}
