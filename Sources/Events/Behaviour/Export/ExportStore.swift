package import AurumCore
package import Database
internal import Foundation

/// Why an export is refused or has failed.
package enum ExportError: Error, Equatable, Sendable {
    /// Too many of the organisation wait or run.
    case tooMany
    /// The file cannot be written or is not as it was left.
    case storage
    /// Too little room on the volume.
    case full
    case query(String)
    /// The organisation has as many schedules as it may.
    case tooManySchedules
    /// Nothing of it is posted, or it was taken.
    case notGivenUp

    /// One sentence for the operator.
    package var sentence: String {
        switch self {
        case .tooMany: "too many exports of the organisation wait or run; try again later"
        case .storage: "the file cannot be written"
        case .full: "there is too little room on the volume"
        case .query(let tag): "the events cannot be read (\(tag))"
        case .tooManySchedules: "\(ExportService.schedulesMax) schedules of exports are the most; remove one first"
        case .notGivenUp: "it has no webhook, was not finished, or was delivered"
        }
    }

    package var tag: String {
        switch self {
        case .tooMany: "too_many_exports"
        case .storage: "export_storage"
        case .full: "storage_full"
        case .query(let tag): tag
        case .tooManySchedules: "too_many_schedules"
        case .notGivenUp: "export_not_given_up"
        }
    }
}

/// One export and how far it is.
package struct ExportJob: Sendable {
    package enum State: String, Sendable { case queued, running, done, failed }

    package var org: String
    package var id: UID
    /// `ExportRequest.document`.
    package var request: JSONValue
    package var state: State
    var snapshot: String?
    var checkpoint: String?
    package var resumed: Int
    package var rows: Int
    package var bytes: Int
    package var sha256: String?
    package var firstPosition: String?
    package var lastPosition: String?
    package var error: String?
    package var createdAt: Timestamp
    package var finishedAt: Timestamp?
    /// The schedule that made it; nil when somebody asked.
    package var schedule: String?
    /// Sealed.
    var hookSecret: String?
    /// nil where nothing is posted, or not yet.
    package var delivery: ExportDelivery?
    /// Since when it is to be posted.
    var deliverySince: Timestamp?
    /// When the next attempt to post it may be.
    var deliveryDue: Timestamp?
    /// Attempts since then that count.
    var deliveryTries: Int
    /// The node whose folder holds the file.
    var writer: UID?

    /// The job in answers.
    package var json: JSONValue {
        var members: [String: JSONValue] = [
            "id": .string(id.hex), "state": .string(state.rawValue), "rows": .integer(Int64(rows)),
            "bytes": .integer(Int64(bytes)), "resumed": .integer(Int64(resumed)),
            "created_at": .string(createdAt.rfc3339),
        ]
        members.merge(request.object ?? [:]) { own, _ in own }
        let texts: [(String, String?)] = [
            ("sha256", sha256), ("first_position", firstPosition), ("last_position", lastPosition), ("error", error),
            ("finished_at", finishedAt?.rfc3339), ("schedule", schedule), ("delivery", delivery?.rawValue),
            ("file", state == .done ? "/v1/exports/\(id.hex)/file" : nil),
        ]
        for (name, text) in texts { members[name] = text.map { .string($0) } ?? .null }
        if let damaged = knownCheckpoint?.damagedBlocks { members["damaged_blocks"] = .integer(Int64(damaged)) }
        return .object(members)
    }
}

extension ExportJob: RowDecodable {
    package init(row: Row) throws {
        org = try row.get("org")
        id = try row.get("id")
        request = try row.get("request")
        guard let state = State(rawValue: try row.get("state", as: String.self)) else {
            throw RowError.wrongType(column: "state", expected: "a state", found: "text")
        }
        self.state = state
        snapshot = try row.optional("snapshot")
        checkpoint = try row.optional("checkpoint")
        resumed = try row.get("resumed")
        rows = try row.get("row_count")
        bytes = try row.get("byte_count")
        sha256 = try row.optional("sha256")
        firstPosition = try row.optional("first_position")
        lastPosition = try row.optional("last_position")
        error = try row.optional("error")
        createdAt = try row.get("created_at")
        finishedAt = try row.optional("finished_at")
        (schedule, hookSecret) = (try row.optional("schedule"), try row.optional("hook_secret"))
        delivery = try row.optional("delivery", as: String.self).flatMap { ExportDelivery(rawValue: $0) }
        (deliverySince, deliveryDue) = (try row.optional("delivery_since"), try row.optional("delivery_due"))
        (deliveryTries, writer) = (try row.get("delivery_tries"), try row.optional("writer"))
    }
}

/// The table of exports. One that has failed or is done stays so, whatever its work says later.
struct ExportStore: Sendable {
    let database: Database
    /// Exports of one organisation that wait or run.
    static let openMax = 20
    /// Answers of one list.
    static let listMax = 200
    /// How long a finished export is kept.
    static let keep: Duration = .seconds(7 * 86_400)

    /// Answers with the export as it stands now, or as it stood when it was made for the key.
    func add(
        _ request: ExportRequest, secret: String?, org: String, id: UID, record: OutboxEvent?,
        once key: IdempotencyKey?, enqueue: @escaping ExportService.Enqueue
    ) async throws -> KeptAnswer {
        let document = request.document
        let openMax = Self.openMax
        return try await database.write("exports.add") { tx in
            try tx.once(key) {
                guard try Self.open(org, tx) < openMax else { throw ExportError.tooMany }
                try tx.run(
                    """
                    INSERT INTO exports (org, id, request, state, hook_secret, created_at)
                    VALUES (\(org), \(id), \(document), 'queued', \(secret), \(tx.now))
                    """)
                try enqueue(id, org, tx)
                if let record { try tx.emit(record) }
                let made = try tx.one(
                    ExportJob.self, "SELECT * FROM exports WHERE org = \(org) AND id = \(id)")
                guard let made else { throw ExportError.storage }
                return KeptAnswer(status: 201, body: made.json.canonical)
            }
        }
    }

    /// How many of an organisation wait or run.
    static func open(_ org: String, _ tx: Transaction) throws -> Int {
        try tx.value(
            Int.self, "SELECT COUNT(*) FROM exports WHERE org = \(org) AND state IN ('queued', 'running')") ?? 0
    }

    func job(_ id: UID, org: String) async throws -> ExportJob? {
        try await database.read("exports.byID") { tx in
            try tx.one(ExportJob.self, "SELECT * FROM exports WHERE org = \(org) AND id = \(id)")
        }
    }

    func list(org: String) async throws -> [ExportJob] {
        let limit = Self.listMax
        return try await database.read("exports.list") { tx in
            try tx.all(
                ExportJob.self,
                "SELECT * FROM exports WHERE org = \(org) ORDER BY created_at DESC, id DESC LIMIT \(limit)")
        }
    }

    /// Organisations with exports that are not over, or with posts whose time has come.
    func orgsAtWork() async throws -> [String] {
        try await database.read("exports.orgsAtWork") { tx in
            try tx.values(
                String.self,
                """
                SELECT DISTINCT org FROM exports
                WHERE state IN ('queued', 'running') OR delivery = 'waiting' AND delivery_due <= \(tx.now)
                ORDER BY org
                """)
        }
    }

    /// Asks for the work of every export of an organisation that is not over, and for the post of every one whose time
    /// has come.
    /// - Parameter post: nil where nothing is posted.
    func adopt(
        _ org: String, _ enqueue: @escaping ExportService.Enqueue, post: ExportService.Enqueue?
    ) async throws {
        try await database.write("exports.adopt") { tx in
            let open = try tx.values(
                UID.self,
                """
                SELECT id FROM exports WHERE org = \(org) AND state IN ('queued', 'running')
                ORDER BY state = 'queued', created_at, id
                """)
            for id in open { try enqueue(id, org, tx) }
            guard let post else { return }
            let waiting = try tx.values(
                UID.self,
                """
                SELECT id FROM exports WHERE org = \(org) AND delivery = 'waiting' AND delivery_due <= \(tx.now)
                ORDER BY delivery_due, id
                """)
            for id in waiting { try post(id, org, tx) }
        }
    }

    /// Exports whose file, whole or in part, may be of use on a node: all but those that another one finished.
    func ofUse(on node: UID) async throws -> Set<UID> {
        try await database.read("exports.ofUse") { tx in
            Set(
                try tx.values(
                    UID.self, "SELECT id FROM exports WHERE state <> 'done' OR writer IS NULL OR writer = \(node)"))
        }
    }

    /// Takes a job up, for the first time or again.
    func start(_ job: ExportJob, snapshot: ExportSnapshot, checkpoint: ExportCheckpoint) async throws {
        let resumed = job.state == .running ? 1 : 0
        let (snapshot, checkpoint) = (try Self.text(snapshot), checkpoint)
        let state = try Self.text(checkpoint)
        try await database.write("exports.start") { tx in
            try tx.run(
                """
                UPDATE exports SET state = 'running', snapshot = \(snapshot), checkpoint = \(state),
                    resumed = resumed + \(resumed), row_count = \(checkpoint.rows), byte_count = \(checkpoint.bytes)
                WHERE org = \(job.org) AND id = \(job.id) AND state IN ('queued', 'running')
                """)
        }
    }

    /// - Returns: false when the job was deleted or cancelled meanwhile.
    func save(_ checkpoint: ExportCheckpoint, of job: ExportJob) async throws -> Bool {
        let state = try Self.text(checkpoint)
        return try await database.write("exports.checkpoint") { tx in
            try tx.run(
                """
                UPDATE exports SET checkpoint = \(state), row_count = \(checkpoint.rows),
                    byte_count = \(checkpoint.bytes), first_position = \(checkpoint.first),
                    last_position = \(checkpoint.last)
                WHERE org = \(job.org) AND id = \(job.id) AND state IN ('queued', 'running')
                """) > 0
        }
    }

    /// Nothing for one that is over.
    /// - Parameters:
    ///   - node: whose folder holds the file.
    ///   - deliver: asks for the post of the file; nil when it has no webhook.
    func finish(
        _ job: ExportJob, sha256: String, rows: Int, bytes: Int, node: UID?, deliver: ExportService.Enqueue?
    ) async throws {
        let delivery = deliver.map { _ in ExportDelivery.waiting.rawValue }
        try await database.write("exports.finish") { tx in
            let changed = try tx.run(
                """
                UPDATE exports SET state = 'done', sha256 = \(sha256), row_count = \(rows), byte_count = \(bytes),
                    finished_at = \(tx.now), snapshot = NULL, delivery = \(delivery), delivery_since = \(tx.now),
                    delivery_due = \(tx.now), writer = \(node)
                WHERE org = \(job.org) AND id = \(job.id) AND state IN ('queued', 'running')
                """)
            if changed == 1, let deliver { try deliver(job.id, job.org, tx) }
        }
    }

    func fail(_ job: ExportJob, tag: String) async throws {
        try await database.write("exports.fail") { tx in
            try tx.run(
                """
                UPDATE exports SET state = 'failed', error = \(tag), finished_at = \(tx.now)
                WHERE org = \(job.org) AND id = \(job.id) AND state IN ('queued', 'running')
                """)
        }
    }

    static func cancel(_ id: UID, org: String, in tx: Transaction) throws {
        try tx.run(
            """
            UPDATE exports SET state = 'failed', error = 'cancelled', finished_at = \(tx.now)
            WHERE org = \(org) AND id = \(id) AND state IN ('queued', 'running')
            """)
    }

    func remove(_ id: UID, org: String) async throws -> ExportJob? {
        try await database.write("exports.remove") { tx in
            let job = try tx.one(ExportJob.self, "SELECT * FROM exports WHERE org = \(org) AND id = \(id)")
            try tx.run("DELETE FROM export_attempts WHERE org = \(org) AND export = \(id)")
            try tx.run("DELETE FROM exports WHERE org = \(org) AND id = \(id)")
            return job
        }
    }

    /// Takes out what has been finished long enough; their files are the caller's.
    func expire() async throws -> [ExportJob] {
        let keep = Self.keep
        return try await database.write("exports.expire") { tx in
            let limit = tx.now - keep
            let old = try tx.all(
                ExportJob.self, "SELECT * FROM exports WHERE finished_at IS NOT NULL AND finished_at < \(limit)")
            for job in old {
                try tx.run("DELETE FROM export_attempts WHERE org = \(job.org) AND export = \(job.id)")
            }
            try tx.run("DELETE FROM exports WHERE finished_at IS NOT NULL AND finished_at < \(limit)")
            return old
        }
    }

    private static func text(_ value: some Encodable) throws -> String {
        String(decoding: try JSONEncoder().encode(value), as: UTF8.self)
    }
}

extension ExportJob {
    private func decoded<Value: Decodable>(_ text: String?) -> Value? {
        text.flatMap { try? JSONDecoder().decode(Value.self, from: Data($0.utf8)) }
    }

    var knownSnapshot: ExportSnapshot? { decoded(snapshot) }
    var knownCheckpoint: ExportCheckpoint? { decoded(checkpoint) }
}
