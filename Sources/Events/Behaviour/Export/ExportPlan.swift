internal import AurumCore

/// Which periods a schedule exports: one behind the other, without gap or overlap.
enum ExportPlan: Sendable, Equatable {
    /// So many hours, counted in whole multiples since 1970, UTC.
    case hours(Int)
    /// Days by the clocks of a zone.
    case daily(zone: String)

    static let hours = 1...168

    /// Reads what `json` writes.
    init(_ body: BehaviourBody) {
        let isDaily = body.flag("daily")
        let hours = body.take("every_hours")
        let zone = body.text("timezone")
        if isDaily {
            if hours != nil { body.refuse("every_hours", "and daily exclude each other") }
            if let zone, ZoneClock(zone) == nil {
                body.refuse("timezone", "must be a time zone, such as America/New_York")
            }
            self = .daily(zone: zone ?? "UTC")
            return
        }
        if zone != nil { body.refuse("timezone", "belongs to daily") }
        let count = hours?.integer.flatMap { Int(exactly: $0) } ?? 0
        if !Self.hours.contains(count) {
            body.refuse(
                "every_hours",
                "must be a whole number from \(Self.hours.lowerBound) to \(Self.hours.upperBound); or give daily")
        }
        self = .hours(max(1, count))
    }

    /// Reads what `members` wrote.
    init(known json: JSONValue) throws(BehaviourError) {
        let body = try BehaviourBody(json)
        self.init(body)
        try body.finish()
    }

    var members: [String: JSONValue] {
        switch self {
        case .hours(let count): ["every_hours": .integer(Int64(count))]
        case .daily(let zone): ["daily": .bool(true), "timezone": .string(zone)]
        }
    }

    /// The period that holds a moment, its end not in it; nil for a zone that this machine does not know.
    func period(holding moment: Timestamp) -> Range<Timestamp>? {
        switch self {
        case .hours(let count):
            let step = Int64(count) * 3_600_000_000
            let start = moment.microseconds.quotientRoundingDown(step) * step
            return Timestamp(microseconds: start)..<Timestamp(microseconds: start + step)
        case .daily(let zone):
            guard let (from, to) = ZoneClock(zone)?.lastUnits(1, .day, now: moment), from < to else { return nil }
            return from..<to
        }
    }
}
