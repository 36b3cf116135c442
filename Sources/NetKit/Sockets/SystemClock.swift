public import Base
internal import CLinux
internal import Glibc

/// Reads the monotonic and the wall clock, once each.
///
/// The corresponding C function is `clock_gettime`; a call costs about 20 ns a clock (vDSO).
public func systemMoment() -> Moment {
  Moment(instant: systemInstant(), wallNanos: nanos(of: CLOCK_REALTIME))
}

/// Reads the monotonic clock.
public func systemInstant() -> Instant { Instant(nanos: nanos(of: CLOCK_MONOTONIC)) }

private func nanos(of clock: clockid_t) -> UInt64 {
  var time = timespec()
  let result = clock_gettime(clock, &time)
  invariant(result == 0, "clock_gettime knows the clock \(clock)")
  return UInt64(time.tv_sec) &* 1_000_000_000 &+ UInt64(time.tv_nsec)
}

/// Random bytes from the kernel, fit for keys and secrets.
///
/// The corresponding C function is `getrandom`; it waits only in the first moments after boot.
public func systemRandomBytes(_ count: Int) -> [UInt8] {
  var bytes = [UInt8](repeating: 0, count: count)
  var filled = 0
  while filled < count {
    let result = bytes.withUnsafeMutableBytes { buffer in
      getrandom(buffer.baseAddress! + filled, count - filled, 0)
    }
    if result < 0, errno == EINTR { continue }
    invariant(result > 0, "getrandom gives bytes")
    filled += result
  }
  return bytes
}

/// A random word from the kernel: a seed, half of a key.
public func systemRandomWord() -> UInt64 {
  systemRandomBytes(8).reduce(0) { $0 << 8 | UInt64($1) }
}
