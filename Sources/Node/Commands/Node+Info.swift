import Base
import Store

// INFO.
extension Node {
  mutating func info() {
    var wanted: [String] = []
    for index in 1..<max(1, parser.arguments.count) {
      wanted.append(parser.arguments[index].text().lowercased())
    }
    let all = wanted.isEmpty || !Set(["all", "default", "everything"]).isDisjoint(with: wanted)
    var text = ""
    for (name, lines) in sections() where all || wanted.contains(name.lowercased()) {
      if !text.isEmpty { text += "\r\n" }
      text += "# \(name)\r\n"
      for (key, value) in lines { text += "\(key):\(value)\r\n" }
    }
    output.reply(text: text, resp: resp)
  }

  private typealias Lines = [(String, String)]

  private func sections() -> [(String, Lines)] {
    [
      ("Server", serverLines()), ("Clients", clientLines()), ("Memory", memoryLines()),
      ("Persistence", persistenceLines()), ("Stats", statisticsLines()),
      ("Network", transportCounts.map { ($0.name, String($0.value)) }),
      ("Replication", [("role", "master"), ("connected_slaves", "0")]),
      ("Cluster", clusterLines()), ("Tuppence", ownLines()),
      ("Keyspace", keyspaceLines()),
    ]
  }

  private func serverLines() -> Lines {
    let uptime = (now.instant - startedAt.instant).millis / 1_000
    return [
      ("redis_version", redisVersion), ("tuppence_version", tuppenceVersion),
      ("redis_mode", "standalone"), ("os", "Linux"), ("arch_bits", "64"),
      ("process_id", String(options.processID)), ("tcp_port", String(options.port)),
      ("uptime_in_seconds", String(uptime)), ("uptime_in_days", String(uptime / 86_400)),
    ]
  }

  private func clientLines() -> Lines {
    [
      ("connected_clients", String(sessions.count)),
      ("maxclients", String(options.connectionCountMax)), ("blocked_clients", "0"),
      ("replies_waiting_bytes", String(gate.byteCount)),
    ]
  }

  private func memoryLines() -> Lines {
    let bound = control.memoryByteCountMax == .max ? 0 : control.memoryByteCountMax
    return [
      ("used_memory", String(database?.pointee.usedByteCount ?? 0)),
      ("used_memory_outcomes", String(database?.pointee.outcomesUsedByteCount ?? 0)),
      ("used_memory_ledger", String(database?.pointee.ledgerUsedByteCount ?? 0)),
      ("maxmemory", String(bound)), ("maxmemory_policy", "noeviction"),
    ]
  }

  private func persistenceLines() -> Lines {
    [
      ("loading", database == nil ? "1" : "0"),
      ("aof_enabled", "1"), ("durability", options.durability.rawValue),
      ("rdb_bgsave_in_progress", control.checkpointRunning ? "1" : "0"),
      ("rdb_last_save_time", String(control.lastSaveSeconds)),
      ("rdb_changes_since_last_save", String(database?.pointee.log.appended.number ?? 0)),
      ("log_appended", String(database?.pointee.log.appended.number ?? 0)),
      ("log_durable", String(durable.number)),
      ("log_bytes", String(control.logByteCount)),
      ("checkpoint_bytes", String(control.checkpointByteCount)),
      ("checkpoints", String(counters.checkpoints)), ("disk_full", noSpace ? "1" : "0"),
      ("groups", String(counters.groups)), ("forces", String(counters.forces)),
    ]
  }

  private func statisticsLines() -> Lines {
    [
      ("total_connections_received", String(counters.connections)),
      ("total_commands_processed", String(counters.commands)),
      ("total_udp_requests", String(counters.requests)),
      ("total_error_replies", String(counters.errors)),
      ("protocol_errors", String(counters.protocolErrors)),
      ("total_net_input_bytes", String(counters.inputBytes)),
      ("total_net_output_bytes", String(counters.outputBytes)),
      ("expired_keys", String(counters.expired)), ("evicted_keys", "0"),
      ("keyspace_hits", String(counters.hits)), ("keyspace_misses", String(counters.misses)),
      ("loop_turns", String(counters.turns)),
    ]
  }

  private func ownLines() -> Lines {
    [
      ("mode", cluster == nil ? "alone" : "tpc"), ("data_directory", options.dataDirectory),
      ("outcomes_age_seconds", String(options.database.outcomesAgeMillis / 1_000)),
      ("outcomes_horizon_millis", String(database?.pointee.horizonMillis ?? 0)),
      ("outcomes_duplicates_answered", String(counters.duplicates)),
      ("closed_for_input_bound", String(counters.closedForInput)),
    ]
  }

  private func keyspaceLines() -> Lines {
    guard let database, database.pointee.count > 0 else { return [] }
    let expires = database.pointee.expiringCount
    return [("db0", "keys=\(database.pointee.count),expires=\(expires),avg_ttl=0")]
  }
}
