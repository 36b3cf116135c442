import Base

/// What either side shows to prove that it knows the cluster's secret: a code of the whole
/// handshake.
///
/// ```
/// 16  "tuppence peer 1" and a zero byte
///  1  role: 1 the caller, 2 who answers
///  2  length of the caller's hello, then that hello
///  2  length of the answer, then that hello
/// ```
///
/// Both nonces are in the hellos, so an old code proves nothing; so are ids, cluster, versions and
/// incarnations, so nobody in between can change them. The role keeps a code from being sent back
/// to who made it. The caller proves first: a stranger who connects gets no code to try secrets on.
enum PeerProof {
  enum Role: UInt8 {
    case caller = 1
    case answerer = 2
  }

  /// Bytes of a code.
  static var codeByteCount: Int { 32 }

  /// The code of a handshake; zeroes where there is no secret.
  static func code(
    by role: Role, caller: [UInt8], answerer: [UInt8],
    _ authenticator: (any MessageAuthenticator)?
  ) -> [UInt8] {
    guard let authenticator else { return [UInt8](repeating: 0, count: codeByteCount) }
    var script = ByteBuffer(capacity: 32 + caller.count + answerer.count)
    script.append("tuppence peer 1\0")
    script.append(role.rawValue)
    for hello in [caller, answerer] {
      script.append(little: UInt16(hello.count))
      script.append(hello)
    }
    let code = authenticator.code(of: script.bytes)
    invariant(code.count == codeByteCount, "an authenticator makes codes of 32 bytes")
    return code
  }
}
