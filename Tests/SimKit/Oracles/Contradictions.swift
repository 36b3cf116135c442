import Node
import TPC

/// No member ever hears a word of another that cannot be true, such as a commit of what it has seen
/// aborted: who says it has lost or invented a record, though nothing may have come of it yet.
enum Contradictions {
  /// What a member has heard in this life; nil: nothing of the kind.
  static func text(_ view: MemberView, of index: Int) -> String? {
    let count = view.counters.contradictions
    guard count > 0 else { return nil }
    return "member \(index + 1) heard \(count) words of others that cannot be true"
  }
}
