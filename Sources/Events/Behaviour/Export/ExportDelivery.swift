package import AurumCore
package import Database
internal import Foundation
internal import Logging
internal import Synchronization
package import Telemetry

/// A finished file that is to be posted.
package struct ExportCall: Sendable {
    /// The export's id, the same in every attempt.
    package let delivery: UID
    package let org: String
    package let url: String
    package let secret: String
    package let path: String
    package let bytes: Int
    package let contentType: String
    package let sha256: String
    package let fileName: String

    package init(
        delivery: UID, org: String, url: String, secret: String, path: String, bytes: Int, contentType: String,
        sha256: String, fileName: String
    ) {
        (self.delivery, self.org, self.url, self.secret) = (delivery, org, url, secret)
        (self.path, self.bytes, self.contentType) = (path, bytes, contentType)
        (self.sha256, self.fileName) = (sha256, fileName)
    }
}

/// What a receiver made of a file.
package enum ExportAnswer: Sendable, Equatable {
    case delivered(status: Int)
    /// Asking again is no use.
    case refused(reason: String, status: Int?)
    /// May be tried again, no earlier than the receiver says.
    case failed(reason: String, status: Int?, retryAfter: Duration?)
    /// Nobody was asked: no attempt.
    case postponed(Duration)

    /// What a status means: 2xx took it, 408, 425, 429 and 5xx may later, everything else never.
    package init(status: Int, retryAfter: Duration?) {
        switch status {
        case 200...299: self = .delivered(status: status)
        case 408, 425, 429, 500...599: self = .failed(reason: "http_\(status)", status: status, retryAfter: retryAfter)
        default: self = .refused(reason: "http_\(status)", status: status)
        }
    }

    /// As attempts have it and `aurum_export_deliveries_total` counts it.
    var word: String {
        switch self {
        case .delivered: "delivered"
        case .refused: "refused"
        case .failed: "failed"
        case .postponed: "postponed"
        }
    }

    var reason: String {
        switch self {
        case .delivered, .postponed: ""
        case .refused(let reason, _), .failed(let reason, _, _): reason
        }
    }

    var status: Int? {
        switch self {
        case .delivered(let status): status
        case .refused(_, let status), .failed(_, let status, _): status
        case .postponed: nil
        }
    }
}

/// What comes after a look at a post.
package enum ExportStep: Sendable, Equatable {
    /// Nothing is left to do.
    case over
    /// An attempt failed; another follows.
    case again(after: Duration)
    /// It is not its turn: no attempt was made.
    case postponed(Duration)
}

/// What became of the post of an export.
package enum ExportDelivery: String, Sendable {
    case waiting, delivered
    /// The receiver will never take it.
    case refused
    /// All attempts failed.
    case dead

    /// Between one attempt and the next.
    static let pauses: [Duration] = [.seconds(1), .seconds(5), .seconds(25), .seconds(125)]
    /// The longest that a receiver may ask for.
    private static let pauseMax = Duration.seconds(3600)

    /// What follows from the answer to an attempt.
    /// - Parameter tries: with this one, since it was asked for.
    /// - Returns: the state, and while it waits how long.
    static func after(_ answer: ExportAnswer, tries: Int) -> (state: ExportDelivery, pause: Duration?) {
        switch answer {
        case .delivered: return (.delivered, nil)
        case .refused: return (.refused, nil)
        case .postponed(let pause): return (.waiting, pause)
        case .failed(_, _, let retryAfter):
            guard pauses.indices.contains(tries - 1) else { return (.dead, nil) }
            return (.waiting, max(pauses[tries - 1], min(retryAfter ?? .zero, pauseMax)))
        }
    }
}

/// How files are posted to webhooks.
package struct ExportHooks: Sendable {
    /// Larger files are not posted.
    package static let bytesMax = 1 << 30

    let allowsLoopback: Bool
    let sealer: any PersonalFieldSealer
    let registry: MetricRegistry
    /// Sees to it that `deliver` is called for an export, if and only if the transaction commits; once more where it is
    /// being called.
    let enqueue: ExportService.Enqueue
    /// The same for one that should be called already; nothing where that was asked for once more and is not over.
    let enqueueAgain: ExportService.Enqueue
    let send: @Sendable (ExportCall) async -> ExportAnswer

    package init(
        allowsLoopback: Bool, sealer: any PersonalFieldSealer, registry: MetricRegistry,
        enqueue: @escaping ExportService.Enqueue, enqueueAgain: ExportService.Enqueue? = nil,
        send: @escaping @Sendable (ExportCall) async -> ExportAnswer
    ) {
        (self.allowsLoopback, self.sealer, self.registry) = (allowsLoopback, sealer, registry)
        (self.enqueue, self.enqueueAgain, self.send) = (enqueue, enqueueAgain ?? enqueue, send)
    }

    /// One place for an export and the schedule that makes it: the secret goes from one to the other.
    private func place(_ org: String) -> SealedPlace { SealedPlace(org: org, field: "exports.hook") }

    func sealed(_ secret: String, org: String) -> String { sealer.seal(Array(secret.utf8), place(org)) }

    func secret(_ sealed: String?, org: String) -> String? {
        sealed.flatMap { sealer.open($0, place(org)) }.map { String(decoding: $0, as: UTF8.self) }
    }
}

/// One attempt to post an export.
package struct ExportAttempt: Sendable, RowDecodable {
    /// One that is under way.
    struct Begun: Sendable {
        let number: Int
        /// With this one, since the post was asked for.
        let tries: Int
        /// Since when the post was asked for as this one began.
        let since: Timestamp?
    }

    var number: Int
    var outcome: String?
    var reason: String
    var status: Int?
    var startedAt: Timestamp
    var endedAt: Timestamp?

    package init(row: Row) throws {
        (number, reason, startedAt) = (try row.get("number"), try row.get("reason"), try row.get("started_at"))
        (outcome, status) = (try row.optional("outcome"), try row.optional("status"))
        endedAt = try row.optional("ended_at")
    }

    package var json: JSONValue {
        [
            "number": .integer(Int64(number)), "outcome": outcome.map { .string($0) } ?? .null,
            "reason": .string(reason), "status": status.map { .integer(Int64($0)) } ?? .null,
            "started_at": .string(startedAt.rfc3339), "ended_at": endedAt.map { .string($0.rfc3339) } ?? .null,
        ]
    }
}

extension ExportService {
    /// How long the node that wrote a file has to post it before another says that the file is gone: that node alone
    /// has it, and may be stopped, cut off or busy. The rest of the export's time is for whoever looks why.
    static let writerTime = ExportStore.keep - .seconds(86_400)
    /// What it has in any case after the post was asked for anew.
    private static let writerTimeMin: Duration = .seconds(3600)
    /// How soon another node may look whether it has the file, at first and later.
    private static let nextNode: (soon: Duration, late: Duration) = (.seconds(5), .seconds(60))
    /// Posts of this process at once: jobs of other kinds have most of its places, however slow receivers are.
    static let postsMax = 8
    /// How long a post waits where there are so many.
    private static let crowded: Duration = .seconds(5)

    /// Whether this node may have the file of a finished export: not what it once wrote of one that another node
    /// finished.
    package func isHere(_ job: ExportJob) -> Bool { job.writer == nil || job.writer == node }

    /// Posts a finished export once. Nothing for one that is not to be posted, or not any more.
    /// - Throws: `CancellationError` when the task was cancelled before there was an answer; what the store throws.
    package func deliver(_ id: UID, org: String) async throws -> ExportStep {
        guard let hooks, let job = try await store.job(id, org: org), job.delivery == .waiting,
            let (path, request) = file(job), let url = request.url
        else { return .over }
        let now = clock.now
        // Several jobs may be of one post: they keep its pauses together.
        if let due = job.deliveryDue, due > now { return .postponed(due - now) }
        let hasFile = isHere(job) && FileManager.default.fileExists(atPath: path)
        if !hasFile, let wait = untilWriter(job, now) { return .postponed(wait) }
        let hasRoom = posts.withLock { count in
            guard count < Self.postsMax else { return false }
            count += 1
            return true
        }
        guard hasRoom else { return .postponed(Self.crowded) }
        defer { posts.withLock { $0 -= 1 } }
        // Counted before it begins: one that a crash cut off was an attempt, too.
        guard let begun = try await store.beginAttempt(job) else { return .over }
        let answer = await answer(job, hasFile ? path : nil, request, url, hooks)
        if case .postponed(let pause) = answer {
            try await store.uncount(begun, of: job, isInterrupted: false)
            return .postponed(pause)
        }
        if case .failed = answer, Task.isCancelled {
            try await store.uncount(begun, of: job, isInterrupted: true)
            throw CancellationError()
        }
        let (state, pause) = ExportDelivery.after(answer, tries: begun.tries)
        let decides = try await store.end(begun, of: job, answer, state, due: pause.map { clock.now + $0 })
        let isGivenUp = decides && (state == .dead || state == .refused)
        hooks.registry.counter(.exportDeliveries, isGivenUp ? state.rawValue : answer.word).increment()
        if isGivenUp {
            logger.warning(
                "an export was not taken by its webhook",
                metadata: ["code": "export_not_taken", "export": "\(id)", "reason": "\(answer.reason)"])
        }
        return decides ? pause.map { .again(after: $0) } ?? .over : .over
    }

    /// How long a post that another node has the file of waits for it; nil when it does not wait, or not any longer.
    private func untilWriter(_ job: ExportJob, _ now: Timestamp) -> Duration? {
        guard job.writer != node, let since = job.deliverySince else { return nil }
        let end = max((job.finishedAt ?? since) + Self.writerTime, since + Self.writerTimeMin)
        guard now < end else { return nil }
        return now - since < Self.writerTimeMin ? Self.nextNode.soon : Self.nextNode.late
    }

    /// - Parameter path: nil when the file is nowhere.
    private func answer(
        _ job: ExportJob, _ path: String?, _ request: ExportRequest, _ url: String, _ hooks: ExportHooks
    ) async -> ExportAnswer {
        guard let path, let sha256 = job.sha256 else { return .refused(reason: "file_gone", status: nil) }
        // Sealed by a node with another key: it may be given this node's.
        guard let secret = hooks.secret(job.hookSecret, org: job.org) else {
            return .failed(reason: "secret_unreadable", status: nil, retryAfter: nil)
        }
        guard job.bytes <= ExportHooks.bytesMax else { return .refused(reason: "too_large", status: nil) }
        return await hooks.send(
            ExportCall(
                delivery: job.id, org: job.org, url: url, secret: secret, path: path, bytes: job.bytes,
                contentType: request.contentType, sha256: sha256, fileName: request.fileName(job.id)))
    }

    /// Posts an export anew that was given up or refused, under the same id; at once one that waits.
    /// - Returns: nil when there is none.
    /// - Throws: `ExportError.notGivenUp`.
    package func redeliver(_ id: UID, org: String) async throws -> ExportJob? {
        guard let hooks else { return nil }
        return try await store.redeliver(id, org: org, enqueue: hooks.enqueue)
    }

    /// Every attempt to post an export, oldest first.
    package func attempts(_ job: ExportJob) async throws -> [ExportAttempt] { try await store.attempts(job) }

    /// Gives up the post of an export whose job was cancelled.
    package static func cancelDelivery(_ id: UID, org: String, in tx: Transaction) throws {
        try tx.run(
            "UPDATE exports SET delivery = 'dead' WHERE org = \(org) AND id = \(id) AND delivery = 'waiting'")
    }
}
