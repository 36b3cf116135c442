import Base
import Glibc
import Store

/// `serve check DIR` and `serve dump DIR`: look at a data directory that no server uses, without
/// writing to it.
struct Inspection {
  let directory: String

  /// Prints what is not as it was written, one line each, and says whether there was anything.
  func check() throws(Failure) -> ExitCode {
    var files = try open()
    let findings: [Finding]
    do throws(DiskFault) {
      // A mistyped path or an empty backup must not pass for one that is in order.
      guard try files.list().contains(where: { $0.hasPrefix("log-") }) else {
        print("\(directory): holds no data of this server")
        return .damaged
      }
      findings = try checkDirectory(&files)
    } catch {
      throw failure(.fault(error))
    }
    for finding in findings {
      print(
        "\(finding.file): offset \(finding.offset), log sequence number \(finding.mark.number): "
          + "\(describe(finding.kind)): \(finding.reason)")
    }
    let wrong = findings.filter { $0.kind != .leftover }
    let count = wrong.count == 1 ? "1 finding" : "\(wrong.count) findings"
    print("\(directory): \(wrong.isEmpty ? "nothing wrong" : count)")
    if wrong.contains(where: { $0.kind == .newerFormat }) { return .newerFormat }
    return wrong.isEmpty ? .done : .damaged
  }

  /// Prints checkpoint and log as lines of JSON.
  func dump() throws(Failure) -> ExitCode {
    var files = try open()
    var output = ByteBuffer(capacity: Self.outputByteCount)
    var isWritten = true
    do throws(DiskFault) {
      try dumpDirectory(&files) { line in
        output.append(line)
        if output.count >= Self.outputByteCount { isWritten = isWritten && Self.flush(&output) }
      }
    } catch {
      _ = Self.flush(&output)
      throw failure(.fault(error))
    }
    guard isWritten, Self.flush(&output) else {
      throw Failure(.disk, "cannot write to standard output: \(errnoText(errno))")
    }
    return .done
  }

  private static let outputByteCount = 1 << 16

  private func describe(_ kind: Finding.Kind) -> String {
    switch kind {
    case .damage: "damage"
    case .tornTail: "torn tail (a start cuts it)"
    case .newerFormat: "newer format"
    case .leftover: "leftover (a start removes it)"
    }
  }

  private func open() throws(Failure) -> PosixFileSystem {
    do throws(RecoveryError) {
      return try PosixFileSystem(inspecting: directory)
    } catch {
      throw failure(error)
    }
  }

  private func failure(_ error: RecoveryError) -> Failure {
    Failure(error, directory: directory)
  }

  /// Writes all of `output` to standard output and empties it; false when that fails.
  private static func flush(_ output: inout ByteBuffer) -> Bool {
    while !output.isEmpty {
      let count = write(STDOUT_FILENO, output.bytes.baseAddress, output.count)
      if count < 0, errno == EINTR { continue }
      guard count > 0 else { return false }
      output.consume(count)
    }
    return true
  }
}
