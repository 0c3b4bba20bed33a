internal import AurumCore
internal import Database
internal import Events

/// An install as it is kept.
struct KeptInstall: Sendable {
    var facts: InstallFacts
    var eventID: String
    var receivedAt: Timestamp
    var keys: InstallKeys
    var person: UInt64
    /// Of the decision that holds; 0 while it waits.
    var version: Int
}

/// A decision to be written for an install whose version is still `base`.
struct NewDecision: Sendable {
    var install: KeptInstall
    var decision: InstallDecision
    var cause: String
}

/// Clicks, views, installs and decisions in the tables of record. Every write may be repeated.
struct InstallStore: Sendable {
    let database: Database
    /// nil where nobody is told.
    var callbacks: CallbackStore?
    /// Newest touches of one identifier and kind that are looked at.
    static let candidatesMax = 64
    /// Decisions of one install that are kept.
    static let versionsKept = 20
    static let purgedEach = 5000

    // MARK: following

    /// How far a log was read and everything of it was written: uses may be behind the rest.
    func position(log: Int64) async throws -> LogPosition? {
        let text = try await database.read("installs.position") { transaction in
            try transaction.value(
                String.self, "SELECT COALESCE(activity_position, position) FROM install_positions WHERE log = \(log)")
        }
        return text.flatMap { LogPosition($0) }
    }

    /// Keeps what was read, and that it was with the last of it.
    /// - Parameters:
    ///   - log: whose position moves on; nil where a part is read once more.
    ///   - uses: how far uses were written, where that is behind the position.
    /// - Returns: later last uses of half days that were not there any more.
    @discardableResult
    func keep(_ batch: InstallBatch, log: Int64?, usesTo uses: LogPosition? = nil) async throws -> Int {
        var (rest, lost) = (batch, 0)
        // A block may hold more than one transaction should: what comes first is kept first.
        while rest.touches.count > InstallScan.itemsMax {
            var part = InstallBatch()
            part.reopens = rest.reopens
            part.touches = Array(rest.touches.prefix(InstallScan.itemsMax))
            rest.touches.removeFirst(InstallScan.itemsMax)
            lost += try await write(part, log: nil)
        }
        // Before new ones: what is not there any more was removed, and does not come back beside them.
        while rest.moved.count > InstallScan.itemsMax {
            var part = InstallBatch()
            for (place, span) in rest.moved.prefix(InstallScan.itemsMax) { part.moved[place] = span }
            for place in part.moved.keys { rest.moved[place] = nil }
            lost += try await write(part, log: nil)
        }
        while rest.activity.count > InstallScan.itemsMax {
            var part = InstallBatch()
            part.reopens = rest.reopens
            // Those that move are written before those that are new, in every part.
            (part.moved, rest.moved) = (rest.moved, [:])
            for (place, span) in rest.activity.prefix(InstallScan.itemsMax) { part.activity[place] = span }
            for place in part.activity.keys { rest.activity[place] = nil }
            lost += try await write(part, log: nil)
        }
        return lost + (try await write(rest, log: log, usesTo: uses))
    }

    private func write(_ batch: InstallBatch, log: Int64?, usesTo uses: LogPosition? = nil) async throws -> Int {
        let touches = batch.touches.isEmpty ? nil : InstallRows.json(batch.touches)
        let installs = batch.installs.isEmpty ? nil : InstallRows.json(batch.installs)
        let conversions = batch.conversions
        guard !batch.isEmpty || batch.position != nil else { return 0 }
        let (position, received) = (batch.position?.description, batch.receivedAt)
        let written = uses?.description ?? position
        // A log that nobody followed is read from its beginning; of another one uses are known from here on.
        let always = Timestamp(microseconds: .min)
        return try await database.write("installs.keep") { transaction in
            if let touches { try transaction.run(InstallRows.insertTouches(touches)) }
            if let installs { try transaction.run(InstallRows.insertInstalls(installs)) }
            let lost = try ReEngagementStore.keep(batch, in: transaction)
            try CallbackStore.keep(conversions, in: transaction)
            if let log { try ReEngagementStore.keepGaps(batch, log: log, in: transaction) }
            guard let log, let position else { return lost }
            try transaction.run(
                """
                INSERT INTO install_positions (log, position, received_at, activity_since, activity_position)
                VALUES (\(log), \(position), \(received), \(always), \(written))
                ON CONFLICT (log) DO UPDATE SET position = excluded.position,
                    activity_position = excluded.activity_position,
                    activity_since = COALESCE(install_positions.activity_since, install_positions.received_at),
                    received_at = CASE WHEN excluded.received_at > install_positions.received_at
                        THEN excluded.received_at ELSE install_positions.received_at END
                """)
            return lost
        }
    }

    /// Installs that nobody has decided yet, the longest waiting first.
    /// - Parameter without: organisations that are left out.
    func waiting(limit: Int, without: [String] = []) async throws -> [KeptInstall] {
        let all = without.isEmpty ? 1 : 0
        return try await database.read("installs.waiting") { transaction in
            try transaction.all(
                InstallRow.self,
                """
                SELECT * FROM installs WHERE state = 'waiting' AND (\(all) = 1 OR org NOT IN (\(list: without)))
                ORDER BY received_at, org, app, event_id LIMIT \(limit)
                """
            ).map(\.install)
        }
    }

    /// - Parameter org: nil means all.
    func waitingCount(org: String? = nil) async throws -> Int {
        let org = org ?? ""
        return try await database.read("installs.waitingCount") { transaction in
            try transaction.value(
                Int.self,
                "SELECT COUNT(*) FROM installs WHERE state = 'waiting' AND (\(org) = '' OR org = \(org))") ?? 0
        }
    }

    // MARK: candidates

    /// Every touch that may have led to an install, each once with the methods that found it, and whether its device
    /// had an earlier install of the app.
    /// - Parameter reach: microseconds before the install.
    func candidates(of install: KeptInstall, reach: Int64) async throws -> (touches: [InstallTouch], known: Bool) {
        try await database.read("installs.candidates") { transaction in
            let touches = try Self.touches(of: install, reach: reach, in: transaction)
            return (touches, try Self.isKnown(install, in: transaction))
        }
    }

    static func touches(
        of install: KeptInstall, reach: Int64, in transaction: Transaction
    ) throws -> [InstallTouch] {
        let facts = install.facts
        let earliest = facts.at.microseconds.subtractingReportingOverflow(reach)
        let from = Timestamp(microseconds: earliest.overflow ? .min : earliest.partialValue)
        var found: [String: InstallTouch] = [:]
        for lookup in lookups(install) {
            for kind in CandidateTouch.Kind.allCases {
                let rows = try transaction.all(
                    TouchRow.self, InstallRows.touches(lookup, facts.org, kind, from: from, to: facts.at))
                for row in rows {
                    // A device is matched inside the app that it installs.
                    if lookup.method == .deviceID, row.touch.app != facts.app { continue }
                    let name = row.touch.app + "\n" + row.touch.eventID
                    found[name, default: row.touch].methods.insert(lookup.method)
                }
            }
        }
        return found.values.sorted { $0.isOlder(than: $1) }
    }

    private static func lookups(_ install: KeptInstall) -> [InstallLookup] {
        let (facts, keys) = (install.facts, install.keys)
        func click(_ value: String?) -> Int64? { InstallKeys.key(.click, value, org: facts.org) }
        let all: [(InstallMethod, InstallLookup.Column, Int64?)] = [
            (.deviceID, .device, keys.device), (.deviceID, .advertising, keys.advertising),
            (.deviceID, .vendor, keys.vendor), (.clickID, .click, click(facts.clickID)),
            (.installReferrer, .click, click(ClickIDs.inReferrer(facts.installReferrer))),
            (.deepLink, .click, click(facts.deepLinkClickID)), (.userID, .user, keys.user),
        ]
        return all.compactMap { method, column, key in
            key.map { InstallLookup(method: method, column: column, key: $0) }
        }
    }

    /// Whether one of the install's devices had an earlier install of the same app.
    private static func isKnown(_ install: KeptInstall, in transaction: Transaction) throws -> Bool {
        let (facts, keys, id) = (install.facts, install.keys, install.eventID)
        if let key = keys.device,
            try transaction.value(
                String.self,
                """
                SELECT event_id FROM installs WHERE device_key = \(key) AND org = \(facts.org) AND app = \(facts.app)
                    AND (at < \(facts.at) OR (at = \(facts.at) AND event_id < \(id))) LIMIT 1
                """) != nil
        {
            return true
        }
        if let key = keys.advertising,
            try transaction.value(
                String.self,
                """
                SELECT event_id FROM installs WHERE advertising_key = \(key) AND org = \(facts.org)
                    AND app = \(facts.app)
                    AND (at < \(facts.at) OR (at = \(facts.at) AND event_id < \(id))) LIMIT 1
                """) != nil
        {
            return true
        }
        guard let key = keys.vendor else { return false }
        return try transaction.value(
            String.self,
            """
            SELECT event_id FROM installs WHERE vendor_key = \(key) AND org = \(facts.org) AND app = \(facts.app)
                AND (at < \(facts.at) OR (at = \(facts.at) AND event_id < \(id))) LIMIT 1
            """) != nil
    }

    // MARK: decisions

    /// Writes decisions of installs that nobody has decided since they were read, with what templates of callbacks tell
    /// of them; the same decision once more makes no version.
    /// - Returns: those that were written.
    func decide(_ all: [NewDecision]) async throws -> [NewDecision] {
        try await database.write("installs.decide") { transaction in
            let written = try all.filter { try Self.write($0, in: transaction) }
            try callbacks?.note(written, in: transaction)
            return written
        }
    }

    private static func write(_ new: NewDecision, in transaction: Transaction) throws -> Bool {
        let (install, facts, id) = (new.install, new.install.facts, new.install.eventID)
        let body = new.decision.json
        if install.version > 0 {
            let known = try transaction.value(
                JSONValue.self,
                """
                SELECT body FROM install_decisions WHERE org = \(facts.org) AND app = \(facts.app)
                    AND event_id = \(id) AND version = \(install.version)
                """)
            if known?.canonical == body.canonical { return false }
        }
        let version = install.version + 1
        let changed = try transaction.run(
            """
            UPDATE installs SET state = 'decided', version = \(version)
            WHERE org = \(facts.org) AND app = \(facts.app) AND event_id = \(id) AND version = \(install.version)
            """)
        guard changed == 1 else { return false }
        let (touch, verdict) = (new.decision.touch, new.decision.verdict)
        let place = touch?.place ?? JourneyPlace()
        func word(_ bits: UInt64) -> Int64 { Int64(bitPattern: bits) }
        try transaction.run(
            """
            INSERT INTO install_decisions (org, app, event_id, version, at, method, campaign, verdict, is_reinstall,
                touch_at, kind, channel, person, touch_person, sort_id, sort_tail, click_hash, body, cause, decided_at)
            VALUES (\(facts.org), \(facts.app), \(id), \(version), \(facts.at), \(new.decision.method.rawValue),
                \(touch?.touch.campaign ?? ""), \(verdict.outcome.rawValue), \(new.decision.isReinstall),
                \(touch?.touch.at ?? Timestamp(microseconds: 0)), \(touch?.touch.kind.rawValue ?? ""),
                \(touch?.channel ?? ""), \(word(install.person)), \(word(place.person)), \(word(place.order)),
                \(Int(place.tail)), \(word(place.click)), \(body), \(new.cause), \(transaction.now))
            """)
        try transaction.run(
            """
            DELETE FROM install_decisions WHERE org = \(facts.org) AND app = \(facts.app) AND event_id = \(id)
                AND version <= \(version - versionsKept)
            """)
        return true
    }
}

/// One way to find touches.
struct InstallLookup: Sendable {
    enum Column: Sendable { case device, advertising, vendor, click, user }

    var method: InstallMethod
    var column: Column
    var key: Int64
}
