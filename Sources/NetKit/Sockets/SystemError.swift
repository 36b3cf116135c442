internal import Glibc

/// A system call that failed: its name and the errno it left.
public struct SystemError: Error, Hashable, Sendable {
  /// The name of the C function, such as `connect`.
  public var call: String
  /// The errno, such as `ECONNREFUSED`.
  public var code: Int32

  /// Builds the error of a call whose errno was read already.
  public init(_ call: StaticString, code: Int32) {
    self.call = call.description
    self.code = code
  }

  /// The error of the call that just failed on this thread.
  @inline(never)
  static func last(_ call: StaticString) -> SystemError { SystemError(call, code: errno) }

  /// True when nobody listens at the other end (ECONNREFUSED).
  public var isRefused: Bool { code == ECONNREFUSED }

  /// True when the other end cannot be reached at all (no route, no network, no such address).
  public var isUnreachable: Bool {
    code == EHOSTUNREACH || code == ENETUNREACH || code == EADDRNOTAVAIL || code == ENETDOWN
      || code == EHOSTDOWN || code == EAFNOSUPPORT
  }

  /// True when the address is taken by another process (EADDRINUSE).
  public var isAddressInUse: Bool { code == EADDRINUSE }

  /// What the C library says about the code, such as `Connection refused`.
  public var reason: String {
    // Thread-safe in glibc since 2.32.
    strerror(code).map { String(cString: $0) } ?? "error \(code)"
  }
}

extension SystemError: CustomStringConvertible {
  /// Call and reason: `connect: Connection refused`.
  public var description: String { "\(call): \(reason)" }
}
