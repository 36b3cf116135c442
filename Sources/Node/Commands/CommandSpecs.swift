// One row a command; COMMAND and COMMAND DOCS show them.
extension CommandSpec {
  /// All commands.
  static let all: [CommandSpec] = [
    CommandSpec(
      name: "ping", command: .ping, arity: -1, flags: [.fast], group: "connection",
      since: "1.0.0",
      summary: "Answers PONG or the message."),
    CommandSpec(
      name: "echo", command: .echo, arity: 2, flags: [.fast, .loading], group: "connection",
      since: "1.0.0",
      summary: "Answers the message."),
    CommandSpec(
      name: "hello", command: .hello, arity: -1,
      flags: [.fast, .loading, .noAuth, .noMulti, .noDatagram], group: "connection", since: "6.0.0",
      summary: "Negotiates RESP, authenticates, names the connection."),
    CommandSpec(
      name: "auth", command: .auth, arity: -2, flags: [.fast, .loading, .noAuth, .noMulti],
      group: "connection", since: "1.0.0",
      summary: "Authenticates the connection."),
    CommandSpec(
      name: "select", command: .select, arity: 2, flags: [.fast, .loading, .noDatagram],
      group: "connection", since: "1.0.0",
      summary: "Selects database 0, the only one."),
    CommandSpec(
      name: "quit", command: .quit, arity: -1,
      flags: [.fast, .loading, .noAuth, .notQueued, .noDatagram], group: "connection",
      since: "1.0.0",
      summary: "Closes the connection."),
    CommandSpec(
      name: "reset", command: .reset, arity: 1,
      flags: [.fast, .loading, .noAuth, .notQueued, .noDatagram], group: "connection",
      since: "6.2.0",
      summary: "Returns the connection to its first state."),
    CommandSpec(
      name: "client", command: .client, arity: -2,
      flags: [.container, .loading, .admin, .noDatagram], group: "connection", since: "2.4.0",
      summary: "Tells of and steers client connections."),
    CommandSpec(
      name: "command", command: .command, arity: -1, flags: [.container, .loading], group: "server",
      since: "2.8.13",
      summary: "Tells of commands."),
    CommandSpec(
      name: "config", command: .config, arity: -2, flags: [.container, .loading, .admin],
      group: "server", since: "2.0.0",
      summary: "Reads and sets configuration."),
    CommandSpec(
      name: "info", command: .info, arity: -1, flags: [.loading, .slow], group: "server",
      since: "1.0.0",
      summary: "Tells of the server's state."),
    CommandSpec(
      name: "time", command: .time, arity: 1, flags: [.fast, .loading], group: "server",
      since: "2.6.0",
      summary: "Answers the server's Unix time."),
    CommandSpec(
      name: "dbsize", command: .dbsize, arity: 1, flags: [.readOnly, .fast], group: "server",
      since: "1.0.0",
      summary: "Answers the number of keys."),
    CommandSpec(
      name: "flushdb", command: .flushdb, arity: -1, flags: [.write, .slow], group: "server",
      since: "1.0.0",
      summary: "Removes all keys."),
    CommandSpec(
      name: "flushall", command: .flushall, arity: -1, flags: [.write, .slow], group: "server",
      since: "1.0.0",
      summary: "Removes all keys."),
    CommandSpec(
      name: "save", command: .save, arity: 1, flags: [.admin, .noMulti, .noDatagram],
      group: "server", since: "1.0.0",
      summary: "Forces the log and starts a checkpoint."),
    CommandSpec(
      name: "bgsave", command: .bgsave, arity: -1, flags: [.admin], group: "server", since: "1.0.0",
      summary: "Starts a checkpoint."),
    CommandSpec(
      name: "lastsave", command: .lastsave, arity: 1, flags: [.fast, .loading], group: "server",
      since: "1.0.0",
      summary: "Answers the Unix time of the last checkpoint."),
    CommandSpec(
      name: "wait", command: .wait, arity: 3, flags: [.noMulti], group: "connection",
      since: "3.0.0",
      summary: "Answers the number of replicas that have the writes: 0."),
    CommandSpec(
      name: "shutdown", command: .shutdown, arity: -1,
      flags: [.loading, .admin, .noMulti, .noDatagram], group: "server", since: "1.0.0",
      summary: "Drains, forces and ends the server."),
    CommandSpec(
      name: "get", command: .get, arity: 2, flags: [.readOnly, .fast],
      firstKey: 1, lastKey: 1, step: 1, group: "string", since: "1.0.0",
      summary: "Answers the value of a key."),
    CommandSpec(
      name: "set", command: .set, arity: -3, flags: [.write, .denyOOM],
      firstKey: 1, lastKey: 1, step: 1, group: "string", since: "1.0.0",
      summary: "Sets the value of a key."),
    CommandSpec(
      name: "setnx", command: .setnx, arity: 3, flags: [.write, .denyOOM, .fast],
      firstKey: 1, lastKey: 1, step: 1, group: "string", since: "1.0.0",
      summary: "Sets the value of a key that is absent."),
    CommandSpec(
      name: "setex", command: .setex, arity: 4, flags: [.write, .denyOOM],
      firstKey: 1, lastKey: 1, step: 1, group: "string", since: "2.0.0",
      summary: "Sets value and expiry in seconds."),
    CommandSpec(
      name: "psetex", command: .psetex, arity: 4, flags: [.write, .denyOOM],
      firstKey: 1, lastKey: 1, step: 1, group: "string", since: "2.6.0",
      summary: "Sets value and expiry in milliseconds."),
    CommandSpec(
      name: "getset", command: .getset, arity: 3, flags: [.write, .denyOOM, .fast],
      firstKey: 1, lastKey: 1, step: 1, group: "string", since: "1.0.0",
      summary: "Sets the value, answers the old one."),
    CommandSpec(
      name: "getdel", command: .getdel, arity: 2, flags: [.write, .fast],
      firstKey: 1, lastKey: 1, step: 1, group: "string", since: "6.2.0",
      summary: "Deletes the key, answers its value."),
    CommandSpec(
      name: "getex", command: .getex, arity: -2, flags: [.write, .fast],
      firstKey: 1, lastKey: 1, step: 1, group: "string", since: "6.2.0",
      summary: "Answers the value and sets the expiry."),
    CommandSpec(
      name: "mget", command: .mget, arity: -2, flags: [.readOnly, .fast],
      firstKey: 1, lastKey: -1, step: 1, group: "string", since: "1.0.0",
      summary: "Answers the values of keys."),
    CommandSpec(
      name: "mset", command: .mset, arity: -3, flags: [.write, .denyOOM],
      firstKey: 1, lastKey: -1, step: 2, group: "string", since: "1.0.1",
      summary: "Sets the values of keys, atomically."),
    CommandSpec(
      name: "msetnx", command: .msetnx, arity: -3, flags: [.write, .denyOOM],
      firstKey: 1, lastKey: -1, step: 2, group: "string", since: "1.0.1",
      summary: "Sets the values of keys if all are absent."),
    CommandSpec(
      name: "append", command: .append, arity: 3, flags: [.write, .denyOOM, .fast],
      firstKey: 1, lastKey: 1, step: 1, group: "string", since: "2.0.0",
      summary: "Appends to a value."),
    CommandSpec(
      name: "strlen", command: .strlen, arity: 2, flags: [.readOnly, .fast],
      firstKey: 1, lastKey: 1, step: 1, group: "string", since: "2.2.0",
      summary: "Answers the length of a value."),
    CommandSpec(
      name: "getrange", command: .getrange, arity: 4, flags: [.readOnly],
      firstKey: 1, lastKey: 1, step: 1, group: "string", since: "2.4.0",
      summary: "Answers a part of a value."),
    CommandSpec(
      name: "substr", command: .substr, arity: 4, flags: [.readOnly],
      firstKey: 1, lastKey: 1, step: 1, group: "string", since: "1.0.0",
      summary: "Answers a part of a value."),
    CommandSpec(
      name: "setrange", command: .setrange, arity: 4, flags: [.write, .denyOOM],
      firstKey: 1, lastKey: 1, step: 1, group: "string", since: "2.2.0",
      summary: "Overwrites a part of a value."),
    CommandSpec(
      name: "incr", command: .incr, arity: 2, flags: [.write, .denyOOM, .fast],
      firstKey: 1, lastKey: 1, step: 1, group: "string", since: "1.0.0",
      summary: "Adds one to an integer."),
    CommandSpec(
      name: "decr", command: .decr, arity: 2, flags: [.write, .denyOOM, .fast],
      firstKey: 1, lastKey: 1, step: 1, group: "string", since: "1.0.0",
      summary: "Takes one off an integer."),
    CommandSpec(
      name: "incrby", command: .incrby, arity: 3, flags: [.write, .denyOOM, .fast],
      firstKey: 1, lastKey: 1, step: 1, group: "string", since: "1.0.0",
      summary: "Adds to an integer."),
    CommandSpec(
      name: "decrby", command: .decrby, arity: 3, flags: [.write, .denyOOM, .fast],
      firstKey: 1, lastKey: 1, step: 1, group: "string", since: "1.0.0",
      summary: "Takes off an integer."),
    CommandSpec(
      name: "incrbyfloat", command: .incrbyfloat, arity: 3, flags: [.write, .denyOOM, .fast],
      firstKey: 1, lastKey: 1, step: 1, group: "string", since: "2.6.0",
      summary: "Adds to a number."),
    CommandSpec(
      name: "del", command: .del, arity: -2, flags: [.write],
      firstKey: 1, lastKey: -1, step: 1, group: "generic", since: "1.0.0",
      summary: "Deletes keys."),
    CommandSpec(
      name: "unlink", command: .unlink, arity: -2, flags: [.write, .fast],
      firstKey: 1, lastKey: -1, step: 1, group: "generic", since: "4.0.0",
      summary: "Deletes keys."),
    CommandSpec(
      name: "exists", command: .exists, arity: -2, flags: [.readOnly, .fast],
      firstKey: 1, lastKey: -1, step: 1, group: "generic", since: "1.0.0",
      summary: "Counts which of the keys exist."),
    CommandSpec(
      name: "touch", command: .touch, arity: -2, flags: [.readOnly, .fast],
      firstKey: 1, lastKey: -1, step: 1, group: "generic", since: "3.2.1",
      summary: "Counts which of the keys exist."),
    CommandSpec(
      name: "type", command: .type, arity: 2, flags: [.readOnly, .fast],
      firstKey: 1, lastKey: 1, step: 1, group: "generic", since: "1.0.0",
      summary: "Answers the type of a key's value."),
    CommandSpec(
      name: "expire", command: .expire, arity: -3, flags: [.write, .fast],
      firstKey: 1, lastKey: 1, step: 1, group: "generic", since: "1.0.0",
      summary: "Sets the expiry in seconds from now."),
    CommandSpec(
      name: "pexpire", command: .pexpire, arity: -3, flags: [.write, .fast],
      firstKey: 1, lastKey: 1, step: 1, group: "generic", since: "2.6.0",
      summary: "Sets the expiry in milliseconds from now."),
    CommandSpec(
      name: "expireat", command: .expireat, arity: -3, flags: [.write, .fast],
      firstKey: 1, lastKey: 1, step: 1, group: "generic", since: "1.2.0",
      summary: "Sets the expiry as a Unix time in seconds."),
    CommandSpec(
      name: "pexpireat", command: .pexpireat, arity: -3, flags: [.write, .fast],
      firstKey: 1, lastKey: 1, step: 1, group: "generic", since: "2.6.0",
      summary: "Sets the expiry as a Unix time in milliseconds."),
    CommandSpec(
      name: "ttl", command: .ttl, arity: 2, flags: [.readOnly, .fast],
      firstKey: 1, lastKey: 1, step: 1, group: "generic", since: "1.0.0",
      summary: "Answers the seconds a key has left."),
    CommandSpec(
      name: "pttl", command: .pttl, arity: 2, flags: [.readOnly, .fast],
      firstKey: 1, lastKey: 1, step: 1, group: "generic", since: "2.6.0",
      summary: "Answers the milliseconds a key has left."),
    CommandSpec(
      name: "expiretime", command: .expiretime, arity: 2, flags: [.readOnly, .fast],
      firstKey: 1, lastKey: 1, step: 1, group: "generic", since: "7.0.0",
      summary: "Answers the expiry as a Unix time in seconds."),
    CommandSpec(
      name: "pexpiretime", command: .pexpiretime, arity: 2, flags: [.readOnly, .fast],
      firstKey: 1, lastKey: 1, step: 1, group: "generic", since: "7.0.0",
      summary: "Answers the expiry as a Unix time in milliseconds."),
    CommandSpec(
      name: "persist", command: .persist, arity: 2, flags: [.write, .fast],
      firstKey: 1, lastKey: 1, step: 1, group: "generic", since: "2.2.0",
      summary: "Removes the expiry."),
    CommandSpec(
      name: "keys", command: .keys, arity: 2, flags: [.readOnly, .slow], group: "generic",
      since: "1.0.0",
      summary: "Lists the keys that match a pattern."),
    CommandSpec(
      name: "scan", command: .scan, arity: -2, flags: [.readOnly], group: "generic", since: "2.8.0",
      summary: "Goes through the keys bit by bit."),
    CommandSpec(
      name: "randomkey", command: .randomkey, arity: 1, flags: [.readOnly], group: "generic",
      since: "1.0.0",
      summary: "Answers some key."),
    CommandSpec(
      name: "rename", command: .rename, arity: 3, flags: [.write, .denyOOM],
      firstKey: 1, lastKey: 2, step: 1, group: "generic", since: "1.0.0",
      summary: "Renames a key."),
    CommandSpec(
      name: "renamenx", command: .renamenx, arity: 3, flags: [.write, .denyOOM, .fast],
      firstKey: 1, lastKey: 2, step: 1, group: "generic", since: "1.0.0",
      summary: "Renames a key to an absent one."),
    CommandSpec(
      name: "copy", command: .copy, arity: -3, flags: [.write, .denyOOM],
      firstKey: 1, lastKey: 2, step: 1, group: "generic", since: "6.2.0",
      summary: "Copies a value to another key."),
    CommandSpec(
      name: "multi", command: .multi, arity: 1, flags: [.fast, .loading, .notQueued, .noMulti],
      group: "transactions", since: "1.2.0",
      summary: "Begins a transaction."),
    CommandSpec(
      name: "exec", command: .exec, arity: 1, flags: [.loading, .notQueued], group: "transactions",
      since: "1.2.0",
      summary: "Executes the queued commands, all or none."),
    CommandSpec(
      name: "discard", command: .discard, arity: 1, flags: [.fast, .loading, .notQueued],
      group: "transactions", since: "2.0.0",
      summary: "Drops the queued commands."),
    CommandSpec(
      name: "watch", command: .watch, arity: -2, flags: [.fast, .notQueued, .noMulti, .noDatagram],
      firstKey: 1, lastKey: -1, step: 1, group: "transactions", since: "2.2.0",
      summary: "Makes EXEC depend on keys not changing."),
    CommandSpec(
      name: "unwatch", command: .unwatch, arity: 1, flags: [.fast, .loading], group: "transactions",
      since: "2.2.0",
      summary: "Forgets the watched keys."),
    CommandSpec(
      name: "function", command: .function, arity: -2, flags: [.container], group: "scripting",
      since: "7.0.0", summary: "FLUSH is accepted; there are no functions."),
    CommandSpec(
      name: "update", command: .update, arity: 3, flags: [.write, .denyOOM, .fast],
      firstKey: 1, lastKey: 1, step: 1, group: "tuppence", since: "0.1.0",
      summary: "Replaces the value of a key that exists."),
    CommandSpec(
      name: "once", command: .once, arity: -3, flags: [.loading, .notQueued, .noDatagram],
      group: "tuppence",
      since: "0.1.0",
      summary: "Executes a command at most once for an id."),
    CommandSpec(
      name: "outcome", command: .outcome, arity: -2, flags: [.fast, .noMulti], group: "tuppence",
      since: "0.1.0",
      summary: "Tells what became of an id; SEAL ends it."),
    CommandSpec(
      name: "trace", command: .trace, arity: -1, flags: [.admin], group: "tuppence",
      since: "0.2.0",
      summary: "Shows the last steps of two-phase commit at this member."),
    CommandSpec(
      name: "members", command: .members, arity: -1, flags: [.admin, .noMulti], group: "tuppence",
      since: "0.2.0",
      summary: "Lists the members of the cluster; REMOVE id [FORCE] takes one out."),
    CommandSpec(
      name: "cas", command: .cas, arity: 4, flags: [.write, .denyOOM, .fast],
      firstKey: 1, lastKey: 1, step: 1, group: "tuppence", since: "0.1.0",
      summary: "Sets the value if the key has the version."),
    CommandSpec(
      name: "getv", command: .getv, arity: 2, flags: [.readOnly, .fast],
      firstKey: 1, lastKey: 1, step: 1, group: "tuppence", since: "0.1.0",
      summary: "Answers value and version."),
    CommandSpec(
      name: "check", command: .check, arity: -3, flags: [.write, .fast],
      firstKey: 1, lastKey: 1, step: 1, group: "tuppence", since: "0.1.0",
      summary: "Fails the transaction unless a condition holds."),
  ]
}
