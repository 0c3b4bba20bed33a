internal import AurumCore
internal import Foundation

/// What all questions about behaviour have in common: when, of which apps, which events at all.
struct BehaviourScope: Sendable {
    var org: String
    var apps: [String]
    var condition: EventCondition?
    var bots: BotChoice
    /// nil: without bound.
    var from: Timestamp?
    var to: Timestamp?
    var zone: String
    var now: Timestamp

    private static let appsMax = 200

    /// Takes `from to last timezone apps where bots` out of a body.
    init(_ body: BehaviourBody, org: String, now: Timestamp) {
        self.org = org
        self.now = now
        zone = body.text("timezone") ?? "UTC"
        if TimeZone(identifier: zone) == nil {
            body.refuse("timezone", "is no time zone, such as America/New_York")
            zone = "UTC"
        }
        apps = body.texts("apps", max: Self.appsMax)
        condition = body.condition("where")
        bots = body.choice("bots", standard: .exclude)
        from = Self.time(body, "from", zone)
        to = Self.time(body, "to", zone)
        if let last = body.text("last") {
            if from != nil || to != nil { body.refuse("last", "cannot stand beside from and to") }
            from = Self.start(last, zone, now)
            if from == nil { body.refuse("last", "must be a number of h, d, w or mo, such as 7d") }
        }
        if let from, let to, from >= to { body.refuse("to", "must be later than from") }
    }

    private static func time(_ body: BehaviourBody, _ name: String, _ zone: String) -> Timestamp? {
        guard let value = body.take(name) else { return nil }
        if let milliseconds = value.integer, milliseconds.magnitude < 1 << 52 {
            return Timestamp(milliseconds: milliseconds)
        }
        if let text = value.string {
            if let time = Timestamp(rfc3339: text) { return time }
            if let date = CivilDate(text), let days = PeriodCalendar(zone: zone, period: .day, around: Timestamp(date)) {
                return Timestamp(microseconds: days.start(of: Int32(clamping: date.daysSince1970)))
            }
        }
        body.refuse(name, "must be an RFC 3339 time, a date, or milliseconds since 1970")
        return nil
    }

    /// The beginning of the last `7d`, whole units with the current one.
    private static func start(_ text: String, _ zone: String, _ now: Timestamp) -> Timestamp? {
        let units: [(String, Period)] = [("mo", .month), ("h", .hour), ("d", .day), ("w", .week)]
        guard let (suffix, period) = units.first(where: { text.hasSuffix($0.0) }),
            let count = Int32(text.dropLast(suffix.count)), (1...10_000).contains(count),
            let calendar = PeriodCalendar(zone: zone, period: period, around: now)
        else { return nil }
        return Timestamp(microseconds: calendar.start(of: calendar.period(of: now.microseconds) - count + 1))
    }

    var range: Range<Int64> {
        let lower = from?.microseconds ?? .min
        return lower..<max(lower, to?.microseconds ?? .max)
    }

    /// Events of these apps between two times, that fit all conditions.
    func filter(_ conditions: EventCondition?..., from: Int64? = nil, to: Int64? = nil) -> RowFilter {
        let all = ([condition] + conditions).compactMap { $0 }
        return RowFilter(
            all.isEmpty ? nil : all.count == 1 ? all[0] : .and(all), org: org, apps: apps,
            from: Self.bound(from ?? range.lowerBound), to: Self.bound(to ?? range.upperBound), bots: bots)
    }

    /// The same without the condition that all events must fit.
    func filterOfAll(from: Int64, to: Int64) -> RowFilter {
        RowFilter(nil, org: org, apps: apps, from: Self.bound(from), to: Self.bound(to), bots: bots)
    }

    private static func bound(_ time: Int64) -> Timestamp? {
        time == .min || time == .max ? nil : Timestamp(microseconds: time)
    }

    func calendar(_ period: Period) -> PeriodCalendar {
        let (lower, upper) = (range.lowerBound, range.upperBound)
        let from = lower == .min ? now.microseconds - 4 * 31_557_600_000_000 : lower
        let to = max(from, upper == .max ? now.microseconds : upper)
        return PeriodCalendar(zone: zone, period: period, from: from, to: to)
            ?? PeriodCalendar(period: period)
    }
}

/// Adds without passing the ends of time.
func saturating(_ time: Int64, _ length: Int64) -> Int64 {
    if time == .min || time == .max { return time }
    let (sum, overflow) = time.addingReportingOverflow(length)
    return overflow ? (length > 0 ? .max : .min) : sum
}
