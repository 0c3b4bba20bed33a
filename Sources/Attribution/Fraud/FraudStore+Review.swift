internal import AurumCore
internal import Database

/// What a look at all installs reads and writes.
extension FraudStore {
    /// Installs of one look, the newest: they are in memory together.
    static let installsMax = 200_000
    private static let pageInstalls = 1000
    static let appsMax = 250
    /// Verdicts of one transaction.
    static let chunkVerdicts = 200
    static let publishersMax = 5000

    /// Organisations that have installs.
    func organisations() async throws -> [String] {
        try await database.read("fraud.organisations", limit: .report) { transaction in
            try transaction.values(String.self, "SELECT org FROM fraud_heads ORDER BY org")
        }
    }

    /// Apps with installs in a range.
    /// - Parameter known: those of whose publishers figures or patterns stand as well.
    func apps(org: String, from: Timestamp, known: Bool = false) async throws -> [String] {
        try await database.read("fraud.apps", limit: .report) { transaction in
            if known {
                return try transaction.values(
                    String.self,
                    """
                    SELECT app FROM fraud_installs WHERE org = \(org) AND at >= \(from)
                    UNION SELECT app FROM fraud_publishers WHERE org = \(org)
                    UNION SELECT app FROM fraud_patterns WHERE org = \(org) AND ended_at IS NULL
                    ORDER BY app LIMIT \(Self.appsMax)
                    """)
            }
            return try transaction.values(
                String.self,
                """
                SELECT DISTINCT app FROM fraud_installs WHERE org = \(org) AND at >= \(from)
                ORDER BY app LIMIT \(Self.appsMax)
                """)
        }
    }

    /// Installs of one app with `from` ≤ time < `to`, oldest first.
    /// - Returns: them, and whether older ones had to be left out.
    func facts(
        org: String, app: String, from: Timestamp, to: Timestamp, most: Int = installsMax
    ) async throws -> (installs: [FraudInstall], isCut: Bool) {
        var all: [FraudInstall] = []
        var (before, last) = (to.microseconds, UID(high: 0, low: 0))
        while all.count < most {
            let (bound, edge) = (before, last)
            let page = try await database.read("fraud.facts", limit: .report) { transaction in
                try Self.page(org, app, from.microseconds, bound, edge, in: transaction)
            }
            guard let oldest = page.last else { break }
            all += page
            (before, last) = (oldest.at, oldest.id)
            if page.count < Self.pageInstalls { return (all.reversed(), false) }
        }
        return (all.reversed(), all.count >= most)
    }

    private static func page(
        _ org: String, _ app: String, _ from: Int64, _ before: Int64, _ last: UID, in transaction: Transaction
    ) throws -> [FraudInstall] {
        var installs = try transaction.all(
            FraudInstall.self,
            """
            SELECT install, event, app, at, began_at, device, address, address_range, os, emulator, data_centre
            FROM fraud_installs
            WHERE org = \(org) AND app = \(app) AND at >= \(from)
                AND (at < \(before) OR (at = \(before) AND install < \(last)))
            ORDER BY at DESC, install DESC LIMIT \(pageInstalls)
            """)
        guard let newest = installs.first, let oldest = installs.last else { return [] }
        let touches = try transaction.all(
            TouchRow.self,
            """
            SELECT install, touch, event, at, kind, network, publisher, device, address, address_range, os
            FROM fraud_touches
            WHERE org = \(org) AND app = \(app) AND install_at >= \(oldest.at) AND install_at <= \(newest.at)
            ORDER BY at, touch
            """)
        let byInstall = Dictionary(grouping: touches, by: \.install)
        for index in installs.indices {
            installs[index].touches = (byInstall[installs[index].id] ?? []).map(\.touch)
                .sorted { ($0.at, $0.id) < ($1.at, $1.id) }
        }
        return installs
    }

    /// Verdicts of an app's installs that stand, by install and subject.
    func standing(
        org: String, app: String, from: Int64, to: Int64
    ) async throws -> [UID: [UID: Standing]] {
        let rows = try await database.read("fraud.standing", limit: .report) { transaction in
            try transaction.all(
                Standing.self,
                """
                SELECT install, touch, number, outcome, codes, reason, barred FROM fraud_verdicts
                WHERE org = \(org) AND app = \(app) AND newest = 1 AND at >= \(from) AND at <= \(to)
                """)
        }
        return Dictionary(grouping: rows, by: \.install).mapValues { rows in
            Dictionary(rows.map { ($0.touch, $0) }) { first, _ in first }
        }
    }

    /// Writes changed verdicts, and that credit has to follow.
    /// - Returns: how many were written.
    func write(_ changes: [Change], org: String, app: String, version: Int) async throws -> Int {
        try await database.write("fraud.change") { transaction in
            var (written, moved) = (0, 0)
            for change in changes where try Self.write(change, org, version: version, stage: "after", in: transaction) {
                written += 1
                if change.movesCredit { moved += 1 }
            }
            guard moved > 0 else { return written }
            let now = transaction.now
            try transaction.run(
                """
                INSERT INTO fraud_restatements (org, id, app, version, changed, state, created_at)
                VALUES (\(org), \(UID(now: now)), \(app), \(version), \(moved), 'open', \(now))
                """)
            return written
        }
    }

    /// Changes that credit was not asked to follow yet.
    func openRestatements(org: String) async throws -> [Restatement] {
        try await database.read("fraud.openRestatements") { transaction in
            try transaction.all(
                Restatement.self,
                """
                SELECT id, created_at FROM fraud_restatements WHERE org = \(org) AND state = 'open'
                ORDER BY id LIMIT 1000
                """)
        }
    }

    struct Restatement: RowDecodable, Sendable {
        let id: UID
        let at: Timestamp

        init(row: Row) throws { (id, at) = (try row.get("id"), try row.get("created_at")) }
    }

    func closeRestatements(_ ids: [UID], org: String) async throws {
        try await database.write("fraud.closeRestatements") { transaction in
            try transaction.run(
                "UPDATE fraud_restatements SET state = 'asked' WHERE org = \(org) AND id IN (\(list: ids))")
        }
    }

    // MARK: patterns and publishers

    /// Makes `found` the patterns of an app that stand.
    func store(_ found: [FraudPattern], org: String, app: String, version: Int) async throws {
        let found = Array(found.prefix(Self.publishersMax))
        try await database.write("fraud.patterns") { transaction in
            let standing = try transaction.all(
                PatternKey.self,
                """
                SELECT network, publisher, code FROM fraud_patterns
                WHERE org = \(org) AND app = \(app) AND ended_at IS NULL
                """)
            let now = transaction.now
            let wanted = Set(found.map { PatternKey(source: $0.source, code: $0.code.rawValue) })
            let known = Set(standing)
            for key in known.subtracting(wanted) {
                try transaction.run(
                    """
                    UPDATE fraud_patterns SET ended_at = \(now)
                    WHERE org = \(org) AND app = \(app) AND network = \(key.source.network)
                        AND publisher = \(key.source.publisher) AND code = \(key.code) AND ended_at IS NULL
                    """)
            }
            for pattern in found {
                try transaction.run(
                    """
                    INSERT INTO fraud_patterns
                        (org, id, app, network, publisher, code, version, body, found_at, ended_at, created_at)
                    VALUES (\(org), \(UID(now: now)), \(app), \(pattern.network), \(pattern.publisher),
                            \(pattern.code.rawValue), \(version), \(pattern.json), \(now), NULL, \(now))
                    ON CONFLICT (org, app, network, publisher, code) WHERE ended_at IS NULL
                    DO UPDATE SET body = excluded.body, version = excluded.version
                    """)
            }
            if known != wanted { try Self.advancePatterns(org, in: transaction) }
        }
    }

    /// Makes `shares` the figures of an app's publishers.
    func store(_ shares: [FraudShare], org: String, app: String, from: Timestamp, to: Timestamp) async throws {
        let shares = shares.sorted { ($1.installs, $0.source) < ($0.installs, $1.source) }.prefix(Self.publishersMax)
        let kept = Array(shares)
        try await database.write("fraud.publishers") { transaction in
            try transaction.run("DELETE FROM fraud_publishers WHERE org = \(org) AND app = \(app)")
            for share in kept {
                try transaction.run(
                    """
                    INSERT INTO fraud_publishers
                        (org, app, network, publisher, installs, suspect, rejected, grade, from_at, to_at, created_at)
                    VALUES (\(org), \(app), \(share.source.network), \(share.source.publisher), \(share.installs),
                            \(share.suspect), \(share.rejected), \(share.grade.rawValue), \(from), \(to),
                            \(transaction.now))
                    """)
            }
        }
    }

    // MARK: age

    /// Facts and verdicts that are older go, a piece a transaction; verdicts of touches that nothing is credited to
    /// stay, because runs over the whole log ask for them.
    func purge(org: String, before: Timestamp) async throws {
        var isOver = false
        while !isOver {
            isOver = try await database.write("fraud.purge") { transaction in
                let old = try transaction.values(
                    UID.self,
                    """
                    SELECT install FROM fraud_installs WHERE org = \(org) AND at < \(before) LIMIT 200
                    """)
                guard !old.isEmpty else { return true }
                try transaction.run("DELETE FROM fraud_touches WHERE org = \(org) AND install IN (\(list: old))")
                try transaction.run(
                    """
                    DELETE FROM fraud_verdicts
                    WHERE org = \(org) AND install IN (\(list: old)) AND NOT (newest = 1 AND barred = 1)
                    """)
                try transaction.run("DELETE FROM fraud_installs WHERE org = \(org) AND install IN (\(list: old))")
                return false
            }
        }
    }

    /// Removes what is kept of an erased person's devices and addresses. Verdicts that bar other people's touches stay.
    /// - Parameters:
    ///   - installs: of the person.
    ///   - touches: of the person, candidates of whatever installs.
    ///   - device: digest of the person's device.
    static func forget(
        _ org: String, installs: [UID], touches: [UID], device: UID?, in transaction: Transaction
    ) throws {
        for part in parts(installs) {
            try transaction.run("DELETE FROM fraud_touches WHERE org = \(org) AND install IN (\(list: part))")
            try transaction.run("DELETE FROM fraud_installs WHERE org = \(org) AND install IN (\(list: part))")
            try transaction.run(
                """
                DELETE FROM fraud_verdicts
                WHERE org = \(org) AND install IN (\(list: part))
                    AND NOT (subject = 'touch' AND newest = 1 AND barred = 1)
                """)
        }
        for part in parts(touches) {
            try transaction.run(
                """
                DELETE FROM fraud_touches WHERE org = \(org) AND touch IN (\(list: part))
                    AND install IN (SELECT install FROM fraud_verdicts
                        WHERE org = \(org) AND touch IN (\(list: part)))
                """)
            try transaction.run("DELETE FROM fraud_verdicts WHERE org = \(org) AND touch IN (\(list: part))")
        }
        guard let device else { return }
        // App by app, along the indexes.
        var last = ""
        while let app = try transaction.value(
            String.self, "SELECT MIN(app) FROM fraud_installs WHERE org = \(org) AND app > \(last)")
        {
            try transaction.run(
                "DELETE FROM fraud_touches WHERE org = \(org) AND app = \(app) AND device = \(device)")
            try transaction.run(
                "DELETE FROM fraud_installs WHERE org = \(org) AND app = \(app) AND device = \(device)")
            last = app
        }
    }

    private static func parts(_ ids: [UID]) -> [[UID]] {
        stride(from: 0, to: ids.count, by: 400).map { Array(ids[$0..<min(ids.count, $0 + 400)]) }
    }

    private struct TouchRow: RowDecodable, Sendable {
        let install: UID
        let touch: FraudTouch

        init(row: Row) throws {
            install = try row.get("install")
            guard let kind = CandidateTouch.Kind(rawValue: try row.get("kind")) else {
                throw UnknownFraudWord(column: "kind")
            }
            touch = FraudTouch(
                id: try row.get("touch"), event: try row.optional("event"),
                at: try row.get("at", as: Timestamp.self).microseconds, kind: kind,
                network: try row.optional("network"), publisher: try row.optional("publisher"),
                device: try row.optional("device"), address: try row.optional("address"),
                range: try row.optional("address_range"), system: try row.optional("os"))
        }
    }

    private struct PatternKey: Hashable, RowDecodable, Sendable {
        let source: FraudSource
        let code: String

        init(source: FraudSource, code: String) { (self.source, self.code) = (source, code) }

        init(row: Row) throws {
            source = FraudSource(network: try row.get("network"), publisher: try row.get("publisher"))
            code = try row.get("code")
        }
    }
}

extension FraudInstall: RowDecodable {
    init(row: Row) throws {
        self.init(
            id: try row.get("install"), event: try row.optional("event"), app: try row.get("app"),
            at: try row.get("at", as: Timestamp.self).microseconds,
            beganAt: try row.optional("began_at", as: Timestamp.self)?.microseconds,
            device: try row.optional("device"), address: try row.optional("address"),
            range: try row.optional("address_range"), system: try row.optional("os"),
            isEmulator: try row.get("emulator", as: Int.self) != 0,
            isFromDataCentre: try row.get("data_centre", as: Int.self) != 0)
    }
}
