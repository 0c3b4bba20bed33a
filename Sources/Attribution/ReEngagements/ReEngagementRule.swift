package import AurumCore
internal import Events

/// When an open of an app by a click or a link is a re-engagement. Each change is a version: an open goes by the newest
/// one of its app that had begun at its own time, else by that of all apps, else by `standard`. Source: the
/// specification of attribution, section 1.
package struct ReEngagementRule: Sendable, Equatable {
    /// Empty for every app without a rule of its own.
    package var app = ""
    /// From 1 up; 0 for what holds without anybody saving it.
    package var version = 0
    package var startsAt = Timestamp(microseconds: .min)
    /// Days of 24 hours without a session; 0 asks for none.
    package var inactiveDays = 7
    package var window = WindowPreset.reEngagement.window

    package static let days: ClosedRange<Int> = 0...30
    package static let standard = ReEngagementRule()
    /// How long a re-engagement takes over from the install, both ends included: microseconds.
    package static let holdsFor: Int64 = 30 * 86_400_000_000
    package static let appBytesMax = 64
    /// The years that a text may name and be read again: 1 to 9999.
    private static let times: Range<Int64> = -62_135_596_800_000_000..<253_402_300_800_000_000

    package init() {}

    /// Reads what somebody asks for; what is left out is that of `standard`.
    /// - Parameter now: the time it holds from where `starts_at` is left out.
    /// - Throws: `LogAttributionError.invalid` with the member that is wrong.
    package init(_ body: JSONValue, now: Timestamp) throws(LogAttributionError) {
        guard let members = body.object else { throw .invalid("body", "must be an object.") }
        let known: Set = ["app", "inactive_days", "click_hours", "view_hours", "starts_at"]
        guard known.isSuperset(of: members.keys) else {
            throw .invalid("body", "has other members than \(known.sorted().joined(separator: ", ")).")
        }
        if let member = members["app"], member != .null {
            guard let text = member.string, text.utf8.count <= Self.appBytesMax, !text.utf8.contains(0) else {
                throw .invalid("app", "must be at most \(Self.appBytesMax) bytes of text.")
            }
            app = text
        }
        if let member = members["inactive_days"], member != .null {
            guard let days = member.integer.flatMap({ Int(exactly: $0) }), Self.days.contains(days) else {
                throw .invalid("inactive_days", "must be a whole number from 0 to 30.")
            }
            inactiveDays = days
        }
        if let click = try WindowOverride.hours("click_hours", members, ConversionDefinition.clickHours) {
            window.click = click
        }
        if let view = try WindowOverride.hours("view_hours", members, ConversionDefinition.viewHours) {
            window.view = view
        }
        startsAt = now
        if let member = members["starts_at"], member != .null {
            startsAt = try LogAttribution.Wish.moment("starts_at", member.string ?? "") ?? now
            guard Self.times.contains(startsAt.microseconds) else {
                throw .invalid("starts_at", "must be in the years 1 to 9999.")
            }
        }
    }

    /// Reads back what was kept. Number and time stand beside the text: what it says of them is not looked at.
    /// - Throws: `LogAttributionError.invalid` for a text that no rule wrote.
    init(kept body: JSONValue, version: Int, startsAt: Timestamp) throws(LogAttributionError) {
        var members = body.object ?? [:]
        (members["version"], members["starts_at"]) = (nil, nil)
        try self.init(.object(members), now: startsAt)
        self.version = version
    }

    package var json: JSONValue {
        [
            "app": app.isEmpty ? .null : .string(app), "version": .integer(Int64(version)),
            "starts_at": version == 0 ? .null : .string(startsAt.rfc3339),
            "inactive_days": .integer(Int64(inactiveDays)), "click_hours": .number(window.click.seconds / 3600),
            "view_hours": .number(window.view.seconds / 3600),
        ]
    }

    /// The rule of an app at a moment.
    static func inForce(_ versions: [ReEngagementRule], app: String, at: Timestamp) -> ReEngagementRule {
        func newest(_ name: String) -> ReEngagementRule? {
            versions.filter { $0.app == name && $0.startsAt <= at }.max { $0.version < $1.version }
        }
        return newest(app) ?? newest("") ?? standard
    }

    /// The longest that a touch may be before an open under any version, in microseconds.
    static func longest(_ versions: [ReEngagementRule]) -> Int64 {
        (versions + [standard]).map { InstallWindow($0.window).longest }.max() ?? 0
    }
}
