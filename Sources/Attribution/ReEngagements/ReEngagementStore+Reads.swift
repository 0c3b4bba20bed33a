package import AurumCore
internal import Database
internal import Events

/// Which opens a list shows.
package struct ReEngagementFilter: Sendable, Equatable {
    /// By the time of the open: `from` ≤ time < `to`.
    package var from: Timestamp?
    package var to: Timestamp?
    package var app: String?
    package var campaign: String?
    /// `all` or one outcome.
    package var outcome = ReEngagementFilter.outcomes[0]
    package var limit = 100
    /// As an answer's `next` said.
    package var after: InstallPageMark?

    package static let outcomes = ReEngagementDecision.Outcome.allCases.map(\.rawValue) + ["all"]

    package init() {}
}

extension ReEngagementStore {
    // MARK: answers

    private static func bounds(_ filter: ReEngagementFilter) -> (Timestamp, Timestamp) {
        (filter.from ?? Timestamp(microseconds: .min), filter.to ?? Timestamp(microseconds: .max))
    }

    /// Opens (`known`) with their decisions (`found`): the rows of `DecidedOpen`.
    /// - Parameter version: of the decision; the one that holds unless told.
    private static func decided(_ join: SQLStatement, _ version: SQLStatement = "known.version") -> SQLStatement {
        """
        SELECT known.*, found.body AS body, found.cause AS cause, found.decided_at AS decided_at,
            found.version AS found_version
        FROM reengagements AS known \(part: join) reengagement_decisions AS found ON found.org = known.org
            AND found.app = known.app AND found.event_id = known.event_id AND found.version = \(part: version)
        """
    }

    /// Decisions that hold, newest open first.
    func list(org: String, _ filter: ReEngagementFilter) async throws -> [DecidedOpen] {
        let (from, to) = Self.bounds(filter)
        let (outcome, app) = (filter.outcome == "all" ? "" : filter.outcome, filter.app ?? "")
        let (campaign, anyCampaign) = (filter.campaign ?? "", filter.campaign == nil ? 1 : 0)
        let (isFirst, mark) = (filter.after == nil ? 1 : 0, filter.after)
        let (at, lastApp, last) = (mark?.at ?? Timestamp(microseconds: .max), mark?.app ?? "", mark?.eventID ?? "")
        return try await database.read("reengagements.list", limit: .report) { tx in
            try tx.all(
                DecidedOpen.self,
                """
                \(part: Self.decided("JOIN"))
                WHERE known.org = \(org) AND known.at >= \(from) AND known.at < \(to) AND known.at <= \(at)
                    AND (\(outcome) = '' OR found.outcome = \(outcome))
                    AND (\(anyCampaign) = 1 OR found.campaign = \(campaign)) AND (\(app) = '' OR known.app = \(app))
                    AND (\(isFirst) = 1 OR known.at < \(at) OR (known.at = \(at) AND (known.app > \(lastApp)
                        OR (known.app = \(lastApp) AND known.event_id > \(last)))))
                ORDER BY known.at DESC, known.app, known.event_id LIMIT \(filter.limit)
                """)
        }
    }

    /// An open by its event id, with a decision: the one that holds unless told. The newest where several apps have
    /// one of this id.
    func one(org: String, id: String, app: String?, version: Int?) async throws -> DecidedOpen? {
        let (app, version) = (app ?? "", version ?? 0)
        return try await database.read("reengagements.one") { tx in
            try tx.one(
                DecidedOpen.self,
                """
                \(part: Self.decided("LEFT JOIN", version == 0 ? "known.version" : "\(version)"))
                WHERE known.org = \(org) AND known.event_id = \(id) AND (\(app) = '' OR known.app = \(app))
                ORDER BY known.at DESC, known.app LIMIT 1
                """)
        }
    }

    /// Versions of the decision of an open, the newest first.
    func versions(org: String, app: String, id: String) async throws -> [Int] {
        try await database.read("reengagements.versions") { tx in
            try tx.values(
                Int.self,
                """
                SELECT version FROM reengagement_decisions WHERE org = \(org) AND app = \(app) AND event_id = \(id)
                ORDER BY version DESC
                """)
        }
    }

    /// Re-engagements by campaign, the largest first.
    func summary(org: String, _ filter: ReEngagementFilter) async throws -> [ReEngagementLine] {
        let (from, to) = Self.bounds(filter)
        let app = filter.app ?? ""
        return try await database.read("reengagements.summary", limit: .report) { tx in
            try tx.all(
                ReEngagementLine.self,
                """
                SELECT found.campaign AS campaign, COUNT(*) AS opens,
                    COUNT(CASE WHEN found.kind = 'view' THEN 1 END) AS views
                FROM reengagements AS known JOIN reengagement_decisions AS found ON found.org = known.org
                    AND found.app = known.app AND found.event_id = known.event_id AND found.version = known.version
                WHERE known.org = \(org) AND known.at >= \(from) AND known.at < \(to)
                    AND known.is_reengagement = 1 AND (\(app) = '' OR known.app = \(app))
                GROUP BY found.campaign ORDER BY COUNT(*) DESC, found.campaign LIMIT \(InstallLine.linesMax)
                """)
        }
    }

    /// How many opens were decided to be what, and how many wait for their first decision under `waiting`.
    func outcomes(org: String, _ filter: ReEngagementFilter) async throws -> [String: Int64] {
        let (from, to) = Self.bounds(filter)
        let app = filter.app ?? ""
        let rows = try await database.read("reengagements.outcomes", limit: .report) { tx in
            try tx.all(
                OutcomeCount.self,
                """
                SELECT COALESCE(found.outcome, 'waiting') AS outcome, COUNT(*) AS opens
                FROM reengagements AS known LEFT JOIN reengagement_decisions AS found ON found.org = known.org
                    AND found.app = known.app AND found.event_id = known.event_id AND found.version = known.version
                WHERE known.org = \(org) AND known.at >= \(from) AND known.at < \(to)
                    AND (\(app) = '' OR known.app = \(app))
                GROUP BY COALESCE(found.outcome, 'waiting')
                """)
        }
        return Dictionary(rows.map { ($0.outcome, $0.opens) }) { $0 + $1 }
    }

    // MARK: one device

    /// Opens of a device from a moment on, newest first.
    func ofDevice(
        _ keys: InstallKeys, org: String, app: String, from: Timestamp, limit: Int
    ) async throws -> [DecidedOpen] {
        let devices = keys.devices
        return try await database.read("reengagements.ofDevice") { tx in
            try tx.all(
                DecidedOpen.self,
                """
                \(part: Self.decided("LEFT JOIN"))
                WHERE known.org = \(org) AND known.app = \(app) AND known.event_id IN (
                        SELECT event_id FROM reengagement_keys WHERE org = \(org) AND app = \(app)
                            AND found_key IN (\(list: devices)) AND at >= \(from))
                ORDER BY known.at DESC, known.event_id DESC LIMIT \(limit)
                """)
        }
    }

    func inForce(
        _ keys: InstallKeys, org: String, app: String, since: Timestamp?, at: Timestamp
    ) async throws -> DecidedOpen? {
        try await database.read("reengagements.inForce") { tx in
            try Self.inForce(keys, org: org, app: app, since: since, at: at, in: tx)
        }
    }

    /// The earliest open that may have taken over at a moment.
    private static func earliest(since: Timestamp?, at: Timestamp) -> Timestamp {
        max(at - .microseconds(ReEngagementRule.holdsFor), since ?? Timestamp(microseconds: .min))
    }

    /// The re-engagement that has taken over from the install of a device at a moment; nil where the install's own
    /// attribution holds.
    /// - Parameter since: the newest install of the device by then: it takes from what was before it.
    static func inForce(
        _ keys: InstallKeys, org: String, app: String, since: Timestamp?, at: Timestamp, in tx: Transaction
    ) throws -> DecidedOpen? {
        let (devices, from) = (keys.devices, earliest(since: since, at: at))
        return try tx.one(
            DecidedOpen.self,
            """
            \(part: decided("JOIN"))
            WHERE known.org = \(org) AND known.app = \(app) AND known.is_reengagement = 1 AND known.event_id IN (
                    SELECT event_id FROM reengagement_keys WHERE org = \(org) AND app = \(app)
                        AND found_key IN (\(list: devices)) AND at >= \(from) AND at <= \(at))
            ORDER BY known.at DESC, known.event_id DESC LIMIT 1
            """)
    }

    /// Whether an open that may have taken over at a moment waits for its first decision.
    static func isUndecided(
        _ keys: InstallKeys, org: String, app: String, since: Timestamp?, at: Timestamp, in tx: Transaction
    ) throws -> Bool {
        let (devices, from) = (keys.devices, earliest(since: since, at: at))
        return try tx.value(
            String.self,
            """
            SELECT event_id FROM reengagements WHERE org = \(org) AND app = \(app) AND version = 0 AND event_id IN (
                SELECT event_id FROM reengagement_keys WHERE org = \(org) AND app = \(app)
                    AND found_key IN (\(list: devices)) AND at >= \(from) AND at <= \(at)) LIMIT 1
            """) != nil
    }

    // MARK: journeys

    /// Touches that re-engagements join to the journeys of those who came back, of the newest first.
    func joined(org: String, from: Timestamp, to: Timestamp, limit: Int) async throws -> [JoinedTouch] {
        try await database.read("reengagements.joined", limit: .report) { tx in
            try tx.all(
                JoinedTouchRow.self,
                """
                SELECT found.person AS person, found.touch_at AS touch_at, found.kind AS kind,
                    found.campaign AS campaign, found.channel AS channel, found.sort_id AS sort_id,
                    found.sort_tail AS sort_tail, found.click_hash AS click_hash, found.app AS app
                FROM reengagements AS known JOIN reengagement_decisions AS found ON found.org = known.org
                    AND found.app = known.app AND found.event_id = known.event_id AND found.version = known.version
                WHERE known.org = \(org) AND known.is_reengagement = 1 AND found.person <> 0
                    AND found.person <> found.touch_person AND found.touch_at >= \(from) AND found.touch_at <= \(to)
                ORDER BY known.at DESC, known.app, known.event_id LIMIT \(limit)
                """
            ).map(\.joined)
        }
    }

    // MARK: settings

    /// Versions of all apps of an organisation, at most.
    static let rulesMax = 500

    /// Every version, by app and version.
    func rules(org: String) async throws -> [ReEngagementRule] {
        let rows = try await database.read("reengagements.rules") { tx in
            try tx.all(
                RuleRow.self,
                """
                SELECT version, starts_at, body FROM reengagement_rules WHERE org = \(org) ORDER BY app, version
                """)
        }
        return try rows.map { try $0.rule }
    }

    /// How far an open asks back for touches and uses at most, under any version, in microseconds: a touch counts by
    /// the session before it.
    func reach(org: String) async throws -> Int64 {
        max(ReEngagementRule.longest(try await rules(org: org)), Self.longestAway)
    }

    /// Saves a version.
    /// - Throws: `LogAttributionError.tooLarge`; database errors.
    func save(_ rule: ReEngagementRule, org: String) async throws -> ReEngagementRule {
        var saved = rule
        saved.version = try await database.write("reengagements.saveRule") { tx in
            let count = try tx.value(Int.self, "SELECT COUNT(*) FROM reengagement_rules WHERE org = \(org)") ?? 0
            guard count < Self.rulesMax else {
                throw LogAttributionError.tooLarge(
                    "An organisation has \(Self.rulesMax) versions of rules of re-engagement at most.")
            }
            let last = try tx.value(
                Int.self, "SELECT MAX(version) FROM reengagement_rules WHERE org = \(org) AND app = \(rule.app)")
            let version = (last ?? 0) + 1
            try tx.run(
                """
                INSERT INTO reengagement_rules (org, app, version, starts_at, body, created_at)
                VALUES (\(org), \(rule.app), \(version), \(rule.startsAt), \(rule.json.canonical), \(tx.now))
                """)
            return version
        }
        return saved
    }
}

/// An open with the decision that was asked for.
struct DecidedOpen: RowDecodable, Sendable {
    let open: KeptOpen
    let body: JSONValue?
    let cause: String?
    let decidedAt: Timestamp?
    let version: Int

    init(row: Row) throws {
        open = try KeptOpen(row: row)
        (body, cause) = (try row.optional("body"), try row.optional("cause"))
        (decidedAt, version) = (try row.optional("decided_at"), try row.optional("found_version") ?? 0)
    }

    var mark: InstallPageMark {
        InstallPageMark(at: open.install.facts.at, app: open.install.facts.app, eventID: open.install.eventID)
    }

    /// In lower case; nil where nobody is named.
    var network: String? { body?["network"]?.string?.lowercased() }

    var json: JSONValue {
        let (install, facts) = (open.install, open.install.facts)
        var members = body?.object ?? [:]
        members["id"] = .string(install.eventID)
        members["app"] = .string(facts.app)
        members["at"] = .string(facts.at.rfc3339)
        members["received_at"] = .string(install.receivedAt.rfc3339)
        members["device"] = facts.device.map { .string($0) } ?? .null
        members["state"] = .string(open.isWaiting ? "waiting" : "decided")
        members["version"] = .integer(Int64(version))
        members["cause"] = cause.map { .string($0) } ?? .null
        members["decided_at"] = decidedAt.map { .string($0.rfc3339) } ?? .null
        return .object(members)
    }
}

/// Re-engagements of one campaign.
struct ReEngagementLine: RowDecodable, Sendable {
    let campaign: String
    let opens: Int64
    let views: Int64

    init(row: Row) throws {
        (campaign, opens, views) = (try row.get("campaign"), try row.get("opens"), try row.get("views"))
    }

    var json: JSONValue {
        [
            "campaign": campaign.isEmpty ? .null : .string(campaign), "re_engagements": .integer(opens),
            "by_view": .integer(views),
        ]
    }
}

private struct OutcomeCount: RowDecodable, Sendable {
    let outcome: String
    let opens: Int64

    init(row: Row) throws { (outcome, opens) = (try row.get("outcome"), try row.get("opens")) }
}

private struct RuleRow: RowDecodable, Sendable {
    let version: Int
    let startsAt: Timestamp
    let body: JSONValue

    init(row: Row) throws {
        (version, startsAt, body) = (try row.get("version"), try row.get("starts_at"), try row.get("body"))
    }

    var rule: ReEngagementRule {
        get throws { try ReEngagementRule(kept: body, version: version, startsAt: startsAt) }
    }
}
