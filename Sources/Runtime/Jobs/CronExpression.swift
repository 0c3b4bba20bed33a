package import AurumCore
internal import Foundation

/// Five fields — minute, hour, day of month, month, day of week — read in the local time of a zone.
///
/// Where clocks go forward, a time that does not exist stands for the next minute that does; where they go back, a time
/// that comes twice is meant once, the first time. Day of month and day of week are joined by *or* when both are given.
/// Source: POSIX crontab(5); names and steps as in Vixie cron.
package struct CronExpression: Sendable, Equatable {
    package let text: String
    package let zone: String
    private let minutes: UInt64
    private let hours: UInt64
    private let days: UInt64
    private let months: UInt64
    private let weekdays: UInt64
    private let isAnyDay: Bool
    private let isAnyWeekday: Bool

    /// Days that are searched for a next time: eight years hold every leap day.
    private static let daysSearched = 2930

    /// - Throws: `JobError.invalid` with a sentence.
    package init(_ text: String, zone: String) throws(JobError) {
        let fields = text.split(separator: " ", omittingEmptySubsequences: true)
        guard fields.count == 5 else { throw .invalid("a cron expression has five fields: \"\(text.prefix(80))\"") }
        guard TimeZone(identifier: zone) != nil else { throw .invalid("there is no time zone \"\(zone.prefix(60))\"") }
        self.text = text
        self.zone = zone
        minutes = try CronField("minute", 0...59).read(fields[0])
        hours = try CronField("hour", 0...23).read(fields[1])
        days = try CronField("day of month", 1...31).read(fields[2])
        months = try CronField("month", 1...12, names: CronField.monthNames).read(fields[3])
        let weekdays = try CronField("day of week", 0...7, names: CronField.dayNames).read(fields[4])
        self.weekdays = weekdays | (weekdays >> 7 & 1)
        isAnyDay = fields[2].first == "*"
        isAnyWeekday = fields[4].first == "*"
        guard next(after: Timestamp(milliseconds: 0)) != nil else {
            throw .invalid("\"\(text.prefix(80))\" names no day that exists")
        }
    }

    /// The first time after `moment`; nil when there is none within eight years.
    package func next(after moment: Timestamp) -> Timestamp? {
        guard let zone = TimeZone(identifier: zone) else { return nil }
        let second = Int64((Double(moment.microseconds) / 1e6).rounded(.down))
        let local = second + Self.offset(zone, second)
        // An hour earlier in local time, because a repeated hour sets the clock back.
        let start = local - 2 * 3600
        var day = Self.floor(start, 86_400)
        for _ in 0..<Self.daysSearched {
            defer { day += 1 }
            guard matches(day: day) else { continue }
            if let found = first(onDay: day, from: day * 86_400 < start ? start : day * 86_400, after: second, zone) {
                return Timestamp(microseconds: found * 1_000_000)
            }
        }
        return nil
    }

    private func first(onDay day: Int64, from start: Int64, after second: Int64, _ zone: TimeZone) -> Int64? {
        let begin = Int((start - day * 86_400) / 60)
        var hour = begin / 60
        var minute = begin % 60
        while hour < 24 {
            if hours >> UInt64(hour) & 1 == 1 {
                while minute < 60 {
                    if minutes >> UInt64(minute) & 1 == 1 {
                        let instant = Self.instant(day * 86_400 + Int64(hour * 3600 + minute * 60), zone)
                        if instant > second { return instant }
                    }
                    minute += 1
                }
            }
            hour += 1
            minute = 0
        }
        return nil
    }

    private func matches(day: Int64) -> Bool {
        let date = CivilDate(day: day)
        guard months >> UInt64(date.month) & 1 == 1 else { return false }
        let isDay = days >> UInt64(date.day) & 1 == 1
        let isWeekday = weekdays >> UInt64(date.weekday) & 1 == 1
        return isAnyDay || isAnyWeekday ? isDay && isWeekday : isDay || isWeekday
    }

    /// Seconds since 1970 of a local time: the first of two, or the end of the gap for one that does not exist.
    private static func instant(_ local: Int64, _ zone: TimeZone) -> Int64 {
        let (before, after) = (offset(zone, local - 86_400), offset(zone, local + 86_400))
        for instant in [local - max(before, after), local - min(before, after)]
        where instant + offset(zone, instant) == local {
            return instant
        }
        // In a gap: the moment the clocks went forward.
        var (low, high) = (local - max(before, after) - 86_400, local - min(before, after))
        while high - low > 1 {
            let middle = (low + high) / 2
            if middle + offset(zone, middle) < local { low = middle } else { high = middle }
        }
        return high
    }

    private static func offset(_ zone: TimeZone, _ second: Int64) -> Int64 {
        Int64(zone.secondsFromGMT(for: Date(timeIntervalSince1970: Double(second))))
    }

    private static func floor(_ value: Int64, _ step: Int64) -> Int64 {
        value >= 0 ? value / step : -((-value + step - 1) / step)
    }
}

/// A day of the proleptic Gregorian calendar. Source: Howard Hinnant, "chrono-compatible low-level date algorithms".
private struct CivilDate {
    let month: Int
    let day: Int
    /// 0 is Sunday.
    let weekday: Int

    init(day number: Int64) {
        let shifted = number + 719_468
        let era = (shifted >= 0 ? shifted : shifted - 146_096) / 146_097
        let ofEra = shifted - era * 146_097
        let yearOfEra = (ofEra - ofEra / 1460 + ofEra / 36_524 - ofEra / 146_096) / 365
        let ofYear = ofEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
        let shiftedMonth = (5 * ofYear + 2) / 153
        day = Int(ofYear - (153 * shiftedMonth + 2) / 5 + 1)
        month = Int(shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9)
        weekday = Int(((number + 4) % 7 + 7) % 7)
    }
}

/// One field of a cron expression as a set of bits.
private struct CronField {
    let name: String
    let range: ClosedRange<Int>
    let names: [String]

    static let monthNames = ["", "JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"]
    static let dayNames = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"]

    init(_ name: String, _ range: ClosedRange<Int>, names: [String] = []) {
        (self.name, self.range, self.names) = (name, range, names)
    }

    func read(_ text: Substring) throws(JobError) -> UInt64 {
        var bits: UInt64 = 0
        for part in text.split(separator: ",", omittingEmptySubsequences: false) {
            let halves = part.split(separator: "/", omittingEmptySubsequences: false)
            guard halves.count <= 2, let span = halves.first else { throw wrong(text) }
            var step = 1
            if halves.count == 2 {
                guard let given = Int(halves[1]), (1...range.upperBound).contains(given) else { throw wrong(text) }
                step = given
            }
            let values = try self.span(span, hasStep: halves.count == 2, of: text)
            for value in stride(from: values.lowerBound, through: values.upperBound, by: step) {
                bits |= 1 << UInt64(value)
            }
        }
        return bits
    }

    private func span(_ span: Substring, hasStep: Bool, of text: Substring) throws(JobError) -> ClosedRange<Int> {
        if span == "*" { return range }
        let ends = span.split(separator: "-", omittingEmptySubsequences: false)
        guard let low = ends.first.flatMap(value), ends.count <= 2 else { throw wrong(text) }
        guard ends.count == 2 else { return low...(hasStep ? range.upperBound : low) }
        guard let high = value(ends[1]), low <= high else { throw wrong(text) }
        return low...high
    }

    private func value(_ text: Substring) -> Int? {
        if let place = names.firstIndex(of: text.uppercased()), !text.isEmpty { return place }
        guard text.allSatisfy(\.isNumber), let value = Int(text), range.contains(value) else { return nil }
        return value
    }

    private func wrong(_ text: Substring) -> JobError {
        .invalid("\"\(text.prefix(40))\" is no \(name) (\(range.lowerBound) to \(range.upperBound))")
    }
}
