package import AurumCore

/// Which quarantined events are meant.
package struct QuarantineFilter: Sendable, Equatable {
    package var org: String
    package var app: String?
    /// `bad_ts`, `plan:required`, or `plan` for every rule of a plan; nil for all.
    package var reason: String?
    /// By the time of receipt, both ends included.
    package var from: Timestamp?
    package var to: Timestamp?

    package init(org: String, app: String? = nil, reason: String? = nil, from: Timestamp? = nil, to: Timestamp? = nil) {
        (self.org, self.app, self.reason, self.from, self.to) = (org, app, reason, from, to)
    }

    func holds(_ tag: String) -> Bool {
        guard let reason else { return true }
        return reason == tag || (reason == "plan" && tag.hasPrefix("plan:"))
    }

    /// Whether a reason names something.
    package static func isKnown(reason: String) -> Bool {
        reason == "plan" || QuarantineReason.allCases.contains { $0 != .none && $0.tag == reason }
    }

    /// Reads the `filter` of a body.
    package init(_ document: JSONValue?, org: String) throws(PolicyError) {
        self.init(org: org)
        var problems: [PolicyProblem] = []
        for (name, value) in (document?.object ?? [:]).sorted(by: { $0.key < $1.key }) {
            if case .null = value { continue }
            let text = value.string
            switch name {
            case "app": app = text
            case "reason" where text.map(Self.isKnown(reason:)) == true: reason = text
            case "from": from = text.flatMap { Timestamp(rfc3339: $0) }
            case "to": to = text.flatMap { Timestamp(rfc3339: $0) }
            case "reason":
                let known = QuarantineReason.allCases.filter { $0 != .none }.map(\.tag).joined(separator: ", ")
                problems.append(PolicyProblem("filter.reason", "must be plan or one of \(known)"))
                continue
            default:
                problems.append(
                    PolicyProblem("filter.\(name.prefix(40))", "is no filter; there are app, reason, from and to"))
                continue
            }
            let isRead = [app, reason, from?.rfc3339, to?.rfc3339].contains { $0 != nil }
            if !isRead || text == nil || (name == "from" && from == nil) || (name == "to" && to == nil) {
                problems.append(
                    PolicyProblem("filter.\(name)", name == "app" ? "must be a text" : "must be a time as RFC 3339"))
            }
        }
        if let document, document.object == nil {
            problems.append(PolicyProblem("filter", "must be an object of app, reason, from and to"))
        }
        guard problems.isEmpty else { throw .invalid(problems) }
    }
}

/// One quarantined event as an answer shows it.
package struct QuarantineEntry: Sendable {
    package var position: LogPosition
    package var receipt: String
    package var index: Int
    package var app: String
    package var format: String
    package var receivedAt: Timestamp
    package var reason: String
    package var field: String
    package var detail: String
    /// The plan's version it was held against.
    package var planVersion: Int?
    /// Where it breaks the plan in force; nil when it keeps it now.
    package var planPath: String?
    /// The text as it was sent; nil when its key is gone.
    package var raw: String?

    /// - Parameter showsRaw: the text may hold personal data.
    package func json(showsRaw: Bool) -> JSONValue {
        var members: [String: JSONValue] = [
            "position": .string(position.description), "receipt": .string(receipt), "index": .integer(Int64(index)),
            "app": .string(app), "source_format": .string(format), "received_at": .string(receivedAt.rfc3339),
            "reason": .string(reason), "field": .string(field), "detail": .string(detail),
        ]
        if let planVersion { members["plan_version"] = .integer(Int64(planVersion)) }
        if let planPath { members["path"] = .string(planPath) }
        if showsRaw { members["raw"] = raw.map(JSONValue.string) ?? .null }
        return .object(members)
    }
}

/// Quarantined events of one app and reason.
package struct QuarantineCount: Sendable, Equatable {
    package var app: String
    package var reason: String
    package var count: Int
}

/// What a replay did, or would do.
package struct ReplayReport: Sendable, Equatable {
    /// Events that the filter means.
    package var matched = 0
    package var stored = 0
    package var duplicate = 0
    package var bot = 0
    package var late = 0
    /// Events that are still refused, by reason.
    package var refused: [String: Int] = [:]
    package var isDryRun = false
    /// The bound of one call was reached and others wait: call again with what stands behind this.
    package var next: LogPosition?

    /// Events that left the quarantine.
    package var replayed: Int { stored + duplicate + bot + late }

    package var json: JSONValue {
        [
            "matched": .integer(Int64(matched)), "replayed": .integer(Int64(replayed)),
            "stored": .integer(Int64(stored)), "duplicate": .integer(Int64(duplicate)), "bot": .integer(Int64(bot)),
            "late": .integer(Int64(late)), "quarantined": .integer(Int64(refused.values.reduce(0, +))),
            "reasons": .object(refused.mapValues { .integer(Int64($0)) }), "dry_run": .bool(isDryRun),
            "more": .bool(next != nil), "next": next.map { .string($0.description) } ?? .null,
        ]
    }

    mutating func count(_ outcome: EventOutcome) {
        switch outcome {
        case .stored: stored += 1
        case .duplicate: duplicate += 1
        case .bot: bot += 1
        case .late: late += 1
        case .quarantined: refused["unknown", default: 0] += 1
        }
    }
}
