import Base
import TPC

/// Whole runs as text: lines that begin with `> ` are steps, the lines below each are what
/// followed.
///
/// Steps: `begin N write K... read K... op X refuse N only N patience MS`; `deliver A-B` (all now
/// under way from A to B; `*` for any); `lose A-B`; `repeat A-B [COUNT]` (what was ever under way from A to
/// B, in order); `force N`; `crash N` (keeps what is forced) or `crash N keep K` (and K more
/// records); `start N`; `wake N`; `remove N at M` (by force); `dismiss N at M` (by
/// agreement); `join N at M`; `unreachable N at M`; `settle` (delivers and forces until nothing is
/// under way); `rest` (the end: all up, all is well); `show` (tables, locks, doubts, memory).
public struct Script {
  private let world: World
  private var history: [World.Message] = []
  private var output: [String] = []

  /// Runs the steps of `text`; returns them with what followed each.
  public static func run(_ text: String) -> String {
    let lines = text.split(separator: "\n", omittingEmptySubsequences: false).map(String.init)
    let count = lines.first { $0.hasPrefix("nodes ") }.flatMap { Int($0.dropFirst(6)) } ?? 3
    let guests = lines.first { $0.hasPrefix("guests ") }.flatMap { Int($0.dropFirst(7)) } ?? 0
    var script = Script(nodeCount: count, guestCount: guests)
    for line in lines {
      if line.hasPrefix("> ") {
        script.output.append(line)
        script.step(line.dropFirst(2).split(separator: " ").map(String.init))
        script.collect()
      } else if line.hasPrefix("#") || line.hasPrefix("nodes ") || line.hasPrefix("guests ")
        || line.isEmpty
      {
        script.output.append(line)
      }
    }
    return script.output.joined(separator: "\n")
  }

  private init(nodeCount: Int, guestCount: Int) {
    world = World(nodeCount: nodeCount, guestCount: guestCount, keepsJournal: true)
  }

  private mutating func collect() {
    output += world.journal.map { "  " + $0 }
    output += world.violations.map { "  WRONG: " + $0 }
    world.journal = []
    world.violations = []
  }

  private mutating func step(_ words: [String]) {
    let arguments = Array(words.dropFirst())
    switch words[0] {
    case "begin": begin(arguments)
    case "deliver": for message in take(arguments[0]) { world.deliver(message) }
    case "lose": _ = take(arguments[0])
    case "repeat":
      let old = history.filter { Self.matches($0, arguments[0]) }
      let count = arguments.count > 1 ? Int(arguments[1]) ?? 0 : old.count
      for message in old.prefix(count) { world.deliver(message) }
    case "force": world.force(node(arguments[0]))
    case "crash":
      let node = node(arguments[0])
      let more = arguments.count > 2 ? Int(arguments[2]) ?? 0 : 0
      world.crash(node, keeping: node.resource.forcedCount + more)
    case "start": world.start(node(arguments[0]))
    case "wake": world.wake(node(arguments[0]))
    case "remove": world.remove(node(arguments[0]).member, at: node(arguments[2]))
    case "unreachable": world.lose(node(arguments[0]).member, at: node(arguments[2]))
    case "dismiss":
      var request = WorldNode.Request()
      request.dismisses = node(arguments[0]).member
      report(world.begin(request, at: node(arguments[2])), arguments[2])
    case "join":
      report(world.join(node(arguments[0]), at: node(arguments[2])), arguments[2])
    case "settle": settle()
    case "rest": world.comeToRest()
    case "show": show()
    default: output.append("  ? \(words[0])")
    }
  }

  private func node(_ word: String) -> WorldNode { world.node(Int(word) ?? 1) }

  // MARK: Steps

  private mutating func begin(_ words: [String]) {
    var request = WorldNode.Request()
    var word = ""
    for next in words.dropFirst() {
      guard let number = UInt64(next) else {
        word = next
        continue
      }
      switch word {
      case "write": request.writes.append(UInt8(number))
      case "read": request.reads.append(UInt8(number))
      case "op": request.operation = OperationID(high: 1, low: number)
      case "refuse": request.refusedBy.insert(MemberID(UInt16(number)))
      case "only": request.participants = MemberSet([MemberID(UInt16(number))])
      case "patience": request.patience = .millis(number)
      default: output.append("  ? \(word)")
      }
    }
    report(world.begin(request, at: node(words[0])), words[0])
  }

  private mutating func report(_ outcome: Beginning, _ number: String) {
    if case .started = outcome { return }
    output.append("  node \(number): \(outcome)")
  }

  private mutating func take(_ pair: String) -> [World.Message] {
    let chosen = world.network.filter { Self.matches($0, pair) }
    world.network.removeAll { Self.matches($0, pair) }
    history += chosen
    return chosen
  }

  private static func matches(_ message: World.Message, _ pair: String) -> Bool {
    let ends = pair.split(separator: "-").map(String.init)
    return (ends[0] == "*" || ends[0] == "\(message.from)")
      && (ends[1] == "*" || ends[1] == "\(message.to)")
  }

  private mutating func settle() {
    for _ in 0..<100 {
      for node in world.actors { world.force(node) }
      let messages = take("*-*")
      if messages.isEmpty { return }
      for message in messages { world.deliver(message) }
    }
  }

  private mutating func show() {
    for node in world.live {
      let table = node.resource.table.sorted { $0.key < $1.key }
        .map { "\($0.key)=\($0.value.number)" }
      var words = ["node \(node.member)\(node.isUp ? "" : " (down)"):"] + table
      words.append("locks \(node.negotiator.lockCount)")
      words.append("knows \(node.negotiator.knownCount)")
      for doubt in node.negotiator.inDoubt {
        let others = doubt.waitsFor.map { "\($0)" }.joined(separator: " ")
        words.append("in doubt \(doubt.id) attempt \(doubt.attempt) waits for \(others)")
      }
      output.append("  " + words.joined(separator: " "))
    }
  }
}
