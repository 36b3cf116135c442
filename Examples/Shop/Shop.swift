import Base
import Glibc
import NetKit
import TPC

/// The program: a service of the shop, or a client of it.
@main
struct Shop {
  private let flags: FlagValues
  private let words: [String]
  private let roster: Roster

  private static let table = FlagTable(
    [
      Flag(
        "members", value: "LIST",
        help: "all members: north=127.0.0.1:9201,south=127.0.0.1:9202,\nledger=127.0.0.1:9203"),
      Flag("name", value: "NAME", help: "serve: which of them this process is"),
      Flag("data", value: "DIR", help: "serve: where its journal is kept (default ./shop-NAME)"),
      Flag("at", value: "NAME", help: "the member that coordinates (default: the first)"),
      Flag("udp", short: "u", help: "talk over UDP instead of TCP"),
      Flag("help", short: "h", help: "show this help"),
    ], environmentPrefix: "SHOP_")

  private static var help: String {
    """
    shop: warehouses and a ledger that agree by two-phase commit

    usage: shop serve --name NAME --members LIST [--data DIR]
           shop transfer AMOUNT ARTICLE@VALUE FROM TO
           shop gain AMOUNT ARTICLE@VALUE TO
           shop loss AMOUNT ARTICLE@VALUE FROM
           shop undo TX | redo TX      a new transaction, once for each TX
           shop stock | balance | log | status

    \(table.renderHelp())
    Flags can be set as SHOP_MEMBERS and so on in the environment.
    exit codes:
      0   done
      1   refused, nothing was done: what it takes is not there; a new order may find it
      2   usage, or data that is of another member
      3   nobody answers there
      4   aborted, nothing was done
      5   not known: done if the log has it, now or later
      74  disk or network error, or a damaged journal

    """
  }

  static func main() {
    do throws(UsageError) {
      let arguments = CommandLine.arguments.dropFirst().map { Array($0.utf8) }
      let flags = try table.parse(arguments) { name in
        getenv(name).map { Array(String(cString: $0).utf8) }
      }
      if flags.has("help") { return print(help, terminator: "") }
      exit(try Shop(flags).run())
    } catch {
      complain("\(error.sentence) (shop --help shows the usage)")
      exit(2)
    }
  }

  private init(_ flags: FlagValues) throws(UsageError) {
    guard let members = flags.text("members") else { throw UsageError("--members is missing") }
    roster = try Roster(members)
    words = flags.operands.map { String(decoding: $0, as: UTF8.self) }
    self.flags = flags
  }

  private func run() throws(UsageError) -> Int32 {
    switch (words.first, words.count) {
    case ("serve", 1): return try serve()
    case ("transfer", _), ("gain", _), ("loss", _):
      return order(try wellFormed(Order(words.joined(separator: " "))), at: try coordinator)
    case ("undo", 2), ("redo", 2): return try again(at: try coordinator)
    case ("stock", 1): return stock()
    case ("balance", 1): return show(ask("balance", try ledger))
    case ("log", 1): return try log()
    case ("status", 1): return show(ask("status", try coordinator))
    default: throw UsageError("unknown order: \(words.joined(separator: " "))")
    }
  }

  private func wellFormed(_ order: Order?) throws(UsageError) -> Order {
    guard let order else { throw UsageError("not an order: \(words.joined(separator: " "))") }
    return order
  }

  // MARK: Serving

  private func serve() throws(UsageError) -> Int32 {
    guard let name = flags.text("name"), let member = roster.member(name) else {
      throw UsageError("--name must be one of --members")
    }
    let journal = Journal(
      directory: flags.text("data") ?? "./shop-\(name)", owner: roster.identity(of: member))
    if name == Roster.ledgerName {
      return serve(member, Desk(Ledger(), journal))
    } else {
      return serve(member, Desk(Warehouse(name: name), journal))
    }
  }

  private func serve<Content>(_ member: MemberID, _ desk: consuming Desk<Content>) -> Int32 {
    do throws(ListenError) {
      var service = try Service(member, of: roster, desk, usesDatagrams: flags.has("udp"))
      complain("\(roster.place(of: member).name) serves at \(roster.place(of: member).endpoint)")
      service.run()
      return 0
    } catch {
      stop(error.description)
    }
  }

  // MARK: Asking

  private var ledger: Roster.Place {
    get throws(UsageError) { try place(Roster.ledgerName) }
  }

  private var coordinator: Roster.Place {
    get throws(UsageError) { try place(flags.text("at") ?? roster.places[0].name) }
  }

  private func place(_ name: String) throws(UsageError) -> Roster.Place {
    guard let member = roster.member(name) else { throw UsageError("no member is called \(name)") }
    return roster.place(of: member)
  }

  private func ask(_ request: String, _ place: Roster.Place) -> String {
    do {
      var caller = try Caller(usesDatagrams: flags.has("udp"))
      return try caller.ask(request, at: place.endpoint)
    } catch Caller.Failure.unreachable {
      complain("\(place.name) does not answer at \(place.endpoint)")
      exit(3)
    } catch Caller.Failure.noAnswer(let begun) {
      complain("\(place.name) gave no answer: it is not known what became of it")
      exit(begun.map { show("unknown \($0)") } ?? 5)
    } catch {
      stop("\(error)")
    }
  }

  /// Prints a reply; the exit code says how it ended.
  private func show(_ reply: String) -> Int32 {
    if !reply.isEmpty { print(reply) }
    switch reply.split(separator: " ").first {
    case "refused": return 1
    case "aborted": return 4
    case "unknown": return 5
    default: return 0
    }
  }

  private func order(_ order: Order, at place: Roster.Place) -> Int32 {
    show(ask("\(order)", place))
  }

  /// Undoes or redoes: asks the ledger what it was first, because everybody who had a part in it
  /// has a part in this.
  private func again(at place: Roster.Place) throws(UsageError) -> Int32 {
    guard isTransaction(words[1][...]) else { throw UsageError("not a transaction: \(words[1])") }
    let original = ask("entry \(words[1])", try ledger)
    if original == "unknown" { return show("refused invalid") }
    if original.hasPrefix("aborted") { return show(original) }
    return order(try wellFormed(Order("\(words[0]) \(words[1]) \(original)")), at: place)
  }

  private func stock() -> Int32 {
    for place in roster.places where place.name != Roster.ledgerName {
      let reply = ask("stock", place)
      if reply.hasPrefix("aborted") { return show(reply) }
      for line in reply.split(separator: "\n") { print("\(place.name) \(line)") }
    }
    return 0
  }

  private func log() throws(UsageError) -> Int32 {
    var count = 0
    while true {
      let reply = ask("log \(count)", try ledger)
      if reply.hasPrefix("aborted") { return show(reply) }
      let lines = reply.split(separator: "\n")
      for line in lines { print(line) }
      count += lines.count
      if lines.count < Ledger.pageEntryCount { return 0 }
    }
  }
}
