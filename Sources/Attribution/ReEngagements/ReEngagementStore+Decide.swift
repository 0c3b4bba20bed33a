internal import AurumCore
internal import Database
internal import Events

/// A decision that was written.
struct NewReEngagement: Sendable {
    /// As it was before.
    var open: KeptOpen
    var decision: ReEngagementDecision
    var cause: String
}

/// A log of which everything about some devices was just read once more.
struct ReadBack: Sendable {
    var log: Int64
    /// Keys of the devices.
    var devices: Set<Int64>
    /// From when on the log still shows every use of an app.
    var since: @Sendable (_ app: String) -> Timestamp
}

/// What decisions of one organisation go by beside what its tables hold of each open.
struct ReEngagementBasis: Sendable {
    var rules: [ReEngagementRule] = []
    /// Every log that anybody follows.
    var logs: [LogCover] = []
    /// Where uses of an app were passed over before anybody installed it.
    var gaps: [UseGap] = []

    /// From when on every use of an app is known, as far as days from `start` on may hold one; nil where always. A log
    /// of which nothing was received since holds none of these days.
    /// - Parameter without: a log that needs not be known.
    func known(app: String, start: Timestamp, without: Int64?) -> (from: Timestamp?, logs: Int) {
        let logs = logs.filter { $0.receivedAt >= start && $0.log != without }
        let numbers = Set(logs.map(\.log))
        let since = logs.map(\.since) + gaps.filter { $0.app == app && numbers.contains($0.log) }.map(\.since)
        return (since.map { $0 ?? Timestamp(microseconds: .max) }.max(), logs.count)
    }
}

extension ReEngagementStore {
    /// Opens decided in one transaction: few, so that what others write meanwhile seldom gets in its way.
    static let decidedTogether = 10
    /// Newest installs of one identifier whose devices count as one with that of an open.
    private static let installsOfKey = 8

    /// What decisions of an organisation go by now.
    func basis(org: String) async throws -> ReEngagementBasis {
        var basis = ReEngagementBasis(rules: try await rules(org: org))
        (basis.logs, basis.gaps) = try await database.read("reengagements.logs") { tx in
            let logs = try tx.all(
                LogCover.self, "SELECT log, received_at, activity_since FROM install_positions")
            let gaps = try tx.all(
                UseGap.self, "SELECT app, log, kept_since FROM reengagement_gaps WHERE org = \(org)")
            return (logs, gaps)
        }
        return basis
    }

    /// Decides opens by everything that is in the tables when it is written: one transaction reads and writes, so that
    /// nothing comes between on any server. The same decision once more makes no version, and what is not known any
    /// more leaves the decision that was made when it was.
    /// - Parameters:
    ///   - anew: also those that wait no more.
    ///   - readBack: where everything about some of them was just read once more.
    /// - Returns: those whose decision is another.
    func decide(
        _ some: [KeptOpen], by basis: ReEngagementBasis, cause: String, anew: Bool, readBack: ReadBack?
    ) async throws -> [NewReEngagement] {
        try await database.write("reengagements.decide") { tx in
            try some.compactMap { open in
                guard let open = try Self.current(open, in: tx), anew || open.isWaiting else { return nil }
                let new = NewReEngagement(
                    open: open, decision: try Self.decision(open, basis, readBack, in: tx), cause: cause)
                return try Self.write(new, in: tx) ? new : nil
            }
        }
    }

    private static func current(_ open: KeptOpen, in tx: Transaction) throws -> KeptOpen? {
        let (facts, id) = (open.install.facts, open.install.eventID)
        return try tx.one(
            KeptOpen.self,
            "SELECT * FROM reengagements WHERE org = \(facts.org) AND app = \(facts.app) AND event_id = \(id)")
    }

    private static func decision(
        _ open: KeptOpen, _ basis: ReEngagementBasis, _ readBack: ReadBack?, in tx: Transaction
    ) throws -> ReEngagementDecision {
        let (install, facts) = (open.install, open.install.facts)
        let rule = ReEngagementRule.inForce(basis.rules, app: facts.app, at: facts.at)
        let devices = try devices(of: install, in: tx)
        try link(open, to: devices.keys, in: tx)
        let history = try history(of: install, devices, rule, basis, readBack, in: tx)
        var touches: [InstallTouch] = []
        // Without an install nothing can have been taken up again.
        if history.install != nil {
            touches = try InstallStore.touches(of: install, reach: InstallWindow(rule.window).longest, in: tx)
        }
        let barred = try FraudStore.barred(
            among: touches.map(\.eventID) + [install.eventID], org: facts.org, in: tx)
        return ReEngagementDecision.decide(
            facts, eventID: install.eventID, link: open.link, touches, barred: barred, history, rule)
    }

    // MARK: what is known of a device

    /// By what an open's device is known: its own identifiers and those of the installs that they find, for its uses
    /// may name others than it does.
    struct KnownDevice: Sendable {
        /// The newest install until the open.
        var install: (id: String, at: Timestamp)?
        var keys: [Int64] = []
    }

    static func devices(of open: KeptInstall, in tx: Transaction) throws -> KnownDevice {
        let (facts, own) = (open.facts, open.keys)
        let found = try installs(own, org: facts.org, app: facts.app, until: facts.at, in: tx)
        var known = KnownDevice()
        known.install = newest(found)
        known.keys = Set(own.devices + found.flatMap(\.keys.devices)).sorted()
        return known
    }

    /// Identifiers of the devices of opens.
    func devices(of some: [KeptOpen]) async throws -> Set<Int64> {
        try await database.read("reengagements.devices") { tx in
            try some.reduce(into: Set()) { $0.formUnion(try Self.devices(of: $1.install, in: tx).keys) }
        }
    }

    /// The newest install of a device until a moment.
    func newestInstall(
        _ keys: InstallKeys, org: String, app: String, until: Timestamp
    ) async throws -> (id: String, at: Timestamp)? {
        try await database.read("reengagements.newestInstall") { tx in
            Self.newest(try Self.installs(keys, org: org, app: app, until: until, in: tx))
        }
    }

    private static func newest(_ found: [KnownInstall]) -> (id: String, at: Timestamp)? {
        found.max { ($0.at, $0.id) < ($1.at, $1.id) }.map { ($0.id, $0.at) }
    }

    /// Lets what comes of these devices find the open.
    private static func link(_ open: KeptOpen, to devices: [Int64], in tx: Transaction) throws {
        let (facts, own) = (open.install.facts, Set(open.install.keys.all))
        for device in devices where !own.contains(device) {
            try tx.run(
                """
                INSERT INTO reengagement_keys (org, found_key, at, app, event_id)
                VALUES (\(facts.org), \(device), \(facts.at), \(facts.app), \(open.install.eventID))
                ON CONFLICT (org, found_key, at, app, event_id) DO NOTHING
                """)
        }
    }

    private static func history(
        of open: KeptInstall, _ devices: KnownDevice, _ rule: ReEngagementRule, _ basis: ReEngagementBasis,
        _ readBack: ReadBack?, in tx: Transaction
    ) throws -> DeviceHistory {
        let facts = open.facts
        let session = facts.at - .microseconds(ReEngagementDecision.sameSession)
        let start = facts.at - .seconds(rule.inactiveDays * 86_400)
        var history = DeviceHistory()
        history.install = devices.install?.id
        let bound = try tx.value(
            Timestamp.self, "SELECT decidable_from FROM reengagement_bounds WHERE org = \(facts.org)")
        let isRemoved = bound.map { facts.at < $0 } ?? false
        let isReadBack = readBack.map { $0.devices.isSuperset(of: devices.keys) } ?? false
        look(&history, app: facts.app, start: start, isRemoved: isRemoved, basis, isReadBack ? readBack : nil)
        // Of a half day with uses before and after the session's begin the first one is known to be before it.
        let used = try tx.value(
            Timestamp.self,
            """
            SELECT MAX(CASE WHEN last_at < \(session) THEN last_at ELSE first_at END) FROM device_activity
            WHERE org = \(facts.org) AND app = \(facts.app) AND device_key IN (\(list: devices.keys))
                AND first_at < \(session)
            """)
        history.lastSession = [used, devices.install?.at].compactMap { $0 }.max()
        history.hasSession =
            devices.install.map { $0.at >= session } ?? false
            || rule.inactiveDays > 0 && (history.lastSession.map { $0 >= start } ?? false)
        return history
    }

    /// Finds out from when on every use is known, and whether that covers the days from `start` on: by what was kept
    /// as it came, or by what was just read back, of which nothing may have expired in the log.
    private static func look(
        _ history: inout DeviceHistory, app: String, start: Timestamp, isRemoved: Bool, _ basis: ReEngagementBasis,
        _ readBack: ReadBack?
    ) {
        let always = Timestamp(microseconds: .min)
        let kept = basis.known(app: app, start: start, without: nil)
        var known: [Timestamp] = []
        if !isRemoved, (kept.from ?? always) <= start { known.append(kept.from ?? always) }
        if let readBack {
            let rest = basis.known(app: app, start: start, without: readBack.log)
            let from = max(rest.from ?? always, readBack.since(app))
            // What others held then is gone.
            if from <= start, !isRemoved || rest.logs == 0 { known.append(from) }
        }
        history.isKnown = !known.isEmpty
        let from = known.min() ?? kept.from ?? always
        history.knownFrom = from == always ? nil : from
    }

    /// The newest installs of each identifier of a device until a moment.
    private static func installs(
        _ keys: InstallKeys, org: String, app: String, until: Timestamp, in tx: Transaction
    ) throws -> [KnownInstall] {
        let columns: [(SQLStatement, Int64?)] = [
            ("device_key", keys.device), ("advertising_key", keys.advertising), ("vendor_key", keys.vendor),
        ]
        var found: [KnownInstall] = []
        for case (let column, let key?) in columns {
            found += try tx.all(
                KnownInstall.self,
                """
                SELECT event_id, at, device_key, advertising_key, vendor_key FROM installs
                WHERE org = \(org) AND \(part: column) = \(key) AND app = \(app) AND at <= \(until)
                ORDER BY at DESC, event_id DESC LIMIT \(installsOfKey)
                """)
        }
        return found
    }

    // MARK: writing

    /// - Returns: whether it is another decision than before.
    private static func write(_ new: NewReEngagement, in tx: Transaction) throws -> Bool {
        let (facts, id, version) = (new.open.install.facts, new.open.install.eventID, new.open.install.version)
        let body = new.decision.json
        if version > 0 {
            let known = try tx.value(
                JSONValue.self,
                """
                SELECT body FROM reengagement_decisions WHERE org = \(facts.org) AND app = \(facts.app)
                    AND event_id = \(id) AND version = \(version)
                """)
            // An install that was there goes by its retention alone, and says nothing of the device then.
            let isGone = new.decision.outcome == .noInstall && known?["install"]?.string != nil
            if new.decision.outcome == .historyUnknown || isGone || known?.canonical == body.canonical {
                try tx.run(
                    """
                    UPDATE reengagements SET state = 'decided' WHERE org = \(facts.org) AND app = \(facts.app)
                        AND event_id = \(id) AND state = 'waiting'
                    """)
                return false
            }
        }
        try tx.run(
            """
            UPDATE reengagements SET state = 'decided', version = \(version + 1),
                is_reengagement = \(new.decision.outcome == .reEngagement)
            WHERE org = \(facts.org) AND app = \(facts.app) AND event_id = \(id)
            """)
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
}

/// How far a log is known.
struct LogCover: RowDecodable, Sendable {
    let log: Int64
    /// When the newest request that was read of it came.
    let receivedAt: Timestamp
    /// From when on uses of apps are kept; nil where they are not.
    let since: Timestamp?

    init(row: Row) throws {
        (log, receivedAt) = (try row.get("log"), try row.get("received_at"))
        since = try row.optional("activity_since")
    }
}

/// A log that held uses of an app before anybody had installed it.
struct UseGap: RowDecodable, Sendable {
    let app: String
    let log: Int64
    /// From when on they are kept; nil where they are not yet.
    let since: Timestamp?

    init(row: Row) throws {
        (app, log, since) = (try row.get("app"), try row.get("log"), try row.optional("kept_since"))
    }
}

private struct KnownInstall: RowDecodable, Sendable {
    let id: String
    let at: Timestamp
    var keys = InstallKeys()

    init(row: Row) throws {
        (id, at) = (try row.get("event_id"), try row.get("at"))
        keys.device = try row.optional("device_key")
        keys.advertising = try row.optional("advertising_key")
        keys.vendor = try row.optional("vendor_key")
    }
}
