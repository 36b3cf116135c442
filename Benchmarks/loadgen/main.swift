// A load generator that is faster than the servers it measures: requests are prepared, keys are
// drawn from a table, replies are framed and compared in place, and nothing is allocated while it
// runs. Prints one line of JSON. Exit status: 0, 1 (a wrong reply, a lost connection), 2 (usage).

import Base
import Glibc

/// Runs both phases.
func runLoad(_ options: LoadOptions) -> LoadReport {
  func run(_ phase: LoadPhase) -> LoadReport {
    if options.wire == .resp {
      var load = StreamLoad(options, phase)
      return load.run()
    }
    var load = DatagramLoad(options, phase)
    return load.run()
  }
  if options.populates { _ = run(.filling(options)) }
  return run(.measured(options))
}

do {
  let arguments = CommandLine.arguments.dropFirst().map { Array($0.utf8) }
  let values = try LoadOptions.flags.parse(Array(arguments))
  if values.has("help") {
    print("loadgen: load for RESP and UDP key-value servers\n\n" + LoadOptions.flags.renderHelp())
    exit(0)
  }
  if let directory = values.text("probe") {
    print(Probe.run(in: directory))
    exit(0)
  }
  let options = try LoadOptions(values)
  print(runLoad(options).json(options))
} catch {
  complain(error.sentence)
  exit(2)
}
