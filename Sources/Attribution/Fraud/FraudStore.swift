package import AurumCore
package import Database

/// What is set and what was found of publishers, as verdicts are made from it at one moment.
struct FraudState: Sendable {
    var settings = FraudSettings()
    /// Codes of the patterns that stand, by app.
    var patterns: [String: [FraudSource: Set<FraudCode>]] = [:]
    /// Changes with every change of the patterns that stand.
    var patternVersion = 0
}

/// A version of the rules as it was saved.
package struct SavedFraudRules: Sendable, Equatable {
    package var version: Int
    package var startsAt: Timestamp
    package var rules: FraudRules
    package var actor: String
    package var savedAt: Timestamp

    package var json: JSONValue {
        [
            "version": .integer(Int64(version)), "starts_at": .string(startsAt.rfc3339), "rules": rules.json,
            "effective": rules.effective, "actor": .string(actor), "saved_at": .string(savedAt.rfc3339),
        ]
    }
}

/// Settings of the fraud rules in the tables.
struct FraudStore: Sendable {
    let database: Database
    /// Versions of the rules of one organisation.
    static let versionsMax = 1000

    // MARK: reading

    /// The two numbers that change whenever anything does that a verdict depends on.
    struct Head: Equatable, Sendable, RowDecodable {
        var version = 0
        var patterns = 0

        init() {}

        init(row: Row) throws { (version, patterns) = (try row.get("version"), try row.get("patterns")) }
    }

    func head(org: String) async throws -> Head {
        try await database.read("fraud.head") { transaction in
            try transaction.one(Head.self, "SELECT version, patterns FROM fraud_heads WHERE org = \(org)") ?? Head()
        }
    }

    func state(org: String) async throws -> FraudState {
        try await database.read("fraud.state") { transaction in
            let head =
                try transaction.one(Head.self, "SELECT version, patterns FROM fraud_heads WHERE org = \(org)") ?? Head()
            var state = FraudState()
            (state.settings.version, state.patternVersion) = (head.version, head.patterns)
            let saved = try transaction.all(
                RulesRow.self,
                """
                SELECT version, starts_at, body, actor, created_at FROM fraud_rules WHERE org = \(org)
                ORDER BY version
                """)
            // A later version replaces everything from its start on, also what was to begin after it.
            for row in saved {
                state.settings.versions.removeAll { $0.startsAt >= row.startsAt.microseconds }
                state.settings.versions.append(
                    FraudSettings.Version(
                        version: row.version, startsAt: row.startsAt.microseconds, rules: try row.rules))
            }
            state.settings.lists = FraudLists(try Self.entries(org, in: transaction))
            let standing = try transaction.all(
                StandingRow.self,
                "SELECT app, network, publisher, code FROM fraud_patterns WHERE org = \(org) AND ended_at IS NULL")
            for row in standing {
                guard let code = FraudCode(rawValue: row.code) else { continue }
                state.patterns[row.app, default: [:]][row.source, default: []].insert(code)
            }
            return state
        }
    }

    static func entries(_ org: String, in transaction: Transaction) throws -> [FraudEntry] {
        try transaction.all(
            FraudEntry.self,
            """
            SELECT id, list, kind, value, network, note, actor, added_version, removed_version, added_at
            FROM fraud_lists WHERE org = \(org) AND removed_version IS NULL
            ORDER BY added_at, id LIMIT \(FraudLists.entriesMax)
            """)
    }

    func entries(org: String) async throws -> [FraudEntry] {
        try await database.read("fraud.lists", limit: .report) { try Self.entries(org, in: $0) }
    }

    /// Newest first.
    func rules(org: String, limit: Int) async throws -> [SavedFraudRules] {
        let rows = try await database.read("fraud.rules") { transaction in
            try transaction.all(
                RulesRow.self,
                """
                SELECT version, starts_at, body, actor, created_at FROM fraud_rules WHERE org = \(org)
                ORDER BY version DESC LIMIT \(limit)
                """)
        }
        return try rows.map {
            SavedFraudRules(
                version: $0.version, startsAt: $0.startsAt, rules: try $0.rules, actor: $0.actor, savedAt: $0.createdAt)
        }
    }

    // MARK: changing

    /// The number of a new version; no other change is made until the transaction ends.
    static func advance(_ org: String, in transaction: Transaction) throws -> Int {
        try transaction.run(
            """
            INSERT INTO fraud_heads (org, version, patterns, created_at) VALUES (\(org), 1, 0, \(transaction.now))
            ON CONFLICT (org) DO UPDATE SET version = fraud_heads.version + 1
            """)
        return try transaction.value(Int.self, "SELECT version FROM fraud_heads WHERE org = \(org)") ?? 1
    }

    static func advancePatterns(_ org: String, in transaction: Transaction) throws {
        try transaction.run(
            """
            INSERT INTO fraud_heads (org, version, patterns, created_at) VALUES (\(org), 0, 1, \(transaction.now))
            ON CONFLICT (org) DO UPDATE SET patterns = fraud_heads.patterns + 1
            """)
    }

    static func audit(
        _ org: String, _ actor: String, _ action: String, _ detail: JSONValue, in transaction: Transaction
    ) throws {
        let now = transaction.now
        try transaction.run(
            """
            INSERT INTO fraud_audit (org, id, actor, action, detail, at, created_at)
            VALUES (\(org), \(UID(now: now)), \(actor), \(action), \(detail.canonical), \(now), \(now))
            """)
    }

    func save(_ rules: FraudRules, org: String, startsAt: Timestamp, actor: String) async throws -> SavedFraudRules {
        try await database.write("fraud.saveRules") { transaction in
            let count = try transaction.value(Int.self, "SELECT COUNT(*) FROM fraud_rules WHERE org = \(org)") ?? 0
            guard count < Self.versionsMax else {
                throw FraudError.tooMany("There are \(Self.versionsMax) versions of the rules, which is the most.")
            }
            let version = try Self.advance(org, in: transaction)
            try transaction.run(
                """
                INSERT INTO fraud_rules (org, version, starts_at, body, actor, created_at)
                VALUES (\(org), \(version), \(startsAt), \(rules.json.canonical), \(actor), \(transaction.now))
                """)
            try Self.audit(
                org, actor, "rules.save",
                ["version": .integer(Int64(version)), "starts_at": .string(startsAt.rfc3339)], in: transaction)
            return SavedFraudRules(
                version: version, startsAt: startsAt, rules: rules, actor: actor, savedAt: transaction.now)
        }
    }

    /// Puts an entry on a list; one that is there already stays as it is.
    /// - Returns: the entry, and whether it is new.
    static func add(
        _ wish: FraudEntryWish, org: String, actor: String, in transaction: Transaction
    ) throws -> (entry: FraudEntry, isNew: Bool) {
        let known = try transaction.one(
            FraudEntry.self,
            """
            SELECT id, list, kind, value, network, note, actor, added_version, removed_version, added_at
            FROM fraud_lists
            WHERE org = \(org) AND list = \(wish.list.rawValue) AND kind = \(wish.kind.rawValue)
                AND network = \(wish.network) AND value = \(wish.value) AND removed_version IS NULL
            """)
        if let known { return (known, false) }
        let count =
            try transaction.value(
                Int.self, "SELECT COUNT(*) FROM fraud_lists WHERE org = \(org) AND removed_version IS NULL") ?? 0
        guard count < FraudLists.entriesMax else {
            throw FraudError.tooMany("There are \(FraudLists.entriesMax) entries, which is the most.")
        }
        let (now, version) = (transaction.now, try advance(org, in: transaction))
        let entry = FraudEntry(
            id: UID(now: now), list: wish.list, kind: wish.kind, value: wish.value, network: wish.network,
            note: wish.note, actor: actor, addedAt: now, addedVersion: version)
        try transaction.run(
            """
            INSERT INTO fraud_lists
                (org, id, list, kind, value, network, note, actor, added_version, removed_version, added_at, created_at)
            VALUES (\(org), \(entry.id), \(entry.list.rawValue), \(entry.kind.rawValue), \(entry.value),
                    \(entry.network), \(entry.note), \(actor), \(version), NULL, \(now), \(now))
            """)
        try audit(org, actor, "list.add", entry.json, in: transaction)
        return (entry, true)
    }

    /// - Returns: whether there was such an entry.
    static func remove(_ id: UID, org: String, actor: String, in transaction: Transaction) throws -> Bool {
        let known = try transaction.value(
            Int.self,
            "SELECT added_version FROM fraud_lists WHERE org = \(org) AND id = \(id) AND removed_version IS NULL")
        guard known != nil else { return false }
        let version = try advance(org, in: transaction)
        try transaction.run(
            """
            UPDATE fraud_lists SET removed_version = \(version)
            WHERE org = \(org) AND id = \(id) AND removed_version IS NULL
            """)
        try audit(org, actor, "list.remove", ["id": .string(id.hex)], in: transaction)
        return true
    }
}

private struct RulesRow: RowDecodable, Sendable {
    let version: Int
    let startsAt: Timestamp
    let body: JSONValue
    let actor: String
    let createdAt: Timestamp

    init(row: Row) throws {
        (version, startsAt) = (try row.get("version"), try row.get("starts_at"))
        (body, actor, createdAt) = (try row.get("body"), try row.get("actor"), try row.get("created_at"))
    }

    var rules: FraudRules {
        get throws { try FraudRules(body) }
    }
}

private struct StandingRow: RowDecodable, Sendable {
    let app: String
    let source: FraudSource
    let code: String

    init(row: Row) throws {
        app = try row.get("app")
        source = FraudSource(network: try row.get("network"), publisher: try row.get("publisher"))
        code = try row.get("code")
    }
}

/// A word of a table that this release does not know.
struct UnknownFraudWord: Error {
    let column: String
}

extension FraudEntry: RowDecodable {
    package init(row: Row) throws {
        guard let list = List(rawValue: try row.get("list")) else { throw UnknownFraudWord(column: "list") }
        guard let kind = Kind(rawValue: try row.get("kind")) else { throw UnknownFraudWord(column: "kind") }
        self.init(
            id: try row.get("id"), list: list, kind: kind, value: try row.get("value"),
            network: try row.get("network"), note: try row.get("note"), actor: try row.get("actor"),
            addedAt: try row.get("added_at"), addedVersion: try row.get("added_version"),
            removedVersion: try row.optional("removed_version"))
    }
}
