internal import AurumCore
internal import Database
internal import Events

/// A decision to be written for an open about which nothing has come, and which nobody has decided, since it was read.
package struct NewReEngagement: Sendable {
    var open: KeptOpen
    var decision: ReEngagementDecision
    var cause: String
}

/// Opens by clicks and links, when devices used apps, and the decisions, in the tables of record. Every write may be
/// repeated.
struct ReEngagementStore: Sendable {
    let database: Database
    /// Decisions of one open that are kept.
    static let versionsKept = InstallStore.versionsKept
    static let purgedEach = 2000
    /// Touches and uses are kept for so long beyond what an open may ask for: what comes so late still counts.
    static let slack: Int64 = 7 * 86_400_000_000
    /// The longest time that may have to be without a use.
    static let longestAway = Int64(ReEngagementRule.days.upperBound) * 86_400_000_000

    // MARK: following

    /// Keeps what a part of the log holds, and lets opens wait again that it may change.
    static func keep(_ batch: InstallBatch, in tx: Transaction) throws {
        if batch.reopens { try reopen(by: batch, in: tx) }
        if !batch.opens.isEmpty {
            try tx.run(ReEngagementRows.insert(batch.opens))
            try tx.run(ReEngagementRows.insertKeys(batch.opens))
        }
        if !batch.activity.isEmpty {
            try tx.run(ReEngagementRows.upsert(batch.activity.map { ($0.key, $0.value) }))
        }
        if !batch.moved.isEmpty {
            try tx.run(ReEngagementRows.move(batch.moved.map { ($0.key, $0.value) }))
        }
    }

    private static func reopen(by batch: InstallBatch, in tx: Transaction) throws {
        let byOrg = Dictionary(grouping: KeyChange.all(of: batch), by: \.org)
        var changes: [KeyChange] = []
        for (org, some) in byOrg {
            // What comes in order is newer than every open, and then there is nothing to look for.
            guard let newest = try tx.value(Timestamp.self, "SELECT MAX(at) FROM reengagements WHERE org = \(org)")
            else { continue }
            changes += some.filter { $0.times.lowerBound <= newest.microseconds }
        }
        guard !changes.isEmpty else { return }
        try tx.run(ReEngagementRows.reopen(changes))
    }

    /// Opens that nobody has decided since they, or something about them, came: the longest waiting first.
    func waiting(limit: Int, without: [String]) async throws -> [KeptOpen] {
        let all = without.isEmpty ? 1 : 0
        return try await database.read("reengagements.waiting") { tx in
            try tx.all(
                KeptOpen.self,
                """
                SELECT * FROM reengagements WHERE state = 'waiting' AND (\(all) = 1 OR org NOT IN (\(list: without)))
                ORDER BY received_at, org, app, event_id LIMIT \(limit)
                """)
        }
    }

    /// A page of opens in the order of their times, for deciding them once more.
    func page(org: String, from: Int64, to: Int64, after: InstallPageMark?, limit: Int) async throws -> [KeptOpen] {
        let (first, last) = (Timestamp(microseconds: from), Timestamp(microseconds: to))
        let mark = after ?? InstallPageMark(at: Timestamp(microseconds: .min), app: "", eventID: "")
        return try await database.read("reengagements.page") { tx in
            try tx.all(
                KeptOpen.self,
                """
                SELECT * FROM reengagements WHERE org = \(org) AND at >= \(first) AND at < \(last)
                    AND (at > \(mark.at) OR (at = \(mark.at) AND (app > \(mark.app)
                        OR (app = \(mark.app) AND event_id > \(mark.eventID)))))
                ORDER BY at, app, event_id LIMIT \(limit)
                """)
        }
    }

    // MARK: what is known of a device

    /// - Parameter log: one of which everything about the open was just read once more.
    func history(of open: KeptInstall, _ rule: ReEngagementRule, readBack log: Int64?) async throws -> DeviceHistory {
        let (facts, devices) = (open.facts, open.keys.devices)
        let session = facts.at - .microseconds(ReEngagementDecision.sameSession)
        let start = facts.at - .seconds(rule.inactiveDays * 86_400)
        return try await database.read("reengagements.history") { tx in
            var history = DeviceHistory()
            try Self.look(&history, org: facts.org, at: facts.at, start: start, readBack: log, in: tx)
            let install = try Self.install(open.keys, org: facts.org, app: facts.app, until: facts.at, in: tx)
            history.install = install?.id
            // Of a half day with uses before and after the session's begin the first one is known to be before it.
            let used = try tx.value(
                Timestamp.self,
                """
                SELECT MAX(CASE WHEN last_at < \(session) THEN last_at ELSE first_at END) FROM device_activity
                WHERE org = \(facts.org) AND app = \(facts.app) AND device_key IN (\(list: devices))
                    AND first_at < \(session)
                """)
            history.lastSession = [used, install?.at].compactMap { $0 }.max()
            history.hasSession =
                install.map { $0.at >= session } ?? false
                || rule.inactiveDays > 0 && (history.lastSession.map { $0 >= start } ?? false)
            return history
        }
    }

    /// Finds out from when on every use is known, and whether that covers the days from `start` on. A log of which
    /// nothing was received since holds no use of these days.
    private static func look(
        _ history: inout DeviceHistory, org: String, at: Timestamp, start: Timestamp, readBack log: Int64?,
        in tx: Transaction
    ) throws {
        let (hasRead, read, never) = (log == nil ? 0 : 1, log ?? 0, Timestamp(microseconds: .max))
        let logs = try tx.one(
            LogCover.self,
            """
            SELECT COUNT(*) AS logs, MAX(COALESCE(activity_since, \(never))) AS since FROM install_positions
            WHERE received_at >= \(start) AND (\(hasRead) = 0 OR log <> \(read))
            """)
        let bound = try tx.value(
            Timestamp.self, "SELECT decidable_from FROM reengagement_bounds WHERE org = \(org)")
        let isRemoved = bound.map { at < $0 } ?? false
        history.knownFrom = logs?.since
        let isReadWhole = log != nil && logs?.logs == 0
        history.isKnown = (logs?.since.map { $0 <= start } ?? true) && (!isRemoved || isReadWhole)
    }

    /// The newest install of a device until a moment.
    private static func install(
        _ keys: InstallKeys, org: String, app: String, until: Timestamp, in tx: Transaction
    ) throws -> (id: String, at: Timestamp)? {
        var found: [KnownInstall] = []
        func look(_ sql: SQLStatement) throws {
            if let row = try tx.one(KnownInstall.self, sql) { found.append(row) }
        }
        if let key = keys.device {
            try look(
                """
                SELECT event_id, at FROM installs WHERE org = \(org) AND device_key = \(key) AND app = \(app)
                    AND at <= \(until)
                ORDER BY at DESC, event_id DESC LIMIT 1
                """)
        }
        if let key = keys.advertising {
            try look(
                """
                SELECT event_id, at FROM installs WHERE org = \(org) AND advertising_key = \(key) AND app = \(app)
                    AND at <= \(until)
                ORDER BY at DESC, event_id DESC LIMIT 1
                """)
        }
        if let key = keys.vendor {
            try look(
                """
                SELECT event_id, at FROM installs WHERE org = \(org) AND vendor_key = \(key) AND app = \(app)
                    AND at <= \(until)
                ORDER BY at DESC, event_id DESC LIMIT 1
                """)
        }
        return found.max { ($0.at, $0.id) < ($1.at, $1.id) }.map { ($0.id, $0.at) }
    }

    // MARK: decisions

    /// Writes decisions of opens about which nothing has come, and which nobody has decided, since they were read:
    /// others go on waiting. The same decision once more makes no version, and what is not known any more leaves the
    /// decision that was made when it was.
    /// - Returns: those that were written.
    func decide(_ all: [NewReEngagement]) async throws -> [NewReEngagement] {
        try await database.write("reengagements.decide") { tx in try all.filter { try Self.write($0, in: tx) } }
    }

    private static func write(_ new: NewReEngagement, in tx: Transaction) throws -> Bool {
        let (facts, id, version) = (new.open.install.facts, new.open.install.eventID, new.open.install.version)
        let body = new.decision.json
        let looks = new.open.looks
        if version > 0 {
            let known = try tx.value(
                JSONValue.self,
                """
                SELECT body FROM reengagement_decisions WHERE org = \(facts.org) AND app = \(facts.app)
                    AND event_id = \(id) AND version = \(version)
                """)
            if new.decision.outcome == .historyUnknown || known?.canonical == body.canonical {
                try tx.run(
                    """
                    UPDATE reengagements SET state = 'decided' WHERE org = \(facts.org) AND app = \(facts.app)
                        AND event_id = \(id) AND version = \(version) AND looks = \(looks) AND state = 'waiting'
                    """)
                return false
            }
        }
        let changed = try tx.run(
            """
            UPDATE reengagements SET state = 'decided', version = \(version + 1),
                is_reengagement = \(new.decision.outcome == .reEngagement)
            WHERE org = \(facts.org) AND app = \(facts.app) AND event_id = \(id) AND version = \(version)
                AND looks = \(looks)
            """)
        guard changed == 1 else { return false }
        try insert(new, version: version + 1, body, in: tx)
        try tx.run(
            """
            DELETE FROM reengagement_decisions WHERE org = \(facts.org) AND app = \(facts.app) AND event_id = \(id)
                AND version <= \(version + 1 - versionsKept)
            """)
        return true
    }

    private static func insert(
        _ new: NewReEngagement, version: Int, _ body: JSONValue, in tx: Transaction
    ) throws {
        let (install, facts, match) = (new.open.install, new.open.install.facts, new.decision.match)
        let touch = match.touch
        let place = touch?.place ?? JourneyPlace()
        func word(_ bits: UInt64) -> Int64 { Int64(bitPattern: bits) }
        try tx.run(
            """
            INSERT INTO reengagement_decisions (org, app, event_id, version, at, outcome, method, network, campaign,
                touch_at, kind, channel, person, touch_person, sort_id, sort_tail, click_hash, body, cause, decided_at)
            VALUES (\(facts.org), \(facts.app), \(install.eventID), \(version), \(facts.at),
                \(new.decision.outcome.rawValue), \(match.method.rawValue), \(touch?.touch.network ?? ""),
                \(touch?.touch.campaign ?? ""), \(touch?.touch.at ?? Timestamp(microseconds: 0)),
                \(touch?.touch.kind.rawValue ?? ""), \(touch?.channel ?? ""), \(word(install.person)),
                \(word(place.person)), \(word(place.order)), \(Int(place.tail)), \(word(place.click)), \(body),
                \(new.cause), \(tx.now))
            """)
    }

    // MARK: upkeep

    /// Every organisation and app with an open, one step of the primary key each.
    func owners() async throws -> [InstallStore.Owner] {
        try await database.read("reengagements.owners") { tx in
            var found: [InstallStore.Owner] = []
            while let next = try tx.one(
                InstallStore.Owner.self,
                """
                SELECT org, app FROM reengagements
                WHERE (org, app) > (\(found.last?.org ?? ""), \(found.last?.app ?? ""))
                ORDER BY org, app LIMIT 1
                """)
            {
                found.append(next)
            }
            return found
        }
    }

    /// Organisations with devices that used an app.
    func organisations() async throws -> [String] {
        try await database.read("reengagements.organisations") { tx in
            var found: [String] = []
            while let next = try tx.value(
                String.self, "SELECT MIN(org) FROM device_activity WHERE org > \(found.last ?? "")")
            {
                found.append(next)
            }
            return found
        }
    }

    /// Notes that touches or uses of before a time were removed, and so from when on opens find all of theirs.
    /// - Parameter reach: how far an open asks back at most, in microseconds.
    static func noteRemoved(org: String, before: Timestamp, reach: Int64, in tx: Transaction) throws {
        let (end, isOver) = before.microseconds.addingReportingOverflow(reach)
        let from = Timestamp(microseconds: isOver ? .max : end)
        try tx.run(
            """
            INSERT INTO reengagement_bounds (org, decidable_from) VALUES (\(org), \(from))
            ON CONFLICT (org) DO UPDATE SET decidable_from =
                CASE WHEN excluded.decidable_from > reengagement_bounds.decidable_from
                    THEN excluded.decidable_from ELSE reengagement_bounds.decidable_from END
            """)
    }

    /// Removes use of apps that no open asks for any more.
    /// - Parameter reach: how far an open asks back at most, in microseconds.
    /// - Returns: rows that went.
    func purgeActivity(org: String, reach: Int64) async throws -> Int {
        try await database.write("reengagements.purgeActivity") { tx in
            let now = tx.now
            let bounds = [
                try tx.value(Timestamp.self, "SELECT MAX(received_at) FROM install_positions"),
                try tx.value(
                    Timestamp.self, "SELECT MIN(at) FROM reengagements WHERE state = 'waiting' AND org = \(org)"),
                now,
            ].compactMap { $0?.microseconds }
            let held = try tx.value(
                Timestamp.self,
                "SELECT MIN(reach_at) FROM install_rebuilds WHERE org = \(org) AND until_at > \(now)")
            let (oldest, isOver) = (bounds.min() ?? now.microseconds).subtractingReportingOverflow(reach + Self.slack)
            guard !isOver else { return 0 }
            let bound = min(oldest, held?.microseconds ?? .max)
            let before = bound / ActivityPlace.length - 1
            let count = try tx.run(
                """
                DELETE FROM device_activity WHERE (org, app, device_key, half_day) IN (
                    SELECT org, app, device_key, half_day FROM device_activity
                    WHERE org = \(org) AND half_day < \(before) ORDER BY half_day LIMIT \(Self.purgedEach))
                """)
            if count > 0 {
                try Self.noteRemoved(org: org, before: Timestamp(microseconds: bound), reach: reach, in: tx)
            }
            return count
        }
    }

    /// Removes some of the opens of an app that are older than `bound`, with every decision about them.
    /// - Returns: how many.
    func purge(_ owner: InstallStore.Owner, before bound: Timestamp) async throws -> Int {
        try await database.write("reengagements.purge") { tx in
            let ids = try tx.values(
                String.self,
                """
                SELECT event_id FROM reengagements
                WHERE org = \(owner.org) AND at < \(bound) AND app = \(owner.app) AND received_at < \(bound)
                    AND state = 'decided'
                ORDER BY at, event_id LIMIT \(InstallStore.installsPurgedEach)
                """)
            guard !ids.isEmpty else { return 0 }
            for id in ids { try Self.remove(owner, id, in: tx) }
            return ids.count
        }
    }

    private static func remove(_ owner: InstallStore.Owner, _ id: String, in tx: Transaction) throws {
        try tx.run(
            "DELETE FROM reengagement_decisions WHERE org = \(owner.org) AND app = \(owner.app) AND event_id = \(id)")
        try tx.run(
            "DELETE FROM reengagement_keys WHERE org = \(owner.org) AND app = \(owner.app) AND event_id = \(id)")
        try tx.run("DELETE FROM reengagements WHERE org = \(owner.org) AND app = \(owner.app) AND event_id = \(id)")
    }

    /// Removes what is kept of an erased person.
    /// - Parameter persons: as the log knows them.
    static func forget(org: String, keys: InstallKeys, persons: [Int64], in tx: Transaction) throws {
        let all = keys.all
        let opens = try tx.all(
            OpenName.self,
            """
            SELECT app, event_id FROM reengagements WHERE org = \(org) AND person IN (\(list: persons))
            UNION SELECT app, event_id FROM reengagement_keys WHERE org = \(org) AND found_key IN (\(list: all))
            """)
        let installed = try tx.all(
            InstalledKeys.self,
            """
            SELECT device_key, advertising_key, vendor_key FROM installs
            WHERE org = \(org) AND (person IN (\(list: persons)) OR device_key = \(keys.device)
                OR user_key = \(keys.user) OR click_key = \(keys.click))
            """)
        var devices = Set(all + installed.flatMap(\.keys.devices))
        for open in opens {
            devices.formUnion(
                try tx.values(
                    Int64.self,
                    """
                    SELECT found_key FROM reengagement_keys
                    WHERE org = \(org) AND app = \(open.app) AND event_id = \(open.id)
                    """))
            try remove(InstallStore.Owner(org: org, app: open.app), open.id, in: tx)
        }
        for device in devices.sorted() {
            try tx.run("DELETE FROM device_activity WHERE org = \(org) AND device_key = \(device)")
        }
    }
}

/// Logs that may hold something, and from when on all of them are known.
private struct LogCover: RowDecodable, Sendable {
    let logs: Int64
    let since: Timestamp?

    init(row: Row) throws { (logs, since) = (try row.get("logs"), try row.optional("since")) }
}

private struct KnownInstall: RowDecodable, Sendable {
    let id: String
    let at: Timestamp

    init(row: Row) throws { (id, at) = (try row.get("event_id"), try row.get("at")) }
}

private struct OpenName: RowDecodable, Sendable {
    let app: String
    let id: String

    init(row: Row) throws { (app, id) = (try row.get("app"), try row.get("event_id")) }
}

private struct InstalledKeys: RowDecodable, Sendable {
    var keys = InstallKeys()

    init(row: Row) throws {
        keys.device = try row.optional("device_key")
        keys.advertising = try row.optional("advertising_key")
        keys.vendor = try row.optional("vendor_key")
    }
}
