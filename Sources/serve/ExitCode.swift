import Store
import Tuppence

/// How `serve` ends; the numbers of `sysexits.h` where one fits.
enum ExitCode: Int32 {
  /// Ended as asked: SIGTERM, SIGINT or SHUTDOWN, everything forced.
  case done = 0
  /// The command line is wrong.
  case usage = 2
  /// The data directory is damaged; the message names file, offset and log sequence number.
  case damaged = 65
  /// The data directory was written by a newer version.
  case newerFormat = 66
  /// An address cannot be resolved or listened on.
  case address = 71
  /// Another server uses the data directory.
  case directoryInUse = 73
  /// The disk failed: a write or a force returned an error, or a file cannot be read.
  case disk = 74
  /// The configuration asks for what is not safe or not possible.
  case configuration = 78
}

/// Why the server cannot start or go on, in one sentence, with its exit code.
struct Failure: Error {
  var code: ExitCode
  var sentence: String

  init(_ code: ExitCode, _ sentence: String) {
    self.code = code
    self.sentence = sentence
  }
}

extension Failure {
  /// Why a data directory cannot be served or looked at, and what to do.
  init(_ error: RecoveryError, directory: String) {
    switch error {
    case .damaged:
      self.init(
        .damaged,
        "\(error) (in \(directory)). Nothing was changed. \"serve check \(directory)\" lists the "
          + "places, \"serve dump \(directory)\" prints what can be read; restore a "
          + "backup or, of a cluster's member: remove it and let it join anew")
    case .newerFormat: self.init(.newerFormat, "\(error) (in \(directory))")
    case .inUse: self.init(.directoryInUse, "\(directory): \(error)")
    case .fault(let fault): self.init(.disk, describe(fault, in: directory))
    }
  }
}

extension Failure {
  /// Why the server cannot start; `directory` is that of its data.
  init(_ error: OpenFailure, directory: String = "") {
    switch error {
    case .member(let id, let error): self.init(.address, "member \(id) of --cluster: \(error)")
    case .directory(let error): self.init(error, directory: directory)
    case .network(let error): self.init(.address, error.description)
    }
  }
}

/// A fault with the C library's words for it.
func describe(_ fault: DiskFault, in directory: String) -> String {
  "\(fault) (\(errnoText(fault.errno)); data in \(directory))"
}
