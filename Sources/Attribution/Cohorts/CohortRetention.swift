package import AurumCore
package import Events

/// Retention of those who came from a campaign, by the engine of behaviour: which question it is asked, and nothing of
/// its own. Classic, rolling and unbounded mean there what they mean to `POST /v1/query/retention`.
package struct CohortRetention: Sendable, Hashable {
    /// What makes somebody a member: its first one in the range.
    package enum Entry: String, Sendable, CaseIterable {
        case visit, install, conversion

        /// In the language of conditions.
        var condition: String {
            switch self {
            case .visit: "type in (page, screen, open)"
            case .install: "type = install"
            case .conversion: "type = conversion"
            }
        }
    }

    /// nil for all.
    package var campaign: String?
    package var entry = Entry.visit
    package var mode = RetentionMode.classic
    package var period = CohortQuestion.Period.week
    package var days = 90
    package var timezone = "UTC"

    package init() {}

    /// The body of `POST /v1/query/retention`. Day 0 of a campaign's member is the first event in the range that names
    /// the campaign; the events of its return need not.
    /// - Parameter now: the range is the days before it, whole by the time zone's calendar.
    package func body(now: Timestamp) throws(SpendError) -> JSONValue {
        guard let zone = ZoneClock(timezone) else { throw .unknownTimeZone }
        let today = Int(zone.key(.day, at: now.microseconds))
        var first = entry.condition
        if let campaign { first = "(\(first)) and campaign.name = \(Self.quoted(campaign))" }
        return [
            "from": .string(zone.start(ofDay: CivilDate(daysSince1970: today - days + 1)).rfc3339),
            "to": .string(zone.start(ofDay: CivilDate(daysSince1970: today + 1)).rfc3339),
            "timezone": .string(timezone), "first": .string(first),
            "return": "type in (page, screen, open, track, click, conversion)", "mode": .string(mode.rawValue),
            "days": .array(RetentionRule.standardDays.map { .integer(Int64($0)) }), "by": .string(period.rawValue),
        ]
    }

    /// A text of the language of conditions.
    private static func quoted(_ text: String) -> String {
        var quoted = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"", "\\": quoted += "\\\(scalar)"
            case "\n": quoted += "\\n"
            case "\t": quoted += "\\t"
            default: quoted.unicodeScalars.append(scalar)
            }
        }
        return quoted + "\""
    }
}
