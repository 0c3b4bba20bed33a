package import AurumCore
package import Database
package import Runtime

/// When runs over the log are made of a conversion without anybody asking.
package enum RunPlan: Sendable, Equatable {
    /// Every so many hours, at a time of the organisation's own: see `offset(_:)`.
    case every(hours: Int)
    /// At a time of the day, hours and minutes, by the clocks of a zone.
    case daily(hour: Int, minute: Int, zone: String)

    package static let hours = 1...168

    /// Reads what `json` writes.
    /// - Throws: `LogAttributionError.invalid` with the member that is wrong.
    package init(_ body: JSONValue) throws(LogAttributionError) {
        guard let members = body.object else { throw .invalid("body", "must be an object.") }
        let known: Set = ["every_hours", "daily_at", "timezone"]
        guard known.isSuperset(of: members.keys) else {
            throw .invalid("body", "has other members than \(known.sorted().joined(separator: ", ")).")
        }
        if let daily = members["daily_at"] {
            guard members["every_hours"] == nil else {
                throw .invalid("every_hours", "and daily_at exclude each other.")
            }
            guard let (hour, minute) = Self.clock(daily.string) else {
                throw .invalid("daily_at", "must be a time of the day as text, such as \"03:30\".")
            }
            guard let zone = (members["timezone"] ?? "UTC").string else {
                throw .invalid("timezone", Self.zoneSentence)
            }
            self = .daily(hour: hour, minute: minute, zone: zone)
            do throws(JobError) { _ = try times } catch { throw .invalid("timezone", Self.zoneSentence) }
            return
        }
        guard members["timezone"] == nil else { throw .invalid("timezone", "belongs to daily_at.") }
        guard let hours = members["every_hours"]?.integer, let hours = Int(exactly: hours), Self.hours.contains(hours)
        else {
            throw .invalid(
                "every_hours",
                "must be a whole number from \(Self.hours.lowerBound) to \(Self.hours.upperBound); or give daily_at.")
        }
        self = .every(hours: hours)
    }

    private static let zoneSentence = "must be a time zone, such as America/New_York."

    /// `HH:MM`.
    private static func clock(_ text: String?) -> (hour: Int, minute: Int)? {
        guard let text, text.utf8.count == 5, text.utf8.allSatisfy({ (48...58).contains($0) }) else { return nil }
        let parts = text.split(separator: ":", omittingEmptySubsequences: false)
        guard parts.count == 2, parts.allSatisfy({ $0.utf8.count == 2 }), let hour = Int(parts[0]),
            let minute = Int(parts[1]), (0...23).contains(hour), (0...59).contains(minute)
        else { return nil }
        return (hour, minute)
    }

    private var times: JobSchedule.Plan {
        get throws(JobError) {
            switch self {
            case .every(let hours): .every(.seconds(hours * 3600))
            case .daily(let hour, let minute, let zone):
                .cron(try CronExpression("\(minute) \(hour) * * *", zone: zone))
            }
        }
    }

    /// The first time after `moment`.
    package func next(after moment: Timestamp, org: String) throws(JobError) -> Timestamp {
        let offset = offset(org)
        return try times.tick(after: moment - offset) + offset
    }

    /// How long after whole multiples of the hours since 1970, UTC, an organisation's turn comes: always the same whole
    /// minutes, and others for others, so that not all runs of a server are due at once.
    package func offset(_ org: String) -> Duration {
        guard case .every(let hours) = self else { return .zero }
        return .seconds(Int64(TextHash.of(org) % UInt64(hours * 60)) * 60)
    }

    package var members: [String: JSONValue] {
        switch self {
        case .every(let hours): ["every_hours": .integer(Int64(hours))]
        case .daily(let hour, let minute, let zone):
            ["daily_at": .string(Self.two(hour) + ":" + Self.two(minute)), "timezone": .string(zone)]
        }
    }

    private static func two(_ number: Int) -> String { number < 10 ? "0\(number)" : "\(number)" }
}

/// The plan of one conversion, and how the newest of its runs ended.
package struct RunSchedule: Sendable, Equatable {
    package enum Outcome: String, Sendable {
        case done
        /// Nothing had changed since the result that answers.
        case unchanged
        case failed
    }

    package struct End: Sendable, Equatable {
        package var outcome: Outcome
        /// Of a failure.
        package var code: String?
        package var at: Timestamp
        package var milliseconds: Int64

        package init(_ outcome: Outcome, code: String? = nil, at: Timestamp, milliseconds: Int64) {
            (self.outcome, self.code, self.at, self.milliseconds) = (outcome, code, at, milliseconds)
        }
    }

    package var org: String
    package var conversion: String
    /// nil where this release, or this machine's time zones, cannot read it.
    package var plan: RunPlan?
    package var next: Timestamp
    /// nil: none has ended.
    package var last: End?
    /// When one last ended that did not fail.
    package var succeededAt: Timestamp?

    package var json: JSONValue {
        var members = plan?.members ?? [:]
        members["conversion"] = .string(conversion)
        members["next_at"] = .string(next.rfc3339)
        members["succeeded_at"] = succeededAt.map { .string($0.rfc3339) } ?? .null
        members["last"] =
            last.map { end in
                [
                    "outcome": .string(end.outcome.rawValue), "code": end.code.map { .string($0) } ?? .null,
                    "ended_at": .string(end.at.rfc3339), "seconds": .number(Double(end.milliseconds) / 1000),
                ]
            } ?? .null
        return .object(members)
    }
}

extension RunSchedule: RowDecodable {
    package init(row: Row) throws {
        (org, conversion, next) = (try row.get("org"), try row.get("conversion"), try row.get("next_at"))
        // One that cannot be read keeps no other from being due.
        plan = try? RunPlan(JSONValue(sqlValue: .text(try row.get("plan", as: String.self))) ?? .null)
        succeededAt = try row.optional("succeeded_at")
        guard let outcome = try row.optional("outcome", as: String.self).flatMap({ Outcome(rawValue: $0) }) else {
            last = nil
            return
        }
        last = End(
            outcome, code: try row.optional("code"), at: try row.get("ended_at"),
            milliseconds: try row.get("milliseconds"))
    }
}
