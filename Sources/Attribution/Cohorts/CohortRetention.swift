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

    /// Its name and its other spellings, or its id; empty for all.
    package var labels: [String] = []
    package var entry = Entry.visit
    package var mode = RetentionMode.classic
    package var period = CohortQuestion.Period.week
    package var days = 90
    package var timezone = "UTC"

    /// Of a campaign in so many spellings, or in longer ones together, the others are left out: a condition has bounds.
    private static let (labelsMax, labelsBytesMax) = (100, 7000)

    package init() {}

    /// The body of `POST /v1/query/retention`. Day 0 of a campaign's member is the first event in the range that names
    /// the campaign; the events of its return need not.
    ///
    /// A campaign without a name goes by its id, as in all reports.
    /// - Parameter now: the range is the days before it, whole by the time zone's calendar.
    package func body(now: Timestamp) throws(SpendError) -> JSONValue {
        guard let zone = ZoneClock(timezone) else { throw .unknownTimeZone }
        let today = Int(zone.key(.day, at: now.microseconds))
        var first = entry.condition
        if !labels.isEmpty {
            var bytes = 0
            let list = labels.prefix(Self.labelsMax).map(Self.quoted).prefix { label in
                bytes += label.utf8.count + 2
                return bytes <= Self.labelsBytesMax
            }.joined(separator: ", ")
            first =
                "(\(first)) and (campaign.name in (\(list)) or (not campaign.name exists and campaign.id in (\(list))))"
        }
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

extension GrowthReports {
    /// How touches write the campaign that somebody means, the name that reports give it first; what nobody ever came
    /// from stands for itself.
    package func labels(org: String, campaign: String) async throws -> [String] {
        let book = try await campaigns.book(org: org, .campaign)
        return book.name(ofLabel: campaign).map { book.labels(of: $0) } ?? [campaign]
    }
}
