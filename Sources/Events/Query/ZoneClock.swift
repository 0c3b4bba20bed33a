package import AurumCore
internal import Foundation

/// A time zone's calendar: which bucket a moment lies in, and when days begin.
package struct ZoneClock: Sendable {
    private let zone: TimeZone

    /// nil when there is no such zone.
    package init?(_ name: String) {
        guard let zone = name == "UTC" ? TimeZone(secondsFromGMT: 0) : TimeZone(identifier: name),
            name == "UTC" || TimeZone.knownTimeZoneIdentifiers.contains(name) || name.contains("/")
        else { return nil }
        self.zone = zone
    }

    /// Seconds east of UTC at a moment.
    func offset(atSecond second: Int64) -> Int64 {
        Int64(zone.secondsFromGMT(for: Date(timeIntervalSince1970: Double(second))))
    }

    /// The number of a bucket: grows with time, one a bucket.
    ///
    /// Minutes and hours: the second of UTC at which the bucket begins by the clock on the wall, and the offset,
    /// because an hour that the clocks repeat is two buckets. Days, weeks and months: the first day's number since
    /// 1970.
    package func key(_ bucket: TimeBucket, at microseconds: Int64) -> Int64 {
        let second = microseconds.quotientRoundingDown(1_000_000)
        let offset = offset(atSecond: second)
        let local = second + offset
        switch bucket {
        case .minute: return Self.key(local.quotientRoundingDown(60) * 60 - offset, offset)
        case .hour: return Self.key(local.quotientRoundingDown(3600) * 3600 - offset, offset)
        case .day: return local.quotientRoundingDown(86_400)
        case .week: return Self.monday(local.quotientRoundingDown(86_400))
        case .month: return Self.first(local.quotientRoundingDown(86_400))
        }
    }

    private static let offsetBits: Int64 = 1 << 20

    private static func key(_ second: Int64, _ offset: Int64) -> Int64 {
        second * offsetBits + offset + offsetBits / 2
    }

    /// The first day of the week or the month that a day is in, both as days since 1970; of shorter buckets the day.
    package static func start(of bucket: TimeBucket, holding day: Int) -> Int {
        switch bucket {
        case .minute, .hour, .day: day
        case .week: Int(monday(Int64(day)))
        case .month: Int(first(Int64(day)))
        }
    }

    /// 1970-01-01 was a Thursday.
    private static func monday(_ day: Int64) -> Int64 { (day + 3).quotientRoundingDown(7) * 7 - 3 }

    private static func first(_ day: Int64) -> Int64 {
        let date = CivilDate(daysSince1970: Int(day))
        return day - Int64(date.day) + 1
    }

    /// A bucket in answers: its date, or its beginning with the offset from UTC.
    static func label(_ bucket: TimeBucket, _ key: Int64) -> String {
        switch bucket {
        case .day, .week, .month: return CivilDate(daysSince1970: Int(key)).description
        case .minute, .hour:
            let second = key.quotientRoundingDown(offsetBits)
            let offset = key - second * offsetBits - offsetBits / 2
            let local = Timestamp(microseconds: (second + offset) * 1_000_000).rfc3339.prefix(19)
            if offset == 0 { return local + "Z" }
            let minutes = offset.magnitude / 60
            func two(_ number: UInt64) -> String { (number < 10 ? "0" : "") + String(number) }
            return local + (offset < 0 ? "-" : "+") + two(minutes / 60) + ":" + two(minutes % 60)
        }
    }

    /// The first moment of a day here.
    package func start(ofDay date: CivilDate) -> Timestamp { start(ofDay: Int64(date.daysSince1970)) }

    private func start(ofDay day: Int64) -> Timestamp {
        let midnight = day * 86_400
        // Where the clocks change at midnight, one of the two offsets gives a moment that is still the day before.
        let offsets = [offset(atSecond: midnight - 86_400), offset(atSecond: midnight + 86_400)]
        let starts = offsets.map { midnight - $0 }.sorted()
        let first = starts.first { ($0 + offset(atSecond: $0)).quotientRoundingDown(86_400) == day }
        return Timestamp(microseconds: (first ?? starts[0]) * 1_000_000)
    }

    /// The current minute, hour, day, week or month and those before it, `count` in all.
    func lastUnits(_ count: Int, _ unit: TimeBucket, now: Timestamp) -> (from: Timestamp, to: Timestamp) {
        let second = now.microseconds.quotientRoundingDown(1_000_000)
        let local = second + offset(atSecond: second)
        let day = local.quotientRoundingDown(86_400)
        let before = Int64(count) - 1
        switch unit {
        case .minute, .hour:
            let length: Int64 = unit == .minute ? 60 : 3600
            let start = second - (local - local.quotientRoundingDown(length) * length)
            return (
                Timestamp(microseconds: (start - before * length) * 1_000_000),
                Timestamp(microseconds: (start + length) * 1_000_000)
            )
        case .day: return (start(ofDay: day - before), start(ofDay: day + 1))
        case .week:
            let monday = Self.monday(day)
            return (start(ofDay: monday - before * 7), start(ofDay: monday + 7))
        case .month:
            let date = CivilDate(daysSince1970: Int(day))
            let months = date.year * 12 + date.month - 1
            func first(_ number: Int) -> Timestamp {
                CivilDate(year: number / 12, month: number % 12 + 1, day: 1).map { start(ofDay: $0) } ?? now
            }
            return (first(months - Int(before)), first(months + 1))
        }
    }
}
