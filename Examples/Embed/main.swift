// Three members of a cluster in one process: embed DIRECTORY 1=HOST:PORT,2=HOST:PORT,3=HOST:PORT
import Client
import Tuppence

let list = try MemberList(CommandLine.arguments[2])

func start(_ member: MemberAddress) async throws -> Server {
  let data = "\(CommandLine.arguments[1])/member-\(member.id)"
  return try await .start(ServerOptions(dataDirectory: data, member: member.id, of: list))
}

var servers: [Server] = []
for member in list.entries { servers.append(try await start(member)) }
for server in servers { try await server.reachAllMembers() }

// A transaction at the first member is there at the third when it is acknowledged.
var first = Client(port: servers[0].port)
var third = Client(port: servers[2].port)
_ = try first.transact([
  .increment(key: "alice".byteArray, by: -10), .increment(key: "bob".byteArray, by: 10),
])
guard try third.get("bob") == "10".byteArray else { fatalError("bob has nothing") }

// Without the second member nothing is written, and after two seconds of silence it is named.
try await servers[1].stop()
try await Task.sleep(for: .seconds(3))
do {
  try first.put("bob", "0")
  fatalError("a member was not asked")
} catch {
  print(error)
}
guard try third.get("bob") == "10".byteArray else { fatalError("bob has lost it") }

// It comes back with what it had, and all go on.
servers[1] = try await start(list.entries[1])
for server in servers { try await server.reachAllMembers() }
guard try third.increment("bob") == 11 else { fatalError("bob has not got one more") }
for server in servers { try await server.stop() }
