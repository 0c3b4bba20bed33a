package import AurumCore
internal import Database
internal import Events

/// Which installs a list shows.
package struct InstallFilter: Sendable, Equatable {
    /// By the time of the first open: `from` ≤ time < `to`.
    package var from: Timestamp?
    package var to: Timestamp?
    package var app: String?
    package var method: InstallMethod?
    package var campaign: String?
    package var limit = 100
    /// As an answer's `next` said.
    package var after: InstallPageMark?

    package init() {}
}

/// The last install of a page.
package struct InstallPageMark: Sendable, Equatable {
    var at: Timestamp
    var app: String
    var eventID: String

    init(at: Timestamp, app: String, eventID: String) { (self.at, self.app, self.eventID) = (at, app, eventID) }

    /// nil for a text that no answer gave.
    package init?(_ text: String) {
        guard let parts = JSONValue(sqlValue: .text(text))?.array, parts.count == 3, let at = parts[0].integer,
            let app = parts[1].string, let id = parts[2].string, !text.utf8.contains(0)
        else { return nil }
        self.init(at: Timestamp(microseconds: at), app: app.storable, eventID: id.storable)
    }

    package var text: String {
        JSONValue.array([.integer(at.microseconds), .string(app), .string(eventID)]).canonical
    }
}

extension InstallStore {
    // MARK: answers

    /// Decisions that hold, newest install first.
    func list(org: String, _ filter: InstallFilter) async throws -> [DecidedInstall] {
        let (from, to) = Self.bounds(filter)
        let (method, campaign, app) = (filter.method?.rawValue ?? "", filter.campaign ?? "", filter.app ?? "")
        let anyCampaign = filter.campaign == nil ? 1 : 0
        let (isFirst, mark) = (filter.after == nil ? 1 : 0, filter.after)
        let (at, lastApp, last) = (mark?.at ?? Timestamp(microseconds: .max), mark?.app ?? "", mark?.eventID ?? "")
        return try await database.read("installs.list", limit: .report) { transaction in
            try transaction.all(
                DecidedInstall.self,
                """
                SELECT installs.*, found.method AS method, found.body AS body, found.cause AS cause,
                    found.decided_at AS decided_at, found.version AS found_version
                FROM installs JOIN install_decisions AS found ON found.org = installs.org AND found.app = installs.app
                    AND found.event_id = installs.event_id AND found.version = installs.version
                WHERE installs.org = \(org) AND installs.at >= \(from) AND installs.at < \(to) AND installs.at <= \(at)
                    AND (\(method) = '' OR found.method = \(method))
                    AND (\(anyCampaign) = 1 OR found.campaign = \(campaign))
                    AND (\(app) = '' OR installs.app = \(app))
                    AND (\(isFirst) = 1 OR installs.at < \(at) OR (installs.at = \(at) AND (installs.app > \(lastApp)
                        OR (installs.app = \(lastApp) AND installs.event_id > \(last)))))
                ORDER BY installs.at DESC, installs.app, installs.event_id LIMIT \(filter.limit)
                """)
        }
    }

    /// An install by its event id, with a decision: the one that holds unless told. The newest where several apps have
    /// one of this id.
    func one(org: String, id: String, app: String?, version: Int?) async throws -> DecidedInstall? {
        let app = app ?? ""
        let version = version ?? 0
        return try await database.read("installs.one") { transaction in
            try transaction.one(
                DecidedInstall.self,
                """
                SELECT installs.*, found.method AS method, found.body AS body, found.cause AS cause,
                    found.decided_at AS decided_at, found.version AS found_version
                FROM installs LEFT JOIN install_decisions AS found ON found.org = installs.org
                    AND found.app = installs.app AND found.event_id = installs.event_id
                    AND found.version = CASE WHEN \(version) = 0 THEN installs.version ELSE \(version) END
                WHERE installs.org = \(org) AND installs.event_id = \(id) AND (\(app) = '' OR installs.app = \(app))
                ORDER BY installs.at DESC, installs.app LIMIT 1
                """)
        }
    }

    /// Versions of the decision of an install, the newest first.
    func versions(org: String, app: String, id: String) async throws -> [Int] {
        try await database.read("installs.versions") { transaction in
            try transaction.values(
                Int.self,
                """
                SELECT version FROM install_decisions WHERE org = \(org) AND app = \(app) AND event_id = \(id)
                ORDER BY version DESC
                """)
        }
    }

    /// Installs by campaign, the largest first; those without one are organic.
    func summary(org: String, _ filter: InstallFilter) async throws -> [InstallLine] {
        let (from, to) = Self.bounds(filter)
        let app = filter.app ?? ""
        return try await database.read("installs.summary", limit: .report) { transaction in
            try transaction.all(
                InstallLine.self,
                """
                SELECT found.campaign AS campaign, COUNT(*) AS installs,
                    COUNT(CASE WHEN found.method = 'organic' THEN 1 END) AS organic,
                    COUNT(CASE WHEN found.is_reinstall = 1 THEN 1 END) AS reinstalls,
                    COUNT(CASE WHEN found.verdict = 'rejected' THEN 1 END) AS rejected,
                    COUNT(CASE WHEN found.verdict = 'suspect' THEN 1 END) AS suspect,
                    COUNT(CASE WHEN found.kind = 'view' THEN 1 END) AS views
                FROM installs JOIN install_decisions AS found ON found.org = installs.org AND found.app = installs.app
                    AND found.event_id = installs.event_id AND found.version = installs.version
                WHERE installs.org = \(org) AND installs.at >= \(from) AND installs.at < \(to)
                    AND (\(app) = '' OR installs.app = \(app))
                GROUP BY found.campaign ORDER BY COUNT(*) DESC, found.campaign LIMIT \(InstallLine.linesMax)
                """)
        }
    }

    private static func bounds(_ filter: InstallFilter) -> (Timestamp, Timestamp) {
        (filter.from ?? Timestamp(microseconds: .min), filter.to ?? Timestamp(microseconds: .max))
    }

    /// A page of installs in the order of their times, for deciding them once more.
    func page(org: String, from: Int64, to: Int64, after: InstallPageMark?, limit: Int) async throws -> [KeptInstall] {
        let (first, last) = (Timestamp(microseconds: from), Timestamp(microseconds: to))
        let mark = after ?? InstallPageMark(at: Timestamp(microseconds: .min), app: "", eventID: "")
        return try await database.read("installs.page") { transaction in
            try transaction.all(
                InstallRow.self,
                """
                SELECT * FROM installs WHERE org = \(org) AND at >= \(first) AND at < \(last)
                    AND (at > \(mark.at) OR (at = \(mark.at) AND (app > \(mark.app)
                        OR (app = \(mark.app) AND event_id > \(mark.eventID)))))
                ORDER BY at, app, event_id LIMIT \(limit)
                """
            ).map(\.install)
        }
    }

    // MARK: journeys

    /// Touches that matches join to the journeys of those who installed, of the newest installs first.
    func joined(org: String, from: Timestamp, to: Timestamp, limit: Int) async throws -> [JoinedTouch] {
        try await database.read("installs.joined", limit: .report) { transaction in
            try transaction.all(
                JoinedTouchRow.self,
                """
                SELECT found.person AS person, found.touch_at AS touch_at, found.kind AS kind,
                    found.campaign AS campaign, found.channel AS channel, found.sort_id AS sort_id,
                    found.sort_tail AS sort_tail, found.click_hash AS click_hash, found.app AS app
                FROM installs JOIN install_decisions AS found ON found.org = installs.org AND found.app = installs.app
                    AND found.event_id = installs.event_id AND found.version = installs.version
                WHERE installs.org = \(org) AND found.method <> 'organic' AND found.verdict <> 'rejected'
                    AND found.person <> 0 AND found.person <> found.touch_person
                    AND found.touch_at >= \(from) AND found.touch_at <= \(to)
                ORDER BY installs.at DESC, installs.app, installs.event_id LIMIT \(limit)
                """
            ).map(\.joined)
        }
    }

    // MARK: upkeep

    /// Keeps touches from a moment on for a while, because a recomputation has brought them back.
    func hold(org: String, run: UID, reach: Timestamp, until: Timestamp) async throws {
        try await database.write("installs.hold") { transaction in
            try transaction.run(
                """
                INSERT INTO install_rebuilds (org, run, reach_at, until_at)
                VALUES (\(org), \(run), \(reach), \(until))
                ON CONFLICT (org, run) DO UPDATE SET reach_at = excluded.reach_at, until_at = excluded.until_at
                """)
        }
    }

    func release(org: String, run: UID) async throws {
        try await database.write("installs.release") { transaction in
            try transaction.run("DELETE FROM install_rebuilds WHERE org = \(org) AND run = \(run)")
        }
    }

    func organisations() async throws -> [String] {
        try await database.read("installs.organisations") { transaction in
            var found: [String] = []
            while let next = try transaction.value(
                String.self, "SELECT MIN(org) FROM install_touches WHERE org > \(found.last ?? "")")
            {
                found.append(next)
            }
            return found
        }
    }

    /// Removes some of the touches that no install may be matched with any more.
    /// - Parameters:
    ///   - keep: microseconds before the newest request that was read, or before what still waits.
    ///   - reach: how far an open asks back at most, in microseconds. Also where nothing is installed yet: opens of
    ///     what is installed later ask for what was removed before.
    /// - Returns: how many.
    func purge(org: String, keep: Int64, reach: Int64) async throws -> Int {
        try await database.write("installs.purge") { transaction in
            let now = transaction.now
            let bounds = [
                try transaction.value(Timestamp.self, "SELECT MAX(received_at) FROM install_positions"),
                try transaction.value(
                    Timestamp.self, "SELECT MIN(at) FROM installs WHERE state = 'waiting' AND org = \(org)"),
                try transaction.value(
                    Timestamp.self, "SELECT MIN(at) FROM reengagements WHERE state = 'waiting' AND org = \(org)"),
                now,
            ].compactMap { $0?.microseconds }
            let held = try transaction.value(
                Timestamp.self,
                "SELECT MIN(reach_at) FROM install_rebuilds WHERE org = \(org) AND until_at > \(now)")
            let newest = bounds.min() ?? now.microseconds
            let (oldest, isOver) = newest.subtractingReportingOverflow(keep)
            guard !isOver else { return 0 }
            let before = Timestamp(microseconds: min(oldest, held?.microseconds ?? .max))
            let count = try transaction.run(
                """
                DELETE FROM install_touches WHERE (org, app, event_id) IN (
                    SELECT org, app, event_id FROM install_touches WHERE org = \(org) AND at < \(before)
                    ORDER BY at LIMIT \(Self.purgedEach))
                """)
            if count > 0 {
                try ReEngagementStore.noteRemoved(org: org, before: before, reach: reach, in: transaction)
            }
            return count
        }
    }

    /// Removes what is kept of an erased person.
    /// - Parameters:
    ///   - persons: as the log knows them.
    ///   - digest: of the device, as the fraud rules know it.
    func forget(org: String, keys: InstallKeys, persons: [Int64], digest: UID?) async throws {
        let (device, user, click) = (keys.device, keys.user, keys.click)
        try await database.write("installs.forget") { transaction in
            let installs = try transaction.values(
                String.self,
                """
                SELECT event_id FROM installs WHERE org = \(org) AND (person IN (\(list: persons))
                    OR device_key = \(device) OR user_key = \(user) OR click_key = \(click))
                """)
            let touches = try transaction.values(
                String.self,
                """
                SELECT event_id FROM install_touches WHERE org = \(org) AND (person IN (\(list: persons))
                    OR device_key = \(device) OR user_key = \(user) OR click_key = \(click))
                """)
            try FraudStore.forget(
                org, installs: installs.map { UID.ofEvent($0) }, touches: touches.map { UID.ofEvent($0) },
                device: digest, in: transaction)
            try CallbackStore.forget(org: org, keys: keys, persons: persons, in: transaction)
            try ReEngagementStore.forget(org: org, keys: keys, persons: persons, in: transaction)
            try transaction.run(
                """
                DELETE FROM link_clicks WHERE org = \(org) AND (device_key = \(device) OR click_id IN (
                    SELECT click_id FROM install_touches WHERE org = \(org) AND (person IN (\(list: persons))
                        OR device_key = \(device) OR user_key = \(user) OR click_key = \(click))))
                """)
            try transaction.run(
                """
                DELETE FROM install_touches WHERE org = \(org) AND (person IN (\(list: persons))
                    OR device_key = \(device) OR user_key = \(user) OR click_key = \(click))
                """)
            try transaction.run(
                """
                DELETE FROM install_decisions WHERE org = \(org) AND EXISTS (
                    SELECT 1 FROM installs WHERE installs.org = install_decisions.org
                        AND installs.app = install_decisions.app AND installs.event_id = install_decisions.event_id
                        AND (installs.person IN (\(list: persons)) OR installs.device_key = \(device)
                            OR installs.user_key = \(user) OR installs.click_key = \(click)))
                """)
            try transaction.run(
                """
                DELETE FROM installs WHERE org = \(org) AND (person IN (\(list: persons)) OR device_key = \(device)
                    OR user_key = \(user) OR click_key = \(click))
                """)
        }
    }
}

/// An install with the decision that was asked for.
struct DecidedInstall: RowDecodable, Sendable {
    let install: KeptInstall
    let body: JSONValue?
    let cause: String?
    let decidedAt: Timestamp?
    let version: Int

    init(row: Row) throws {
        install = try InstallRow(row: row).install
        (body, cause) = (try row.optional("body"), try row.optional("cause"))
        (decidedAt, version) = (try row.optional("decided_at"), try row.optional("found_version") ?? 0)
    }

    var mark: InstallPageMark {
        InstallPageMark(at: install.facts.at, app: install.facts.app, eventID: install.eventID)
    }

    var json: JSONValue {
        let facts = install.facts
        var members = body?.object ?? [:]
        members["id"] = .string(install.eventID)
        members["app"] = .string(facts.app)
        members["at"] = .string(facts.at.rfc3339)
        members["received_at"] = .string(install.receivedAt.rfc3339)
        members["device"] = facts.device.map { .string($0) } ?? .null
        members["state"] = .string(install.version == 0 ? "waiting" : "decided")
        members["version"] = .integer(Int64(version))
        members["cause"] = cause.map { .string($0) } ?? .null
        members["decided_at"] = decidedAt.map { .string($0.rfc3339) } ?? .null
        return .object(members)
    }
}

/// Installs of one campaign.
struct InstallLine: RowDecodable, Sendable {
    static let linesMax = 1000

    let campaign: String
    /// All, organic, reinstalls, rejected, suspect, by a view.
    let counts: [Int64]

    init(row: Row) throws {
        campaign = try row.get("campaign")
        counts = try ["installs", "organic", "reinstalls", "rejected", "suspect", "views"].map { try row.get($0) }
    }
}

struct JoinedTouchRow: RowDecodable, Sendable {
    let joined: JoinedTouch

    init(row: Row) throws {
        let kind: String = try row.get("kind")
        joined = JoinedTouch(
            place: try JourneyPlace(row: row, person: "person"), at: try row.get("touch_at"),
            kind: kind == "view" ? LogRecord.Kind.view : LogRecord.Kind.click, campaign: try row.get("campaign"),
            channel: try row.get("channel"), app: try row.get("app"))
    }
}
