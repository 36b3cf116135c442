/// A point of Unix time as ISO 8601 in UTC with milliseconds: `2026-03-01T09:30:00.250Z`.
///
/// Days to dates by the era method: years are counted from March, so that a leap day ends one, and
/// 400 of them (146,097 days) make an era.
func renderTimestamp(unixNanos: UInt64) -> String {
  let millis = unixNanos / 1_000_000
  let seconds = millis / 1_000
  let days = Int(seconds / 86_400) + 719_468
  let era = days / 146_097
  let dayOfEra = days % 146_097
  let yearOfEra =
    (dayOfEra - dayOfEra / 1_460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
  let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
  let monthFromMarch = (5 * dayOfYear + 2) / 153
  let day = dayOfYear - (153 * monthFromMarch + 2) / 5 + 1
  let month = monthFromMarch < 10 ? monthFromMarch + 3 : monthFromMarch - 9
  let year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
  let time = Int(seconds % 86_400)
  return "\(padded(year, 4))-\(padded(month, 2))-\(padded(day, 2))"
    + "T\(padded(time / 3_600, 2)):\(padded(time / 60 % 60, 2)):\(padded(time % 60, 2))"
    + ".\(padded(Int(millis % 1_000), 3))Z"
}

/// `number` in decimal with zeroes in front, at least `width` digits.
private func padded(_ number: Int, _ width: Int) -> String {
  let digits = String(number)
  return String(repeating: "0", count: max(0, width - digits.utf8.count)) + digits
}
