package import AurumCore
internal import Database
internal import Events
internal import Runtime

/// Which deliveries to list.
package struct CallbackFilter: Sendable {
    package static let listMax = 500

    package var state: CallbackState?
    package var callback: UID?
    package var network: String?
    /// Only deliveries older than this one.
    package var before: UID?
    package var limit = 100

    package init() {}
}

/// A delivery with everything that an attempt needs to know.
struct OpenCallback: Sendable {
    var delivery: CallbackDelivery
    /// Also a removed one.
    var callback: StoredCallback
    /// nil for a sale, and where the person was erased.
    var install: CallbackInstall?
}

extension CallbackStore {
    // MARK: one attempt

    /// nil where there is nothing to do any more.
    func open(_ id: UID, org: String) async throws -> OpenCallback? {
        try await database.read("callbacks.open") { tx in try Self.open(id, org, in: tx) }
    }

    private static func open(_ id: UID, _ org: String, in tx: Transaction) throws -> OpenCallback? {
        guard let delivery = try delivery(id, org, in: tx), !delivery.machine.state.isOver,
            let callback = try callback(delivery.callback, org, in: tx, removed: true)
        else { return nil }
        let install =
            delivery.kind == .sale ? nil : try self.install(org, delivery.app, delivery.install, in: tx)
        return OpenCallback(delivery: delivery, callback: callback, install: install)
    }

    /// The install of an event id, or the open that took over from one.
    static func install(
        _ org: String, _ app: String, _ id: String, in tx: Transaction
    ) throws -> CallbackInstall? {
        let install = try tx.one(
            CallbackInstall.self,
            """
            SELECT installs.event_id AS event_id, installs.facts AS facts, found.body AS body
            FROM installs LEFT JOIN install_decisions AS found ON found.org = installs.org
                AND found.app = installs.app AND found.event_id = installs.event_id
                AND found.version = installs.version
            WHERE installs.org = \(org) AND installs.app = \(app) AND installs.event_id = \(id)
            """)
        if let install { return install }
        return try tx.one(
            CallbackInstall.self,
            """
            SELECT known.event_id AS event_id, known.facts AS facts, found.body AS body
            FROM reengagements AS known LEFT JOIN reengagement_decisions AS found ON found.org = known.org
                AND found.app = known.app AND found.event_id = known.event_id AND found.version = known.version
            WHERE known.org = \(org) AND known.app = \(app) AND known.event_id = \(id)
            """)
    }

    /// Marks an attempt as begun, durably, before a byte leaves; or ends the delivery, with its job, where it is not
    /// to be sent.
    /// - Parameter judge: why it is not sent, as things stand now.
    /// - Returns: what to send; nil where nothing is.
    /// - Throws: `JobError.staleFence` when another worker has it by now.
    func begin(
        _ id: UID, _ job: RunningJob, judge: @escaping @Sendable (OpenCallback) -> String?
    ) async throws -> OpenCallback? {
        try await database.write("callbacks.begin") { tx in
            try job.hold(in: tx)
            guard var open = try Self.open(id, job.org, in: tx) else { return nil }
            if open.delivery.machine.state == .sending {
                // An earlier worker ended before it wrote the end: the receiver may have it, and is told again.
                try Self.end(open.delivery, "unknown", "interrupted", nil, in: tx)
            }
            if let why = judge(open) {
                open.delivery.machine.suppress(why, now: tx.now)
                try open.delivery.save(in: tx)
                count(open.delivery.kind, "suppressed", in: tx)
                try job.complete(in: tx)
                return nil
            }
            open.delivery.machine.begin(now: tx.now)
            try open.delivery.save(in: tx)
            try tx.run(
                """
                INSERT INTO callback_attempts (org, delivery, number, outcome, reason, status, started_at, ended_at)
                VALUES (\(job.org), \(id), \(open.delivery.machine.attempts), NULL, '', NULL, \(tx.now), NULL)
                """)
            return open
        }
    }

    private static func end(
        _ delivery: CallbackDelivery, _ outcome: String, _ reason: String, _ status: Int?, in tx: Transaction
    ) throws {
        try tx.run(
            """
            UPDATE callback_attempts SET outcome = \(outcome), reason = \(reason), status = \(status),
                ended_at = \(tx.now)
            WHERE org = \(delivery.org) AND delivery = \(delivery.id) AND number = \(delivery.machine.attempts)
            """)
    }

    /// Writes what came of an attempt, and ends its job together with the one that tries again.
    /// - Throws: `JobError.staleFence` when another worker has it by now.
    func record(_ outcome: CallbackOutcome, of id: UID, _ job: RunningJob) async throws -> CallbackDelivery? {
        try await database.write("callbacks.record") { tx in
            try job.complete(in: tx)
            guard var delivery = try Self.delivery(id, job.org, in: tx) else { return nil }
            try Self.end(delivery, outcome.word, outcome.reason, outcome.status, in: tx)
            delivery.machine.answer(outcome, now: tx.now)
            try delivery.save(in: tx)
            count(delivery.kind, delivery.machine.state == .dead ? "dead" : outcome.word, in: tx)
            if let due = delivery.machine.dueAt {
                try schedule(id, of: delivery.callback, org: job.org, at: due, in: tx)
            }
            return delivery
        }
    }

    // MARK: reading

    static func delivery(_ id: UID, _ org: String, in tx: Transaction) throws -> CallbackDelivery? {
        try tx.one(CallbackDelivery.self, "SELECT * FROM callback_deliveries WHERE org = \(org) AND id = \(id)")
    }

    /// Newest first.
    package func deliveries(_ filter: CallbackFilter, org: String) async throws -> JSONValue {
        let last = filter.before ?? UID(high: .max, low: .max)
        let (state, callback, network) = (filter.state?.rawValue, filter.callback, filter.network?.lowercased())
        let limit = min(max(filter.limit, 1), CallbackFilter.listMax)
        let found = try await database.read("callbacks.deliveries", limit: .report) { tx in
            try tx.all(
                CallbackDelivery.self,
                """
                SELECT * FROM callback_deliveries
                WHERE org = \(org) AND id < \(last) AND (\(state == nil) = 1 OR state = \(state ?? ""))
                    AND (\(callback == nil) = 1 OR callback = \(callback ?? last))
                    AND (\(network == nil) = 1 OR network = \(network ?? ""))
                ORDER BY id DESC LIMIT \(limit)
                """)
        }
        return [
            "deliveries": .array(found.map(\.json)),
            "next": found.count == limit ? found.last.map { .string($0.id.hex) } ?? .null : .null,
        ]
    }

    /// A delivery with its template and install, whether it is over or not, and every attempt, oldest first.
    /// - Throws: `CallbackError.unknownDelivery`.
    func whole(_ id: UID, org: String) async throws -> (OpenCallback, attempts: [JSONValue]) {
        try await database.read("callbacks.delivery") { tx in
            guard let delivery = try Self.delivery(id, org, in: tx),
                let callback = try Self.callback(delivery.callback, org, in: tx, removed: true)
            else { throw CallbackError.unknownDelivery }
            let attempts = try tx.all(
                CallbackAttempt.self,
                "SELECT * FROM callback_attempts WHERE org = \(org) AND delivery = \(id) ORDER BY number LIMIT 500")
            let install =
                delivery.kind == .sale
                ? nil : try Self.install(org, delivery.app, delivery.install, in: tx)
            return (
                OpenCallback(delivery: delivery, callback: callback, install: install), attempts.map(\.json)
            )
        }
    }

    /// Sets a delivery to work again that was given up or refused, with all its tries and under the same id.
    /// - Throws: `CallbackError.unknownDelivery`, `settled`, `switchedOff`.
    package func redrive(_ id: UID, org: String) async throws -> JSONValue {
        try await database.write("callbacks.redrive") { tx in
            guard var delivery = try Self.delivery(id, org, in: tx) else { throw CallbackError.unknownDelivery }
            guard try Self.callback(delivery.callback, org, in: tx)?.isEnabled == true else {
                throw CallbackError.switchedOff
            }
            guard delivery.machine.redrive(now: tx.now) else { throw CallbackError.settled(delivery.machine.state) }
            try delivery.save(in: tx)
            try schedule(id, of: delivery.callback, org: org, at: tx.now, in: tx)
            return try Self.delivery(id, org, in: tx)?.json ?? .null
        }
    }

    // MARK: upkeep

    /// How long deliveries are kept from when they were taken up. Longer than `takenUpWithin`, so that a log that is
    /// read again meets the record of what it told.
    package static let kept: Duration = .seconds(90 * 86_400)
    /// Rows of one transaction.
    private static let atOnce = 500

    /// Gives what is overdue its job, where that was lost: a job that came to nothing too often is dead.
    /// - Parameter overdue: how long its time is over.
    package func adopt(overdue: Duration = .seconds(600)) async throws {
        var (last, org, after): (Timestamp, String, UID) = (
            Timestamp(microseconds: .min), "", UID(high: 0, low: 0)
        )
        while true {
            try Task.checkCancellation()
            let (mark, markOrg, markID) = (last, org, after)
            let found = try await database.write("callbacks.adopt", isolation: .readCommitted) { tx in
                let lost = try tx.all(
                    LostDelivery.self,
                    """
                    SELECT org, id, callback, due_at FROM callback_deliveries
                    WHERE due_at IS NOT NULL AND due_at <= \(tx.now - overdue)
                        AND (due_at, org, id) > (\(mark), \(markOrg), \(markID))
                    ORDER BY due_at, org, id LIMIT \(Self.atOnce)
                    """)
                for one in lost { try schedule(one.id, of: one.callback, org: one.org, at: tx.now, in: tx) }
                return lost
            }
            guard let end = found.last, found.count == Self.atOnce else { return }
            (last, org, after) = (end.dueAt, end.org, end.id)
        }
    }

    /// Removes what is old, a few rows at a time. What is under way stays.
    /// - Returns: how many deliveries went.
    @discardableResult
    package func purge() async throws -> Int {
        var (all, last) = (0, Self.atOnce)
        while last == Self.atOnce {
            try Task.checkCancellation()
            last = try await database.write("callbacks.purge") { tx in
                let old = try tx.all(
                    LostDelivery.self,
                    """
                    SELECT org, id, callback, created_at AS due_at FROM callback_deliveries
                    WHERE created_at < \(tx.now - Self.kept) AND due_at IS NULL
                    ORDER BY created_at LIMIT \(Self.atOnce)
                    """)
                for (org, rows) in Dictionary(grouping: old, by: \.org) {
                    let ids = rows.map(\.id)
                    try tx.run("DELETE FROM callback_attempts WHERE org = \(org) AND delivery IN (\(list: ids))")
                    try tx.run("DELETE FROM callback_deliveries WHERE org = \(org) AND id IN (\(list: ids))")
                }
                return old.count
            }
            all += last
        }
        return all
    }

    /// Conversions whose install nobody could decide for so long tell nobody.
    package func purgeConversions() async throws {
        try await database.write("callbacks.purgeConversions", isolation: .readCommitted) { tx in
            _ = try tx.run("DELETE FROM callback_conversions WHERE received_at < \(tx.now - Self.takenUpWithin)")
        }
    }

    // MARK: erasure

    /// Removes what is kept of an erased person, before its installs go.
    /// - Parameter persons: as the log knows them.
    static func forget(org: String, keys: InstallKeys, persons: [Int64], in tx: Transaction) throws {
        let (device, user, click) = (keys.device, keys.user, keys.click)
        try tx.run(
            "DELETE FROM callback_conversions WHERE org = \(org) AND (device_key = \(device) OR user_key = \(user))")
        let ids = try tx.values(
            UID.self,
            """
            SELECT id FROM callback_deliveries WHERE org = \(org) AND install <> '' AND (EXISTS (
                SELECT 1 FROM installs WHERE installs.org = callback_deliveries.org
                    AND installs.app = callback_deliveries.app AND installs.event_id = callback_deliveries.install
                    AND (installs.person IN (\(list: persons)) OR installs.device_key = \(device)
                        OR installs.user_key = \(user) OR installs.click_key = \(click)))
                OR EXISTS (SELECT 1 FROM reengagements AS known WHERE known.org = callback_deliveries.org
                    AND known.app = callback_deliveries.app AND known.event_id = callback_deliveries.install
                    AND (known.person IN (\(list: persons)) OR known.device_key = \(device)
                        OR known.user_key = \(user) OR known.click_key = \(click))))
            """)
        for start in stride(from: 0, to: ids.count, by: atOnce) {
            let some = Array(ids[start..<min(ids.count, start + atOnce)])
            try tx.run("DELETE FROM callback_attempts WHERE org = \(org) AND delivery IN (\(list: some))")
            try tx.run("DELETE FROM callback_deliveries WHERE org = \(org) AND id IN (\(list: some))")
        }
    }
}

private struct LostDelivery: RowDecodable, Sendable {
    let org: String
    let id: UID
    let callback: UID
    let dueAt: Timestamp

    init(row: Row) throws {
        (org, id) = (try row.get("org"), try row.get("id"))
        (callback, dueAt) = (try row.get("callback"), try row.get("due_at"))
    }
}
