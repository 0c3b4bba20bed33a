package import AurumCore
internal import Database
internal import Runtime

/// Which uploads to list.
package struct UploadFilter: Sendable {
    package static let listMax = 500

    package var state: UploadState?
    package var destination: UID?
    /// By when the conversion happened; `from` ≤ time < `to`.
    package var from: Timestamp?
    package var to: Timestamp?
    /// Only items older than this one.
    package var before: UID?
    package var limit = 100

    package init() {}
}

/// What the books say of a conversion.
package enum UploadFact: Sendable, Equatable {
    case sale(leg: UID, traceID: UID?, price: Money, at: Timestamp)
    /// The ledger counts a sale as earned.
    case recognised(leg: UID, traceID: UID?, price: Money, at: Timestamp)
    case lead(UID, traceID: UID?, at: Timestamp)
    case returned(leg: UID)
}

/// A conversion that goes out now.
struct ReadyUpload: Sendable {
    let item: UploadItem
    let action: UploadAction
}

/// What a look at the conversions that were due left behind.
struct BegunUploads: Sendable {
    var ready: [ReadyUpload] = []
    /// Those that do not go out, by what became of them.
    var held: [UploadState: Int] = [:]
}

extension UploadStore {
    // MARK: what is to be sent

    /// Which of these organisations have a destination.
    package func organisations(among orgs: Set<String>) async throws -> Set<String> {
        guard !orgs.isEmpty else { return [] }
        let known = orgs.sorted()
        return Set(
            try await database.read("uploads.organisations") { tx in
                try tx.values(
                    String.self,
                    """
                    SELECT DISTINCT org FROM upload_destinations WHERE state <> 'removed' AND org IN (\(list: known))
                    """)
            })
    }

    /// Takes up what the books say, for every destination that wants it. Repeating it changes nothing.
    package func follow(_ fact: UploadFact, org: String) async throws {
        try await database.write("uploads.follow") { tx in
            switch fact {
            case .sale(let leg, let trace, let price, let at):
                try add(.sale, leg, trace, price, at, org, in: tx) { $0.settings.moment == .sale }
            case .recognised(let leg, let trace, let price, let at):
                try add(.sale, leg, trace, price, at, org, in: tx) { $0.settings.moment == .recognised }
            case .lead(let lead, let trace, let at):
                try add(.lead, lead, trace, .usd(cents: 0), at, org, in: tx) { _ in true }
            case .returned(let leg): try giveBack(leg, org, in: tx)
            }
        }
    }

    private func add(
        _ kind: UploadKind, _ subject: UID, _ trace: UID?, _ value: Money, _ at: Timestamp, _ org: String,
        in tx: Transaction, where isWanted: (UploadDraft) -> Bool
    ) throws {
        let all = try tx.all(
            StoredDestination.self,
            "SELECT * FROM upload_destinations WHERE org = \(org) AND state <> 'removed' ORDER BY id")
        for one in all where isWanted(one.draft) {
            guard let event = one.draft.settings.conversions[kind] else { continue }
            let new = UploadMachine(valueMinor: value.minorUnits, occurredAt: at, now: tx.now)
            let added = try tx.run(
                """
                INSERT INTO upload_items (org, id, destination, kind, subject, event, trace_id, state, action, reason,
                    currency, value_minor, wanted_minor, sent_minor, is_returned, is_uncertain, attempts, due_at,
                    occurred_at, updated_at, created_at)
                VALUES (\(org), \(UID(now: tx.now)), \(one.id), \(kind.rawValue), \(subject), \(event), \(trace),
                    \(new.state.rawValue), \(new.action.rawValue), '', \(value.currency), \(new.valueMinor),
                    \(new.wantedMinor), \(new.sentMinor), 0, 0, 0, \(new.dueAt), \(at), \(tx.now), \(tx.now))
                ON CONFLICT (org, destination, kind, subject) DO NOTHING
                """)
            if added > 0 { try schedule(one.id, org: org, at: tx.now, in: tx) }
        }
    }

    private func giveBack(_ leg: UID, _ org: String, in tx: Transaction) throws {
        let items = try tx.all(
            UploadItem.self,
            // In the order of `add`: of two that schedule the same destinations none waits for the other.
            """
            SELECT * FROM upload_items WHERE org = \(org) AND subject = \(leg) AND kind = 'sale'
            ORDER BY destination, id
            """)
        for var item in items {
            let before = item.machine
            item.machine.giveBack(now: tx.now)
            if item.machine == before { continue }
            try item.save(in: tx)
            if item.machine.dueAt != nil { try schedule(item.destination, org: org, at: tx.now, in: tx) }
        }
    }

    /// A conversion is worth something else by now, for example after a partial credit.
    /// - Throws: `UploadError.unknownItem`, `settled`.
    package func restate(_ id: UID, to minor: Int64, org: String) async throws -> JSONValue {
        try await database.write("uploads.restate") { tx in
            guard var item = try Self.item(id, org, in: tx), item.kind == .sale else { throw UploadError.unknownItem }
            guard item.machine.restate(to: minor, now: tx.now) else { throw UploadError.settled(item.machine.state) }
            try item.save(in: tx)
            if item.machine.dueAt != nil { try schedule(item.destination, org: org, at: tx.now, in: tx) }
            return try Self.item(id, org, in: tx)?.json ?? .null
        }
    }

    // MARK: sending

    /// What an earlier worker sent and wrote no end of may have arrived. The destination as it is now, also a removed
    /// one.
    func open(_ destination: UID, _ rules: (UploadNetwork) -> SinkRules?, _ job: RunningJob) async throws
        -> StoredDestination?
    {
        let known = try await database.read("uploads.destination") { tx in
            try Self.destination(destination, job.org, in: tx, removed: true)
        }
        guard let known, let rules = rules(known.draft.network) else { return nil }
        return try await database.write("uploads.open") { tx in
            try job.hold(in: tx)
            let lost = try tx.all(
                UploadItem.self,
                """
                SELECT * FROM upload_items
                WHERE org = \(job.org) AND destination = \(destination) AND state = 'sent' ORDER BY id
                """)
            for var item in lost {
                try Self.end(item, .unknown("interrupted"), in: tx)
                item.machine.interrupted(rules, now: tx.now)
                try item.save(in: tx)
            }
            return try Self.destination(destination, job.org, in: tx, removed: true)
        }
    }

    /// Ends what waits at a destination that is gone, at most `limit` conversions; answers how many there were.
    func abandon(_ destination: UID, limit: Int, _ job: RunningJob) async throws -> Int {
        try await database.write("uploads.abandon") { tx in
            try job.hold(in: tx)
            let open = try tx.all(
                UploadItem.self,
                """
                SELECT * FROM upload_items
                WHERE org = \(job.org) AND destination = \(destination) AND due_at IS NOT NULL
                ORDER BY due_at, id LIMIT \(limit)
                """)
            for var item in open {
                item.machine.abandon()
                try item.save(in: tx)
            }
            return open.count
        }
    }

    func due(at destination: StoredDestination, limit: Int) async throws -> [UploadItem] {
        try await database.read("uploads.due") { tx in
            try tx.all(
                UploadItem.self,
                """
                SELECT * FROM upload_items
                WHERE org = \(destination.org) AND destination = \(destination.id) AND due_at <= \(tx.now)
                ORDER BY due_at, id LIMIT \(limit)
                """)
        }
    }

    /// Marks what goes out as sent, durably, before a byte leaves, and what does not with the reason.
    /// - Parameter preview: what would be sent of a conversion, for dry runs.
    /// - Throws: `JobError.staleFence` when another worker is at this destination by now.
    func begin(
        _ ids: [UID], batch: UID, at destination: StoredDestination, _ rules: SinkRules,
        refusals: [UID: UploadRefusal], preview: @escaping @Sendable (UploadItem) -> JSONValue, _ job: RunningJob
    ) async throws -> BegunUploads {
        try await database.write("uploads.begin") { tx in
            try job.hold(in: tx)
            var begun = BegunUploads()
            // Paused, removed or set to dry runs since: nothing more leaves.
            guard let now = try Self.destination(destination.id, destination.org, in: tx), !now.draft.isPaused else {
                return begun
            }
            let items = try tx.all(
                UploadItem.self,
                "SELECT * FROM upload_items WHERE org = \(destination.org) AND id IN (\(list: ids)) ORDER BY id")
            for var item in items {
                let before = item.machine
                let conditions = UploadConditions(refusal: refusals[item.id], isDryRun: now.draft.isDryRun)
                let action = item.machine.begin(conditions, rules, now: tx.now)
                if item.machine == before { continue }
                try item.save(in: tx)
                let isDry = action == nil && item.machine.state == .dryRun
                if action != nil || isDry { try Self.note(item, batch, isDry ? preview(item) : nil, in: tx) }
                if let action {
                    begun.ready.append(ReadyUpload(item: item, action: action))
                } else {
                    begun.held[item.machine.state, default: 0] += 1
                }
            }
            return begun
        }
    }

    /// Begins the record of an attempt; of a dry run it is whole.
    private static func note(_ item: UploadItem, _ batch: UID, _ payload: JSONValue?, in tx: Transaction) throws {
        let machine = item.machine
        try tx.run(
            """
            INSERT INTO upload_attempts (org, item, number, action, batch, value_minor, outcome, reason, payload,
                started_at, ended_at)
            VALUES (\(item.org), \(item.id), \(machine.attempts), \(machine.action.rawValue), \(batch),
                \(machine.sentMinor), \(payload.map { _ in "dry_run" }), '', \(payload), \(tx.now),
                \(payload.map { _ in tx.now }))
            """)
    }

    private static func end(_ item: UploadItem, _ outcome: UploadOutcome, in tx: Transaction) throws {
        try tx.run(
            """
            UPDATE upload_attempts SET outcome = \(outcome.word), reason = \(outcome.reason), ended_at = \(tx.now)
            WHERE org = \(item.org) AND item = \(item.id) AND number = \(item.machine.attempts)
            """)
    }

    /// Writes what came of a batch.
    /// - Throws: `JobError.staleFence` when another worker is at this destination by now: it takes the batch for lost.
    func record(
        _ outcomes: [UID: UploadOutcome], at destination: StoredDestination, _ rules: SinkRules, _ job: RunningJob
    ) async throws {
        try await database.write("uploads.record") { tx in
            try job.hold(in: tx)
            let items = try tx.all(
                UploadItem.self,
                """
                SELECT * FROM upload_items
                WHERE org = \(destination.org) AND id IN (\(list: Array(outcomes.keys))) ORDER BY id
                """)
            for var item in items {
                guard let outcome = outcomes[item.id] else { continue }
                try Self.end(item, outcome, in: tx)
                item.machine.answer(outcome, rules, now: tx.now)
                try item.save(in: tx)
            }
            try Self.mark(Array(outcomes.values), destination, in: tx)
        }
    }

    /// Whether the destination works: it does when it took or judged anything of a batch.
    private static func mark(
        _ outcomes: [UploadOutcome], _ destination: StoredDestination, in tx: Transaction
    ) throws {
        guard let failure = failure(of: outcomes) else {
            try tx.run(
                """
                UPDATE upload_destinations SET succeeded_at = \(tx.now), failed_at = NULL, failure = ''
                WHERE org = \(destination.org) AND id = \(destination.id)
                """)
            return
        }
        try tx.run(
            """
            UPDATE upload_destinations SET failed_at = \(tx.now), failure = \(failure)
            WHERE org = \(destination.org) AND id = \(destination.id)
            """)
    }

    /// Nothing can be sent there before somebody changes something.
    func fail(_ destination: StoredDestination, _ reason: String, _ job: RunningJob) async throws {
        try await database.write("uploads.fail") { tx in
            try job.hold(in: tx)
            try Self.mark([.notSent(reason)], destination, in: tx)
        }
    }

    /// Why a whole batch came to nothing; nil where some of it did not.
    static func failure(of outcomes: [UploadOutcome]) -> String? {
        var reason: String?
        for outcome in outcomes {
            switch outcome {
            case .accepted, .rejected: return nil
            case .unknown(let why), .notSent(let why): reason = reason ?? why
            }
        }
        return reason
    }

    /// Ends the job together with the one that goes on when something is due again.
    /// - Parameter isBlocked: what is due waits until the next minute, for nothing could be sent.
    func finish(_ destination: UID, isBlocked: Bool, _ job: RunningJob) async throws {
        // Whoever makes something due schedules it, so that nothing that is not seen here is forgotten.
        try await database.write("uploads.finish", isolation: .readCommitted) { tx in
            try job.complete(in: tx)
            let next = try tx.value(
                Timestamp.self,
                """
                SELECT due_at FROM upload_items
                WHERE org = \(job.org) AND destination = \(destination) AND due_at IS NOT NULL
                ORDER BY due_at LIMIT 1
                """)
            guard let next else { return }
            let due = isBlocked ? max(next, tx.now + .microseconds(1)) : next
            try schedule(destination, org: job.org, at: due, in: tx)
        }
    }

    // MARK: reading

    static func item(_ id: UID, _ org: String, in tx: Transaction) throws -> UploadItem? {
        try tx.one(UploadItem.self, "SELECT * FROM upload_items WHERE org = \(org) AND id = \(id)")
    }

    /// Newest first.
    package func items(_ filter: UploadFilter, org: String) async throws -> [JSONValue] {
        let last = filter.before ?? UID(high: .max, low: .max)
        let (state, destination) = (filter.state?.rawValue, filter.destination)
        let from = filter.from ?? Timestamp(microseconds: .min)
        let to = filter.to ?? Timestamp(microseconds: .max)
        let limit = min(max(filter.limit, 1), UploadFilter.listMax)
        return try await database.read("uploads.items", limit: .report) { tx in
            try tx.all(
                UploadItem.self,
                """
                SELECT * FROM upload_items
                WHERE org = \(org) AND id < \(last) AND (\(state == nil) = 1 OR state = \(state ?? ""))
                    AND (\(destination == nil) = 1 OR destination = \(destination ?? last))
                    AND occurred_at >= \(from) AND occurred_at < \(to)
                ORDER BY id DESC LIMIT \(limit)
                """
            ).map(\.json)
        }
    }

    /// One conversion with every attempt, oldest first.
    /// - Throws: `UploadError.unknownItem`.
    package func read(_ id: UID, org: String) async throws -> JSONValue {
        try await database.read("uploads.item") { tx in
            guard let item = try Self.item(id, org, in: tx) else { throw UploadError.unknownItem }
            let attempts = try tx.all(
                UploadAttempt.self,
                "SELECT * FROM upload_attempts WHERE org = \(org) AND item = \(id) ORDER BY number LIMIT 200")
            var members = item.json.object ?? [:]
            members["history"] = .array(attempts.map(\.json))
            return .object(members)
        }
    }
}
