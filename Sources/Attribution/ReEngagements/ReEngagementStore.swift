internal import AurumCore
internal import Database
internal import Events

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
    /// - Returns: later last uses of half days that are not there any more.
    static func keep(_ batch: InstallBatch, in tx: Transaction) throws -> Int {
        if batch.reopens { try reopen(by: batch, in: tx) }
        if !batch.opens.isEmpty {
            try tx.run(ReEngagementRows.insert(batch.opens))
            try tx.run(ReEngagementRows.insertKeys(batch.opens))
        }
        var lost = 0
        if !batch.moved.isEmpty {
            lost = batch.moved.count - (try tx.run(ReEngagementRows.move(batch.moved.map { ($0.key, $0.value) })))
        }
        if !batch.activity.isEmpty {
            try tx.run(ReEngagementRows.upsert(batch.activity.map { ($0.key, $0.value) }))
        }
        return lost
    }

    /// Keeps of which apps uses of a log were passed over, and from when on they are not any more.
    static func keepGaps(_ batch: InstallBatch, log: Int64, in tx: Transaction) throws {
        for owner in batch.passedOver.sorted(by: { ($0.org, $0.app) < ($1.org, $1.app) }) {
            try tx.run(
                """
                INSERT INTO reengagement_gaps (org, app, log, kept_since)
                VALUES (\(owner.org.storable), \(owner.app.storable), \(log), NULL)
                ON CONFLICT (org, app, log) DO UPDATE SET kept_since = NULL
                """)
        }
        for (owner, since) in batch.keptSince.sorted(by: { ($0.key.org, $0.key.app) < ($1.key.org, $1.key.app) }) {
            try tx.run(
                """
                UPDATE reengagement_gaps SET kept_since = \(since)
                WHERE org = \(owner.org.storable) AND app = \(owner.app.storable) AND log = \(log)
                """)
        }
    }

    /// Apps that nobody had installed, as far as a log was read, and of which uses were passed over.
    func passedOver(log: Int64) async throws -> [InstallStore.Owner] {
        try await database.read("reengagements.passedOver") { tx in
            try tx.all(
                InstallStore.Owner.self,
                "SELECT org, app FROM reengagement_gaps WHERE log = \(log) AND kept_since IS NULL")
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
