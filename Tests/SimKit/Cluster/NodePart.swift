import TPC

/// What a node is to its world.
enum NodePart {
  /// A node alone, or one of the first members. Can transition to: lost, out.
  case first
  /// Nothing has run on its machine yet; a joiner takes its place.
  case spare
  /// Joins with an empty directory, under this id if there is one, and is a member from then on.
  /// Can transition to: lost, out.
  case joiner(MemberID?)
  /// Stopped for good, to be removed by force; a joiner takes its place.
  case lost
  /// Has ended by itself, as it is no member any more or cannot become one; a joiner takes its
  /// place.
  case out

  /// It is started again whenever it has ended.
  var isInPlay: Bool {
    switch self {
    case .first, .joiner: true
    case .spare, .lost, .out: false
    }
  }
}
