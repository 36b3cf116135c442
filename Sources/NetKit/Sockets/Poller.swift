internal import Base
internal import CLinux
internal import Glibc

/// What a descriptor is ready for, or is to be watched for: the bits of `epoll_event.events`.
struct Readiness: OptionSet {
  var rawValue: UInt32

  static let input = Readiness(rawValue: 0x001)
  static let output = Readiness(rawValue: 0x004)
  static let failed = Readiness(rawValue: 0x008)
  static let hungUp = Readiness(rawValue: 0x010)
  /// The other side has finished sending.
  static let finished = Readiness(rawValue: 0x2000)
  /// Report a change once, not the state again and again.
  static let edge = Readiness(rawValue: 1 << 31)
}

/// The readiness of many descriptors: one epoll set and the events of its last wait.
///
/// Each descriptor carries a tag of 64 bits that comes back with its events, so that an event for
/// something that was closed meanwhile is recognised.
struct Poller: ~Copyable {
  private let descriptor: Descriptor
  private let events: UnsafeMutablePointer<epoll_event>
  /// Ends a wait at a deadline. A timer that stays armed over many waits costs them nothing, which
  /// a time limit given to each of them does not.
  private let timer: Descriptor
  /// When the timer goes off at the next; `never` when it is not armed.
  private var armed = Instant.never
  /// The kernel lacks `epoll_pwait2` (it came with Linux 5.11).
  private var lacksShortWaits = false

  /// Events taken by one wait at most; the others wait in the kernel.
  static var eventCountMax: Int { 512 }

  /// The corresponding C functions are `epoll_create1` and `timerfd_create`.
  init() throws(SystemError) {
    let (set, clock) = try Self.open()
    descriptor = Descriptor(set)
    timer = Descriptor(clock)
    events = .allocate(capacity: Self.eventCountMax)
    events.initialize(repeating: epoll_event(), count: Self.eventCountMax)
  }

  /// An epoll set with a timer in it.
  private static func open() throws(SystemError) -> (set: Int32, timer: Int32) {
    let set = epoll_create1(Int32(EPOLL_CLOEXEC))
    if set < 0 { throw .last("epoll_create1") }
    let timer = timerfd_create(CLOCK_MONOTONIC, Int32(TFD_NONBLOCK | TFD_CLOEXEC))
    let interest: Readiness = [.input, .edge]
    var event = epoll_event(
      events: interest.rawValue, data: epoll_data_t(u64: timerTag))
    if timer < 0 || epoll_ctl(set, EPOLL_CTL_ADD, timer, &event) < 0 {
      let error = SystemError.last(timer < 0 ? "timerfd_create" : "epoll_ctl")
      if timer >= 0 { Syscalls.close(timer) }
      Syscalls.close(set)
      throw error
    }
    return (set, timer)
  }

  deinit { events.deallocate() }

  /// Begins to watch a descriptor. The corresponding C function is `epoll_ctl`.
  func add(_ watched: Int32, for interest: Readiness, tag: UInt64) throws(SystemError) {
    try control(EPOLL_CTL_ADD, watched, interest, tag)
  }

  /// Changes what is watched for; what is ready now is reported again.
  func change(_ watched: Int32, for interest: Readiness, tag: UInt64) {
    // Fails only for lack of kernel memory, then the write timeout ends the link.
    try? control(EPOLL_CTL_MOD, watched, interest, tag)
  }

  private func control(
    _ operation: Int32, _ watched: Int32, _ interest: Readiness, _ tag: UInt64
  ) throws(SystemError) {
    var event = epoll_event(events: interest.rawValue, data: epoll_data_t(u64: tag))
    if epoll_ctl(descriptor.raw, operation, watched, &event) < 0 { throw .last("epoll_ctl") }
  }

  /// The tag of the poller's own timer; to be told to `timerWentOff`, and otherwise ignored.
  static var timerTag: UInt64 { 3 << 24 }

  /// Waits for events until `deadline` and answers how many there are; a signal, and a deadline of
  /// an earlier wait, may end it too.
  mutating func wait(until deadline: Instant) -> Int {
    var isDue = deadline == .zero
    if !isDue, deadline < armed {
      let now = systemInstant()
      isDue = deadline <= now
      if !isDue {
        if deadline - now < Self.shortWait, let count = wait(for: deadline - now) { return count }
        arm(deadline)
      }
    }
    return answer(
      Int(epoll_wait(descriptor.raw, events, Int32(Self.eventCountMax), isDue ? 0 : -1)))
  }

  /// Waits this short get a limit of their own: they mostly end before it, and the timer would have
  /// to be armed for each.
  private static var shortWait: Interval { .millis(1) }

  /// A wait with a limit below a second; nil: the kernel knows none so fine. The corresponding C
  /// function is `epoll_pwait2`.
  private mutating func wait(for limit: Interval) -> Int? {
    if lacksShortWaits { return nil }
    var time = timespec(tv_sec: 0, tv_nsec: Int(limit.nanos))
    let count = cl_epoll_pwait2(
      cl_number_of_epoll_pwait2, descriptor.raw, events, Int32(Self.eventCountMax), &time, nil, 0)
    if count < 0, errno == ENOSYS || errno == EPERM {
      lacksShortWaits = true
      return nil
    }
    return answer(count)
  }

  private func answer(_ count: Int) -> Int {
    if count < 0 {
      invariant(errno == EINTR, "a wait on our own set works")
      return 0
    }
    return count
  }

  /// The corresponding C function is `timerfd_settime`; a time in the past goes off at once.
  private mutating func arm(_ deadline: Instant) {
    armed = deadline
    var time = itimerspec()
    time.it_value.tv_sec = Int(deadline.nanos / 1_000_000_000)
    time.it_value.tv_nsec = Int(deadline.nanos % 1_000_000_000)
    let result = timerfd_settime(timer.raw, Int32(TFD_TIMER_ABSTIME), &time, nil)
    invariant(result == 0, "our own timer can be armed")
  }

  /// An event with `timerTag` has come.
  mutating func timerWentOff() { armed = .never }

  /// The `index`-th event of the last wait.
  func event(_ index: Int) -> (tag: UInt64, readiness: Readiness) {
    let event = events[index]
    return (event.data.u64, Readiness(rawValue: event.events))
  }
}
