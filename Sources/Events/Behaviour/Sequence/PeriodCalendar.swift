internal import AurumCore
internal import Foundation

/// A stretch of local time that answers are divided into.
package enum Period: String, Sendable, CaseIterable {
    case hour, day, week, month
}

/// Numbers the local hours, days, weeks (from Monday) or months of a time zone, without Foundation for each event.
package struct PeriodCalendar: Sendable {
    private struct Stretch: Sendable {
        var start: Int64
        /// Microseconds that local time is ahead of UTC.
        var offset: Int64
    }

    private let stretches: [Stretch]
    private let period: Period
    private static let hour: Int64 = 3_600_000_000
    private static let day: Int64 = 86_400_000_000

    /// nil for a time zone that nobody knows.
    package init?(zone name: String, period: Period, from: Int64, to: Int64) {
        guard let zone = TimeZone(identifier: name) else { return nil }
        self.period = period
        func date(_ time: Int64) -> Date { Date(timeIntervalSince1970: Double(time) / 1e6) }
        // Days on either side may be asked for.
        let begin = max(from, -62_135_596_800_000_000) - Self.day
        let end = min(to, Timestamp.end.microseconds) + 40 * Self.day
        var found = [Stretch(start: .min, offset: Int64(zone.secondsFromGMT(for: date(begin))) * 1_000_000)]
        var at = date(begin)
        while let next = zone.nextDaylightSavingTimeTransition(after: at), next < date(end), found.count < 4096 {
            found.append(
                Stretch(
                    start: Int64((next.timeIntervalSince1970 * 1e6).rounded()),
                    offset: Int64(zone.secondsFromGMT(for: next)) * 1_000_000))
            at = next
        }
        stretches = found
    }

    /// In UTC.
    init(period: Period) {
        self.period = period
        stretches = [Stretch(start: .min, offset: 0)]
    }

    private func offset(at time: Int64) -> Int64 {
        for stretch in stretches.reversed() where stretch.start <= time { return stretch.offset }
        return 0
    }

    /// The number of the period that holds a moment; the next period has the next number.
    package func period(of time: Int64) -> Int32 {
        let local = time + offset(at: time)
        switch period {
        case .hour: return Int32(clamping: local.quotientRoundingDown(Self.hour))
        case .day: return Int32(clamping: local.quotientRoundingDown(Self.day))
        // 1970-01-01 was a Thursday.
        case .week: return Int32(clamping: (local + 3 * Self.day).quotientRoundingDown(7 * Self.day))
        case .month:
            let date = Self.date(local.quotientRoundingDown(Self.day))
            return Int32(clamping: date.year * 12 + date.month - 1)
        }
    }

    /// The local date on which a period begins; for an hour the time with the zone's offset.
    package func name(of number: Int32) -> String {
        switch period {
        case .hour:
            let minutes = offset(at: start(of: number)) / 60_000_000
            let day = Int64(number).quotientRoundingDown(24)
            let zone = minutes.magnitude
            return "\(Self.date(day))T\(Self.two(UInt64(Int64(number) - day * 24))):00:00"
                + (minutes == 0 ? "Z" : "\(minutes < 0 ? "-" : "+")\(Self.two(zone / 60)):\(Self.two(zone % 60))")
        case .day: return Self.date(Int64(number)).description
        case .week: return Self.date(Int64(number) * 7 - 3).description
        case .month: return Self.month(number).description
        }
    }

    private static func two(_ number: UInt64) -> String { number < 10 ? "0\(number)" : "\(number)" }

    /// The first moment of a period.
    package func start(of number: Int32) -> Int64 {
        let local: Int64 =
            switch period {
            case .hour: Int64(number) * Self.hour
            case .day: Int64(number) * Self.day
            case .week: (Int64(number) * 7 - 3) * Self.day
            case .month: Int64(Self.month(number).daysSince1970) * Self.day
            }
        // The offset before a change of clocks may say that it is past the change, and the other way round.
        let guess = local - offset(at: local)
        return local - offset(at: guess)
    }

    private static func date(_ day: Int64) -> CivilDate { CivilDate(daysSince1970: Int(day)) }

    /// The first day of a month, which is counted from January of the year 0.
    private static func month(_ number: Int32) -> CivilDate {
        let year = Int64(number).quotientRoundingDown(12)
        return CivilDate(year: Int(year), month: Int(Int64(number) - year * 12) + 1, day: 1) ?? date(0)
    }
}
