/// What of `INFO` tells how a server is, in the order in which it is shown.
private let essentialNames = [
  "tuppence_version", "mode", "durability", "data_directory", "tcp_port", "uptime_in_seconds",
  "loading", "disk_full", "connected_clients", "total_commands_processed", "total_udp_requests",
  "used_memory", "maxmemory", "log_bytes", "checkpoint_bytes", "member_id", "member_address",
  "cluster_epoch", "members", "members_reachable", "membership_alarm", "clock_alarm", "confirmed",
  "transactions_open", "transactions_in_doubt",
]

/// Whether a field tells of one other member, or of one transaction in doubt.
private func isOfCluster(_ field: (name: String, value: String)) -> Bool {
  field.name.hasPrefix("in_doubt")
    || field.name.hasPrefix("member") && field.value.contains("state=")
}

/// The fields of `INFO` that `clie -o status` shows; all fields when none of them is known.
func essentials(_ fields: [(name: String, value: String)]) -> [(name: String, value: String)] {
  let chosen = essentialNames.compactMap { name in fields.first { $0.name == name } }
  let cluster = fields.filter(isOfCluster)
  let databases = fields.filter { $0.name.hasPrefix("db") && $0.value.hasPrefix("keys=") }
  return chosen.isEmpty ? fields : chosen + databases + cluster
}
