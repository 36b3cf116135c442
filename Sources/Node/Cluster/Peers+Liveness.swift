public import Base
import NetKit

// Beginning and end of sessions, pings, silence, calls.
extension Peers {
  // MARK: Sessions

  /// Both sides are proven, as far as we know: the session takes the place of an earlier one.
  mutating func open(_ index: Int, at now: Moment, into effects: inout PeerEffects) {
    guard let id = sessions[index].member, let other = self.index(of: id),
      let hello = sessions[index].greeting
    else { return end(index, at: now, into: &effects) }
    let link = sessions[index].link
    let greeting = PeerGreeting(
      member: id, incarnation: hello.incarnation, epoch: hello.epoch, stamp: hello.stamp,
      directory: hello.directory)
    sessions[index].phase = .open
    counters.sessions += 1
    if others[other].link != .none, let old = session(of: others[other].link) {
      effects.list.append(.close(others[other].link, afterFlush: false))
      sessions.remove(at: old)
    }
    guard let place = session(of: link) else { return }
    noteSession(other, greeting, sessions[place], at: now, &effects)
    if !isOutdated(hello) { meet(other, into: &effects) }
    effects.list.append(.trust(link))
    effects.list.append(.reachable(greeting))
    ping(other, place, at: now, into: &effects)
  }

  private mutating func noteSession(
    _ other: Int, _ greeting: PeerGreeting, _ session: PeerSession, at now: Moment,
    _ effects: inout PeerEffects
  ) {
    let known = others[other].greeting?.incarnation
    let isRestarted = known != nil && known != greeting.incarnation
    if !others[other].isReachable || isRestarted {
      let verb = isRestarted ? "was restarted and is reachable" : "is reachable"
      effects.lines.append(
        (.info, "\(name(of: other)) \(verb), protocol version \(session.version)"))
    }
    others[other].link = session.link
    others[other].version = session.version
    others[other].greeting = greeting
    others[other].isReachable = true
    others[other].lastHeard = now.instant
    others[other].failureCount = 0
    others[other].twinCount = 0
    others[other].callAt = .never
    others[other].refusal = nil
    others[other].loggedRefusals = 0
    others[other].roundTrip = .zero
  }

  /// Ends a link of ours; calls again later where calling is our part.
  mutating func end(
    _ index: Int, afterFlush: Bool = false, at now: Moment, into effects: inout PeerEffects
  ) {
    effects.list.append(.close(sessions[index].link, afterFlush: afterFlush))
    remove(index, at: now)
  }

  /// Forgets a session whose link is gone or going.
  mutating func remove(_ index: Int, at now: Moment) {
    let session = sessions.remove(at: index)
    guard let member = session.member, let other = self.index(of: member) else { return }
    if others[other].link == session.link { others[other].link = .none }
    // Who was called asks, too, whether it is still a member.
    if session.isCaller || session.isOpen, others[other].link == .none {
      callLater(other, isRefused: session.isRefused, at: now)
    }
  }

  /// Plans the next call: the wait doubles with each failure and is drawn from its upper half. Who
  /// is to call us is seldom called.
  mutating func callLater(_ other: Int, isRefused: Bool, at now: Moment) {
    guard others[other].role != .leaving else { return }
    others[other].isFresh = false
    let timings = options.timings
    let doubled = timings.backoffMin.nanos << UInt64(min(others[other].failureCount, 16))
    var wait = min(doubled, timings.backoffMax.nanos)
    if isRefused || others[other].member.id < ownID { wait = timings.refusedBackoff.nanos }
    others[other].failureCount += 1
    let jitter = UInt64(chance.below(Int(wait / 2) + 1))
    others[other].callAt = now.instant + Interval(nanos: wait - jitter)
  }

  // MARK: Signs of life

  /// Takes a message of an open session as a sign of life; nil when it is of another session.
  mutating func heard(
    _ header: PeerHeader, _ index: Int, at now: Moment, into effects: inout PeerEffects
  ) -> Int? {
    guard belongs(header, to: index), let other = self.index(of: header.sender),
      others[other].link == sessions[index].link
    else {
      counters.stale += 1
      return nil
    }
    let silence = now.instant - others[other].lastHeard
    others[other].lastHeard = now.instant
    if !others[other].isReachable, let greeting = others[other].greeting {
      others[other].isReachable = true
      effects.list.append(.reachable(greeting))
      effects.lines.append(
        (.info, "\(name(of: other)) is reachable again after \(Self.seconds(silence))"))
    }
    return other
  }

  mutating func ping(
    _ other: Int, _ index: Int, at now: Moment, into effects: inout PeerEffects
  ) {
    others[other].lastPing = now.instant
    let pulse = PeerPulse(asked: now.instant.nanos, wallNanos: now.wallNanos, epoch: epoch)
    put(.ping, index, at: now, into: &effects) { pulse.append(to: &$0) }
  }

  mutating func answer(
    _ pulse: PeerPulse, _ other: Int, _ index: Int, at now: Moment,
    into effects: inout PeerEffects
  ) {
    let pulse = PeerPulse(asked: pulse.asked, wallNanos: now.wallNanos, epoch: epoch)
    put(.pong, index, at: now, into: &effects) { pulse.append(to: &$0) }
  }

  /// Learns round trip and clock skew from an answered ping. The answer's time is taken as the
  /// middle of the round trip, so the skew is known to half of it.
  mutating func measure(
    _ pulse: PeerPulse, _ other: Int, at now: Moment, into effects: inout PeerEffects
  ) {
    guard pulse.asked <= now.instant.nanos else { return }
    let sample = now.instant - Instant(nanos: pulse.asked)
    guard sample < options.timings.silenceMax else { return }
    others[other].measured(sample)
    let half = Int64(sample.nanos / 2)
    let theirs = Int64(clamping: pulse.wallNanos)
    let skew = theirs.addingReportingOverflow(half).partialValue
      .subtractingReportingOverflow(Int64(clamping: now.wallNanos)).partialValue
    others[other].skewNanos = skew
    let bound = options.timings.skewMax.nanos + UInt64(half)
    noteSkew(other, isTooFar: skew.magnitude > bound, into: &effects)
  }

  private mutating func noteSkew(_ other: Int, isTooFar: Bool, into effects: inout PeerEffects) {
    guard others[other].isSkewed != isTooFar else { return }
    others[other].isSkewed = isTooFar
    let skew = others[other].skewNanos
    let amount = Self.seconds(Interval(nanos: skew.magnitude))
    let text =
      isTooFar
      ? "the clock of \(name(of: other)) is \(amount) \(skew > 0 ? "ahead of" : "behind") this one"
      : "the clock of \(name(of: other)) is right again"
    effects.lines.append((isTooFar ? .error : .info, text))
  }

  // MARK: Time

  /// Does what is due. To be called when `deadline` has come, after the messages at hand were
  /// taken; earlier does no harm.
  public mutating func wake(at now: Moment, into effects: inout PeerEffects) {
    forgiveAbsence(at: now.instant)
    for index in sessions.indices.reversed() where sessions[index].deadline <= now.instant {
      wakeHandshake(index, at: now, into: &effects)
    }
    for other in others.indices { wakeMember(other, at: now, into: &effects) }
    sayFarewell(at: now, into: &effects)
  }

  /// When `wake` must be called next.
  public var deadline: Instant {
    var earliest = Instant.never
    for session in sessions { earliest = min(earliest, session.deadline) }
    for other in others { earliest = min(earliest, deadline(of: other)) }
    return earliest
  }

  private func deadline(of other: PeerMember) -> Instant {
    var earliest = min(mayCall(other) ? other.callAt : .never, other.leavesAt)
    if other.isReachable { earliest = min(earliest, other.lastHeard + options.timings.silenceMax) }
    guard other.link != .none else { return earliest }
    return min(earliest, other.lastHeard + options.timings.linkSilenceMax, pingDue(other))
  }

  private func mayCall(_ other: PeerMember) -> Bool {
    onlyCalled == nil || onlyCalled == other.member.id
  }

  private func pingDue(_ other: PeerMember) -> Instant {
    min(
      other.lastSent + options.timings.pingInterval,
      other.lastPing + options.timings.measureInterval)
  }

  private mutating func wakeMember(_ other: Int, at now: Moment, into effects: inout PeerEffects) {
    let silenceEnd = others[other].lastHeard + options.timings.silenceMax
    if others[other].isReachable, silenceEnd <= now.instant {
      let silence = now.instant - others[other].lastHeard
      lose(other, because: "silent for \(Self.seconds(silence))", at: now, into: &effects)
    }
    if let index = session(of: others[other].link) {
      if others[other].lastHeard + options.timings.linkSilenceMax <= now.instant {
        end(index, at: now, into: &effects)
      } else if pingDue(others[other]) <= now.instant {
        ping(other, index, at: now, into: &effects)
      }
    }
    if mayCall(others[other]), others[other].callAt <= now.instant {
      others[other].callAt = .never
      call(other, at: now, into: &effects)
    }
  }

  /// A member cannot be reached from now on.
  mutating func lose(
    _ other: Int, because reason: String, at now: Moment, into effects: inout PeerEffects
  ) {
    guard others[other].isReachable else { return }
    others[other].isReachable = false
    counters.silences += 1
    effects.list.append(.unreachable(others[other].member.id))
    effects.lines.append((.error, "\(name(of: other)) \(reason): unreachable"))
  }

  /// Calls a member. What its name means is asked anew each time: it may have moved.
  private mutating func call(_ other: Int, at now: Moment, into effects: inout PeerEffects) {
    let member = others[other].member
    let entry = try? MemberList("\(member.id)=\(member.address)").entries.first
    if options.resolver != nil, !others[other].isFresh, let entry,
      Endpoint(address: entry.host, port: entry.port) == nil
    {
      effects.list.append(.resolve(member.id, host: entry.host, port: entry.port))
    } else if let endpoint = member.endpoint, options.authenticator != nil || endpoint.isLoopback {
      effects.list.append(.connect(member.id, endpoint))
    } else {
      if member.endpoint != nil, others[other].note(.notLoopback, isOurs: true) {
        effects.lines.append(
          (.error, "\(name(of: other)) is not called: \(PeerRefusal.notLoopback)"))
      }
      callLater(other, isRefused: true, at: now)
    }
  }

  /// Closes the links with who has been no member for a while.
  private mutating func sayFarewell(at now: Moment, into effects: inout PeerEffects) {
    guard others.contains(where: { $0.leavesAt <= now.instant }) else { return }
    others.removeAll { $0.leavesAt <= now.instant }
    closeStrangers(at: now, into: &effects)
  }

  /// Does not take for the others' silence the time in which nobody listened here: the process was
  /// stopped, the machine slept, the disk held the loop up.
  private mutating func forgiveAbsence(at now: Instant) {
    let planned = deadline
    guard now > planned + options.timings.absenceMin else { return }
    let absence = now - planned
    for other in others.indices where others[other].link != .none {
      others[other].lastHeard = min(now, others[other].lastHeard + absence)
    }
  }

  // MARK: Words

  func name(of other: Int) -> String {
    "member \(others[other].member.id) (\(others[other].member.address))"
  }

  /// `2.1 s`.
  static func seconds(_ interval: Interval) -> String {
    let tenths = interval.millis / 100
    return "\(tenths / 10).\(tenths % 10) s"
  }
}
