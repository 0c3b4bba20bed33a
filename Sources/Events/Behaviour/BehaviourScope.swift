internal import AurumCore

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

    /// Takes `from to last timezone apps where bots` out of a body: they mean what they mean to `POST /v1/query`.
    init(_ body: BehaviourBody, org: String, now: Timestamp) {
        let query = body.query(["from", "to", "last", "timezone", "apps", "where", "bots"], now: now) ?? EventQuery()
        (self.org, self.now) = (org, now)
        (apps, condition, bots) = (query.apps, query.filter, query.bots)
        (from, to, zone) = (query.from, query.to, query.timezone)
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

    /// Events that somebody sent, without the condition that all events must fit: Aurum's own are nobody's doing.
    func filterOfAll(from: Int64, to: Int64) -> RowFilter {
        let sent = EventCondition.compare(ColumnName("type"), .notEqual, .text(EventType.internal.name))
        return RowFilter(
            sent, org: org, apps: apps, from: Self.bound(from), to: Self.bound(to), bots: bots)
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
