import Base
import NetKit
import TPC

/// What a client waits for.
struct Job {
  var client: LinkID
  var order: Order
  var deadline: Instant
}

/// A question of a client.
struct Question {
  var client: LinkID
  var words: [Substring]
  var deadline: Instant
  /// What was undecided here when it came: each may be committed already, and somebody may have
  /// been told. What comes later was told to nobody before, so it is not waited for.
  var waitsFor: [TransactionID]
}

/// What is under way for clients.
struct Jobs {
  /// Transactions that were begun here for a client.
  var begun: [TransactionID: Job] = [:]
  /// Jobs that met a conflict here, before anything was done.
  var paused: [Job] = []
  /// Transactions whose next attempt met a lock here.
  var renewing: [TransactionID] = []
  /// Questions that are not answered yet.
  var questions: [Question] = []
  /// When the paused ones are tried again, at the latest.
  var retryAt = Instant.never

  static let countMax = 10_000
  static let retryPause = Interval.millis(20)
  /// How long a client's order is tried, from when it is taken.
  static let patience = Interval.seconds(5)

  var isFull: Bool { begun.count + paused.count + questions.count >= Self.countMax }

  var deadline: Instant {
    questions.reduce(retryAt) { min($0, $1.deadline) }
  }
}

// What clients ask for.
extension Service {
  /// Takes a client's request: an order, or a question.
  mutating func take(_ text: String, from client: LinkID, at now: Moment) {
    let deadline = now.instant + Jobs.patience
    guard !jobs.isFull else { return reply("aborted busy", to: client, at: now) }
    if let order = Order(text) {
      return begin(Job(client: client, order: order, deadline: deadline), at: now)
    }
    let words = text.split(separator: " ", omittingEmptySubsequences: false)
    if words == ["status"] { return reply(status, to: client, at: now) }
    jobs.questions.append(
      Question(client: client, words: words, deadline: deadline, waitsFor: undecided(for: words)))
  }

  // MARK: Orders

  /// Begins the transaction that an order asks for; this member coordinates it.
  private mutating func begin(_ job: Job, at now: Moment) {
    guard var participants = roster.participants(of: job.order.move) else {
      return reply("refused invalid", to: job.client, at: now)
    }
    // A coordinator takes part, even if it has nothing to give or to get.
    participants.insert(member)
    let beginning = negotiator.begin(
      job.order.work, among: participants, age: nextStamp(at: now), deadline: job.deadline,
      at: now.instant, &desk, &effects)
    switch beginning {
    case .started(let id):
      jobs.begun[id] = job
      // So a client that gets no answer has a name to ask for.
      reply("\(id)", as: Wire.begun, to: job.client, at: now)
    case .conflict, .notReady, .rejected(.conflict): pause(job, at: now)
    case .rejected(let reason): reply("refused \(reason)", to: job.client, at: now)
    case .full: reply("aborted busy", to: job.client, at: now)
    }
  }

  private mutating func pause(_ job: Job, at now: Moment) {
    jobs.paused.append(job)
    jobs.retryAt = min(jobs.retryAt, now.instant + Jobs.retryPause)
  }

  /// The next attempt of a transaction whose last one met a conflict: the same work again.
  mutating func renew(_ id: TransactionID, at now: Moment) {
    guard let job = jobs.begun[id] else {
      return negotiator.abandon(id, .abandoned, at: now.instant, &desk, &effects)
    }
    // A no of the desk aborts it, and the effect tells so.
    let beginning = negotiator.renew(id, job.order.work, at: now.instant, &desk, &effects)
    guard case .conflict = beginning else { return }
    jobs.renewing.append(id)
    jobs.retryAt = min(jobs.retryAt, now.instant + Jobs.retryPause)
  }

  /// Tries again what has waited long enough.
  mutating func goOnWithJobs(at now: Moment) {
    guard jobs.retryAt <= now.instant else { return }
    jobs.retryAt = .never
    let (paused, renewing) = (jobs.paused, jobs.renewing)
    (jobs.paused, jobs.renewing) = ([], [])
    for id in renewing { renew(id, at: now) }
    for job in paused {
      if job.deadline > now.instant {
        begin(job, at: now)
      } else {
        reply("aborted conflict", to: job.client, at: now)
      }
    }
  }

  /// An abort after a conflict at this member's own desk is no last word: nothing was done, so a
  /// new transaction may try.
  mutating func aborted(_ id: TransactionID, _ reason: Reason, at now: Moment) {
    guard let job = jobs.begun[id] else { return }
    switch reason {
    case .conflict where job.deadline > now.instant:
      jobs.begun[id] = nil
      pause(job, at: now)
    case .invalid, .noSpace: conclude(id, "refused \(reason)", at: now)
    default: conclude(id, "aborted \(reason)", at: now)
    }
  }

  /// Tells the client, if there is one: after a restart there is none.
  mutating func conclude(_ id: TransactionID, _ text: String, at now: Moment) {
    guard let job = jobs.begun.removeValue(forKey: id) else { return }
    reply(text, to: job.client, at: now)
  }

  // MARK: Questions

  /// What may change the answer to a question that comes now; to one about a single transaction,
  /// that one alone.
  private func undecided(for words: [Substring]) -> [TransactionID] {
    guard words.count == 2, isTransaction(words[1]) else { return desk.undecided }
    return desk.undecided.filter { "\($0)" == words[1] }
  }

  /// Answers those who ask what the books say, from what is committed.
  mutating func answerQuestions(at now: Moment) {
    guard !jobs.questions.isEmpty else { return }
    let questions = jobs.questions
    jobs.questions = []
    for var question in questions {
      question.waitsFor.removeAll { !desk.isUndecided($0) }
      if question.waitsFor.isEmpty {
        reply(desk.books.answer(question.words) ?? "wrong", to: question.client, at: now)
      } else if question.deadline <= now.instant {
        reply("aborted busy", to: question.client, at: now)
      } else {
        jobs.questions.append(question)
      }
    }
  }

  private var status: String {
    let counters = negotiator.counters
    return """
      \(roster.place(of: member).name) in-doubt \(negotiator.inDoubt.count) \
      open \(negotiator.openCount) committed \(counters.committed) aborted \(counters.aborted) \
      retried \(counters.retried) contradictions \(counters.contradictions)
      """
  }
}

extension Order {
  /// What participants are asked to prepare. Amounts are set aside and need no lock; what an undo
  /// or a redo depends on is a word about another transaction, which is locked by its name.
  var work: Work {
    var builder = WorkBuilder()
    if let subject { Array(subject.utf8).withUnsafeBytes { builder.add(key: $0, .write) } }
    builder.body.append(string: "\(self)")
    guard let work = builder.finish() else { invariantFailed("an order is small") }
    return work
  }
}
