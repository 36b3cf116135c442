import Base

/// Why a data directory cannot be served.
///
/// `serve` ends with 65 for `damaged`, 66 for `newerFormat`, 73 for `inUse` and 74 for `fault`.
public enum RecoveryError: Error, Equatable, Sendable {
  /// Bytes that had been durable are not what was written. Nothing of the directory was changed.
  ///
  /// `offset` is where in `file` the broken record, chunk or header begins; `mark` is the log
  /// sequence number expected there (for a checkpoint: the last one that it includes).
  case damaged(file: String, offset: UInt64, mark: Mark, reason: String)
  /// `file` was written by a later version of the software, in a format that this one cannot read.
  case newerFormat(file: String, version: UInt32)
  /// A call to the operating system failed.
  case fault(DiskFault)
  /// Another process holds the directory.
  case inUse
}

extension RecoveryError: CustomStringConvertible {
  /// One sentence for the log, without what to do about it.
  public var description: String {
    switch self {
    case .damaged(let file, let offset, let mark, let reason):
      "\(file) is damaged at offset \(offset), log sequence number \(mark.number): \(reason)"
    case .newerFormat(let file, let version):
      "\(file) has format version \(version), which this version cannot read"
    case .fault(let fault):
      fault.description
    case .inUse:
      "the data directory is in use by another server"
    }
  }
}

extension DiskFault: CustomStringConvertible {
  /// The call, the file and the number; the text of the number is the mains' to add.
  public var description: String {
    "\(call) of \(file.isEmpty ? "the data directory" : file) failed with error number \(errno)"
  }
}
