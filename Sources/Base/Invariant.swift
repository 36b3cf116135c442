/// Stops the process with a sentence when one of our own promises does not hold.
///
/// Active in release builds too; a failed `precondition` prints nothing there. Never used for what
/// a client, a peer or the machine did.
@inlinable
public func invariant(
  _ condition: @autoclosure () -> Bool, _ sentence: @autoclosure () -> String,
  file: StaticString = #fileID, line: UInt = #line
) {
  if !condition() { invariantFailed(sentence(), file: file, line: line) }
}

/// Stops the process with a sentence; the failing half of `invariant`, kept out of line.
@inline(never)
public func invariantFailed(
  _ sentence: String, file: StaticString = #fileID, line: UInt = #line
) -> Never {
  fatalError("invariant broken: \(sentence)", file: file, line: line)
}
