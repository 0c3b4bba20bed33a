package import AurumCore
package import Database
package import Events
internal import Foundation
package import Runtime

/// Destinations of conversions and what became of each conversion, in the database.
package struct UploadStore: Sendable {
    /// Destinations that an organisation may have.
    package static let destinationsMax = 20
    static let job = JobKind("uploads.send", attemptsMax: JobLimits.attemptsMax)
    /// Jobs that are due within the same minute are one.
    private static let minute: Int64 = 60_000_000

    let database: Database
    private let jobs: SQLJobStore
    private let sealer: any PersonalFieldSealer
    private let allowLoopback: Bool
    private let counts: UploadCounts

    /// - Parameter countsKeptFor: how long conversions that were counted are not counted again.
    package init(
        database: Database, jobs: SQLJobStore, sealer: any PersonalFieldSealer, allowLoopback: Bool,
        countsKeptFor: Duration = .zero
    ) {
        (self.database, self.jobs, self.sealer) = (database, jobs, sealer)
        self.allowLoopback = allowLoopback
        counts = UploadCounts(keptFor: countsKeptFor)
    }

    // MARK: destinations

    /// Answers with the destination, or with the one that was made for the key.
    /// - Throws: `UploadError.invalid` with all problems, `nameTaken`, `tooManyDestinations`; `IdempotencyKeyReused`.
    package func create(_ body: JSONValue, org: String, once key: IdempotencyKey? = nil) async throws -> JSONValue {
        let draft = try UploadDraft(body, from: nil, allowLoopback: allowLoopback)
        return try await database.write("uploads.create") { tx in
            try tx.once(key) { KeptAnswer(made: try add(draft, org: org, in: tx)) }
        }.json()
    }

    private func add(_ draft: UploadDraft, org: String, in tx: Transaction) throws -> JSONValue {
        let id = UID(now: tx.now)
        let count = try tx.value(
            Int.self, "SELECT COUNT(*) FROM upload_destinations WHERE org = \(org) AND state <> 'removed'")
        guard count ?? 0 < Self.destinationsMax else { throw UploadError.tooManyDestinations }
        try checkName(draft.name, of: id, org, in: tx)
        try tx.run(
            """
            INSERT INTO upload_destinations (org, id, name, network, state, dry_run, configuration, credentials,
                failure, updated_at, created_at)
            VALUES (\(org), \(id), \(draft.name), \(draft.network.rawValue),
                \(draft.isPaused ? "paused" : "active"), \(draft.isDryRun), \(try Self.text(draft.settings)),
                \(try draft.credentials.map { try sealed($0, org, id) }), '', \(tx.now), \(tx.now))
            """)
        return try Self.destination(id, org, in: tx)?.json ?? .null
    }

    /// Changes the members that the body holds. Credentials that it does not hold stay.
    /// - Throws: `UploadError.unknownDestination`, `invalid` with all problems, `nameTaken`.
    package func change(_ id: UID, _ body: JSONValue, org: String) async throws -> JSONValue {
        try await database.write("uploads.change") { tx in
            guard let known = try Self.destination(id, org, in: tx) else { throw UploadError.unknownDestination }
            let draft = try UploadDraft(body, from: known.draft, allowLoopback: allowLoopback)
            try checkName(draft.name, of: id, org, in: tx)
            let credentials = try draft.credentials.map { try sealed($0, org, id) } ?? known.credentials
            try tx.run(
                """
                UPDATE upload_destinations SET name = \(draft.name), state = \(draft.isPaused ? "paused" : "active"),
                    dry_run = \(draft.isDryRun), configuration = \(try Self.text(draft.settings)),
                    credentials = \(credentials), updated_at = \(tx.now)
                WHERE org = \(org) AND id = \(id)
                """)
            // What waited while it was paused, or for credentials that work.
            try schedule(id, org: org, at: tx.now, in: tx)
            return try Self.destination(id, org, in: tx)?.json ?? .null
        }
    }

    /// Sends nothing more there and forgets the credentials. What became of its conversions can still be read.
    /// - Throws: `UploadError.unknownDestination`.
    package func remove(_ id: UID, org: String) async throws {
        try await database.write("uploads.remove") { tx in
            let changed = try tx.run(
                """
                UPDATE upload_destinations SET state = 'removed', credentials = NULL, updated_at = \(tx.now)
                WHERE org = \(org) AND id = \(id) AND state <> 'removed'
                """)
            guard changed == 1 else { throw UploadError.unknownDestination }
            try schedule(id, org: org, at: tx.now, in: tx)
        }
    }

    /// In order of name, without credentials, each with how many conversions stand where and what it was told. Counts
    /// may be as old as `countsKeptFor`.
    package func list(org: String) async throws -> [JSONValue] {
        let all = try await database.read("uploads.list") { tx in
            try tx.all(
                StoredDestination.self,
                "SELECT * FROM upload_destinations WHERE org = \(org) AND state <> 'removed' ORDER BY name, id")
        }
        guard !all.isEmpty else { return [] }
        let counted = try await counts.get(org) {
            try await database.read("uploads.counts", limit: .report) { tx in
                try tx.all(
                    UploadCount.self,
                    """
                    SELECT destination, state, currency, COUNT(*) AS items, SUM(told_minor) AS told FROM upload_items
                    WHERE org = \(org) GROUP BY destination, state, currency
                    """)
            }
        }
        let known = Dictionary(grouping: counted, by: \.destination)
        return all.map { $0.json(known[$0.id] ?? []) }
    }

    /// The destination with everything that it takes to reach it.
    /// - Throws: `UploadError.unknownDestination`, `sealedByOther`.
    package func target(_ id: UID, org: String) async throws -> UploadTarget {
        let known = try await database.read("uploads.target") { tx in try Self.destination(id, org, in: tx) }
        guard let known else { throw UploadError.unknownDestination }
        return try target(known)
    }

    func target(_ known: StoredDestination) throws(UploadError) -> UploadTarget {
        guard let text = known.credentials, let bytes = sealer.open(text, place(known.org, known.id)),
            let credentials = try? JSONDecoder().decode(UploadCredentials.self, from: Data(bytes))
        else { throw .sealedByOther }
        return UploadTarget(
            org: known.org, id: known.id, network: known.draft.network, settings: known.draft.settings,
            credentials: credentials)
    }

    static func destination(
        _ id: UID, _ org: String, in tx: Transaction, removed: Bool = false
    ) throws -> StoredDestination? {
        let known = try tx.one(
            StoredDestination.self, "SELECT * FROM upload_destinations WHERE org = \(org) AND id = \(id)")
        return known?.isRemoved == true && !removed ? nil : known
    }

    private func checkName(_ name: String, of id: UID, _ org: String, in tx: Transaction) throws {
        let other = try tx.value(
            UID.self,
            """
            SELECT id FROM upload_destinations
            WHERE org = \(org) AND name = \(name) AND state <> 'removed' AND id <> \(id)
            """)
        if other != nil { throw UploadError.nameTaken }
    }

    private func place(_ org: String, _ id: UID) -> SealedPlace {
        SealedPlace(org: org, field: "upload_destinations.\(id.hex)")
    }

    private func sealed(_ credentials: UploadCredentials, _ org: String, _ id: UID) throws -> String {
        sealer.seal(Array(try JSONEncoder().encode(credentials)), place(org, id))
    }

    private static func text(_ settings: UploadSettings) throws -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        return String(decoding: try encoder.encode(settings), as: UTF8.self)
    }

    // MARK: work

    /// One job sends what is due at a destination; never two at once.
    func schedule(_ destination: UID, org: String, at due: Timestamp, in tx: Transaction) throws {
        let isNow = due <= tx.now
        let minute = due.microseconds / Self.minute + 1
        try jobs.enqueue(
            NewJob(
                Self.job, org: org, payload: ["destination": .string(destination.hex)],
                due: isNow ? nil : Timestamp(microseconds: minute * Self.minute),
                unique: ("\(destination.hex).\(isNow ? "now" : String(minute))", .untilStarted),
                concurrency: JobConcurrency("uploads.\(destination.hex)", limit: 1)),
            in: tx, isFollowUp: true)
    }

    /// Gives every destination with something to do its job, where it lost it: at a start, and from time to time for
    /// jobs that came to nothing too often.
    package func adopt() async throws {
        try await database.write("uploads.adopt", isolation: .readCommitted) { tx in
            let waiting = try tx.all(
                WaitingDestination.self,
                """
                SELECT org, destination FROM upload_items WHERE due_at IS NOT NULL
                UNION SELECT org, destination FROM upload_items WHERE state = 'sent'
                ORDER BY org, destination
                """)
            for one in waiting { try schedule(one.id, org: one.org, at: tx.now, in: tx) }
        }
    }

    /// Destinations whose newest call failed, oldest failure first, at most `limit`.
    package func failing(limit: Int = 10) async throws -> [(org: String, id: UID, reason: String)] {
        try await database.read("uploads.failing") { tx in
            try tx.all(
                FailingDestination.self,
                """
                SELECT org, id, failure FROM upload_destinations
                WHERE state = 'active' AND failed_at IS NOT NULL AND (succeeded_at IS NULL OR failed_at > succeeded_at)
                ORDER BY failed_at, id LIMIT \(limit)
                """)
        }.map { ($0.org, $0.id, $0.reason) }
    }
}

/// A destination as it is stored, its credentials sealed.
struct StoredDestination: RowDecodable, Sendable {
    let org: String
    let id: UID
    let draft: UploadDraft
    let isRemoved: Bool
    let credentials: String?
    let succeededAt: Timestamp?
    let failedAt: Timestamp?
    let failure: String
    let createdAt: Timestamp
    let updatedAt: Timestamp

    init(row: Row) throws {
        org = try row.get("org")
        id = try row.get("id")
        let state: String = try row.get("state")
        isRemoved = state == "removed"
        let text: String = try row.get("configuration")
        draft = UploadDraft(
            name: try row.get("name"), network: try row.word("network"), isPaused: state == "paused",
            isDryRun: try row.get("dry_run"),
            settings: try JSONDecoder().decode(UploadSettings.self, from: Data(text.utf8)))
        credentials = try row.optional("credentials")
        succeededAt = try row.optional("succeeded_at")
        failedAt = try row.optional("failed_at")
        failure = try row.get("failure")
        createdAt = try row.get("created_at")
        updatedAt = try row.get("updated_at")
    }

    var json: JSONValue { json([]) }

    func json(_ counts: [UploadCount]) -> JSONValue {
        let settings = draft.settings
        var members: [String: JSONValue] = [
            "id": .string(id.hex), "name": .string(draft.name), "network": .string(draft.network.rawValue),
            "state": .string(draft.isPaused ? "paused" : "active"), "dry_run": .bool(draft.isDryRun),
            "account": .string(settings.account),
            "conversions": .object(
                Dictionary(
                    settings.conversions.map { ($0.key.rawValue, .string($0.value)) }, uniquingKeysWith: { $1 })),
            "moment": .string(settings.moment.rawValue), "requires_consent": .bool(settings.requiresConsent),
            "batch_max": .integer(Int64(settings.batchMax)), "endpoint": .string(settings.endpoint),
            "credentials_set": .bool(credentials != nil), "failing": .bool(isFailing),
            "created_at": .string(createdAt.rfc3339), "updated_at": .string(updatedAt.rfc3339),
        ]
        if draft.network == .meta { members["action_source"] = .string(settings.actionSource) }
        members["login_account"] = settings.loginAccount.map(JSONValue.string)
        members["succeeded_at"] = succeededAt.map { .string($0.rfc3339) }
        members["failed_at"] = failedAt.map { .string($0.rfc3339) }
        if isFailing { members["failure"] = .string(failure) }
        var (items, told): ([String: Int64], [String: Int64]) = ([:], [:])
        for count in counts {
            items[count.state, default: 0] += count.items
            told[count.currency, default: 0] += count.told
        }
        members["items"] = .object(items.mapValues { .integer($0) })
        members["told_minor"] = .object(told.mapValues { .integer($0) })
        return .object(members)
    }

    private var isFailing: Bool {
        guard let failedAt else { return false }
        return succeededAt.map { failedAt > $0 } ?? true
    }
}

struct UploadCount: RowDecodable, Sendable {
    let destination: UID
    let state: String
    let currency: String
    let items: Int64
    let told: Int64

    init(row: Row) throws {
        destination = try row.get("destination")
        (state, currency) = (try row.get("state"), try row.get("currency"))
        items = try row.get("items")
        told = try row.optional("told") ?? 0
    }
}

private struct WaitingDestination: RowDecodable, Sendable {
    let org: String
    let id: UID
    init(row: Row) throws { (org, id) = (try row.get("org"), try row.get("destination")) }
}

private struct FailingDestination: RowDecodable, Sendable {
    let org: String
    let id: UID
    let reason: String
    init(row: Row) throws { (org, id, reason) = (try row.get("org"), try row.get("id"), try row.get("failure")) }
}
