package import AurumCore
internal import Crypto
package import Database
package import Events
internal import Foundation
package import Runtime
package import Telemetry

/// Templates of callbacks and what became of each delivery, in the database.
package struct CallbackStore: Sendable {
    /// Templates that an organisation may have.
    package static let callbacksMax = 100
    /// What was received longer ago is not told: a log that is read again repeats nothing whose record is gone.
    package static let takenUpWithin: Duration = .seconds(14 * 86_400)
    /// Why a delivery is suppressed whose template was disabled or removed meanwhile.
    static let switchedOff = "callback_off"
    static let sendJob = JobKind(
        "callbacks.send", attemptsMax: JobLimits.attemptsMax, keepsDone: .seconds(3600))
    static let saleJob = JobKind("callbacks.sale", attemptsMax: JobLimits.attemptsMax)
    /// Requests of one template at once, on all nodes.
    private static let runningMax = 8

    let database: Database
    let jobs: SQLJobStore
    let registry: MetricRegistry
    private let sealer: any PersonalFieldSealer
    private let allowLoopback: Bool

    package init(
        database: Database, jobs: SQLJobStore, sealer: any PersonalFieldSealer, allowLoopback: Bool,
        registry: MetricRegistry
    ) {
        (self.database, self.jobs, self.sealer) = (database, jobs, sealer)
        (self.allowLoopback, self.registry) = (allowLoopback, registry)
    }

    // MARK: templates

    /// Answers with the callback, or with the one that was made for the key.
    /// - Throws: `CallbackError.invalid` with all problems, `tooManyCallbacks`; `IdempotencyKeyReused`.
    package func create(_ body: JSONValue, org: String, once key: IdempotencyKey? = nil) async throws -> JSONValue {
        let draft = try CallbackDraft(body, from: nil, allowLoopback: allowLoopback)
        try await checkEvent(draft.event, org)
        return try await database.write("callbacks.create") { tx in
            try tx.once(key) { KeptAnswer(made: try add(draft, org: org, in: tx)) }
        }.json()
    }

    private func add(_ draft: CallbackDraft, org: String, in tx: Transaction) throws -> JSONValue {
        let count = try tx.value(
            Int.self, "SELECT COUNT(*) FROM callbacks WHERE org = \(org) AND state <> 'removed'")
        guard count ?? 0 < Self.callbacksMax else { throw CallbackError.tooManyCallbacks }
        let id = UID(now: tx.now)
        let secret = (draft.secret ?? nil).map { sealed($0, org, id) }
        try tx.run(
            """
            INSERT INTO callbacks (org, id, network, event, method, url, body, state, secret, enabled_at,
                updated_at, created_at)
            VALUES (\(org), \(id), \(draft.network), \(draft.event), \(draft.template.method.rawValue),
                \(draft.template.url), \(draft.template.body), \(draft.isEnabled ? "enabled" : "disabled"),
                \(secret), \(tx.now), \(tx.now), \(tx.now))
            """)
        return try Self.callback(id, org, in: tx)?.json ?? .null
    }

    /// Changes the members that the body holds. A secret that it does not hold stays.
    /// - Throws: `CallbackError.unknownCallback`, `invalid` with all problems.
    package func change(_ id: UID, _ body: JSONValue, org: String) async throws -> JSONValue {
        if let event = body["event"]?.string { try await checkEvent(event, org) }
        return try await database.write("callbacks.change") { tx in
            guard let known = try Self.callback(id, org, in: tx) else { throw CallbackError.unknownCallback }
            let draft = try CallbackDraft(body, from: known, allowLoopback: allowLoopback)
            let secret = draft.secret.map { $0.map { sealed($0, org, id) } } ?? known.secret
            // What it tells from now on is what comes in from now on.
            let isNew =
                draft.isEnabled && !known.isEnabled || draft.event != known.event || draft.network != known.network
            try tx.run(
                """
                UPDATE callbacks SET network = \(draft.network), event = \(draft.event),
                    method = \(draft.template.method.rawValue), url = \(draft.template.url),
                    body = \(draft.template.body), state = \(draft.isEnabled ? "enabled" : "disabled"),
                    secret = \(secret), enabled_at = \(isNew ? tx.now : known.enabledAt), updated_at = \(tx.now)
                WHERE org = \(org) AND id = \(id)
                """)
            return try Self.callback(id, org, in: tx)?.json ?? .null
        }
    }

    /// Tells nothing more and forgets the secret. What became of its deliveries can still be read.
    /// - Throws: `CallbackError.unknownCallback`.
    package func remove(_ id: UID, org: String) async throws {
        try await database.write("callbacks.remove") { tx in
            let changed = try tx.run(
                """
                UPDATE callbacks SET state = 'removed', secret = NULL, updated_at = \(tx.now)
                WHERE org = \(org) AND id = \(id) AND state <> 'removed'
                """)
            guard changed == 1 else { throw CallbackError.unknownCallback }
        }
    }

    /// In order of network and event, without secrets.
    package func list(org: String) async throws -> [JSONValue] {
        try await database.read("callbacks.list") { tx in
            try tx.all(
                StoredCallback.self,
                """
                SELECT * FROM callbacks WHERE org = \(org) AND state <> 'removed' ORDER BY network, event, id
                """)
        }.map(\.json)
    }

    func known(_ id: UID, org: String) async throws -> StoredCallback {
        let known = try await database.read("callbacks.one") { tx in try Self.callback(id, org, in: tx) }
        guard let known else { throw CallbackError.unknownCallback }
        return known
    }

    static func callback(
        _ id: UID, _ org: String, in tx: Transaction, removed: Bool = false
    ) throws -> StoredCallback? {
        let known = try tx.one(StoredCallback.self, "SELECT * FROM callbacks WHERE org = \(org) AND id = \(id)")
        return known?.isRemoved == true && !removed ? nil : known
    }

    private func checkEvent(_ event: String, _ org: String) async throws {
        guard CallbackKind(event: event) == .conversion else { return }
        let known = try await DefinitionStore(database: database).current(org: org).map(\.name)
        guard !known.contains(event) else { return }
        let names = (["install", "sale"] + known.filter { $0 != "install" }).joined(separator: ", ")
        throw CallbackError.invalid([
            CallbackProblem(field: "event", detail: "is no conversion of this organisation; known are \(names)")
        ])
    }

    // MARK: secrets

    private func place(_ org: String, _ id: UID) -> SealedPlace {
        SealedPlace(org: org, field: "callbacks.\(id.hex)")
    }

    private func sealed(_ secret: String, _ org: String, _ id: UID) -> String {
        sealer.seal(Array(secret.utf8), place(org, id))
    }

    /// nil where the template has none.
    /// - Throws: `CallbackError.sealedByOther`.
    func secret(_ callback: StoredCallback) throws(CallbackError) -> String? {
        guard let text = callback.secret else { return nil }
        guard let bytes = sealer.open(text, place(callback.org, callback.id)) else { throw .sealedByOther }
        return String(decoding: bytes, as: UTF8.self)
    }

    // MARK: what is told

    /// Which of these organisations tell of sales.
    package func organisations(tellingSalesAmong orgs: Set<String>) async throws -> Set<String> {
        guard !orgs.isEmpty else { return [] }
        let known = orgs.sorted()
        return Set(
            try await database.read("callbacks.organisations") { tx in
                try tx.values(
                    String.self,
                    """
                    SELECT DISTINCT org FROM callbacks
                    WHERE event = 'sale' AND state = 'enabled' AND org IN (\(list: known))
                    """)
            })
    }

    /// The enabled templates of an organisation for one event, of what was received at a moment.
    static func enabled(
        _ event: String, _ org: String, receivedAt: Timestamp, in tx: Transaction
    ) throws -> [StoredCallback] {
        guard tx.now - receivedAt <= takenUpWithin else { return [] }
        return try tx.all(
            StoredCallback.self,
            """
            SELECT * FROM callbacks WHERE org = \(org) AND event = \(event) AND state = 'enabled'
                AND enabled_at <= \(receivedAt) ORDER BY id
            """)
    }

    /// Takes up one thing for one template, with the job that tells it. A second time changes nothing, unless the
    /// first was suppressed by what a later decision takes back.
    func add(_ new: NewCallback, to callback: StoredCallback, in tx: Transaction) throws {
        let (org, id, why) = (callback.org, UID(now: tx.now), new.suppression ?? "")
        let isWaiting = new.suppression == nil
        let added = try tx.run(
            """
            INSERT INTO callback_deliveries (org, id, callback, kind, event, network, subject, reference, app, install,
                trace_id, value_minor, currency, occurred_at, state, reason, status, attempts, tries, first_at, due_at,
                ended_at, updated_at, created_at)
            VALUES (\(org), \(id), \(callback.id), \(new.kind.rawValue), \(callback.event), \(callback.network),
                \(new.subject), \(new.reference), \(new.app), \(new.install), \(new.traceID),
                \(new.value?.minorUnits), \(new.value?.currency), \(new.at), \(isWaiting ? "waiting" : "suppressed"),
                \(why), NULL, 0, 0, NULL, \(isWaiting ? tx.now : nil), \(isWaiting ? nil : tx.now), \(tx.now),
                \(tx.now))
            ON CONFLICT (org, callback, subject) DO NOTHING
            """)
        if added == 1 {
            if isWaiting { return try schedule(id, of: callback.id, org: org, at: tx.now, in: tx) }
            return count(new.kind, "suppressed", in: tx)
        }
        guard isWaiting else { return }
        let lifted = try tx.value(
            UID.self,
            """
            SELECT id FROM callback_deliveries
            WHERE org = \(org) AND callback = \(callback.id) AND subject = \(new.subject) AND state = 'suppressed'
                AND (reason LIKE 'fraud:%' OR reason = 'restated')
            """)
        guard let lifted else { return }
        try tx.run(
            """
            UPDATE callback_deliveries SET state = 'waiting', reason = '', tries = 0, first_at = NULL,
                due_at = \(tx.now), ended_at = NULL, updated_at = \(tx.now)
            WHERE org = \(org) AND id = \(lifted)
            """)
        try schedule(lifted, of: callback.id, org: org, at: tx.now, in: tx)
    }

    func count(_ kind: CallbackKind, _ outcome: String, in tx: Transaction) {
        tx.afterCommit { [registry] in registry.counter(.callbackDeliveries, kind.rawValue, outcome).increment() }
    }

    /// One job makes one attempt.
    func schedule(
        _ delivery: UID, of callback: UID, org: String, at due: Timestamp, in tx: Transaction
    ) throws {
        try jobs.enqueue(
            NewJob(
                Self.sendJob, org: org, payload: ["delivery": .string(delivery.hex)],
                due: due <= tx.now ? nil : due, unique: (delivery.hex, .untilDone),
                concurrency: JobConcurrency("callbacks.\(callback.hex)", limit: Self.runningMax)),
            in: tx, isFollowUp: true)
    }
}

/// One thing to be told, before it is known which templates tell it.
struct NewCallback: Sendable {
    var kind: CallbackKind
    /// The same for what is told once.
    var subject: UID
    var reference: String
    var app = ""
    var install = ""
    var traceID: UID?
    var value: Money?
    var at: Timestamp
    /// Why it is not sent; nil where it is.
    var suppression: String?

    /// The first 16 bytes of the SHA-256 of what names it.
    static func subject(_ names: [String]) -> UID {
        let text = JSONValue.array(names.map { .string($0) }).canonical
        return UID(bytes: Array(SHA256.hash(data: Data(text.utf8)).prefix(16))) ?? UID(high: 0, low: 0)
    }
}
