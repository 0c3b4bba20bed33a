package import AurumCore
internal import Foundation

/// Where a job stands. A scheduled job whose time has come is due; the clock makes it so, no write does.
package enum JobState: String, Sendable, CaseIterable {
    /// For other jobs.
    case waiting
    case scheduled
    /// Aside, because its key is at its limit.
    case parked
    case running
    case done
    case dead
    case cancelled

    package var isOver: Bool { self == .done || self == .dead || self == .cancelled }
    /// Counts toward the bound of an organisation.
    package var isWaiting: Bool { self == .waiting || self == .scheduled || self == .parked }
}

/// Why a job is among the dead letters.
package enum DeadReason: String, Sendable {
    case attemptsExhausted, doNotRetry, unknownType, workerLost, parent
}

/// One attempt that failed.
package struct JobFailure: Sendable, Equatable, Codable {
    package var attempt: Int
    package var at: Timestamp
    /// A stable tag.
    package var code: String
    package var detail: String
}

/// A job as it is stored. Only `JobMachine` changes it.
package struct JobRecord: Sendable, Equatable {
    /// Its place in the table; 0 before it is there.
    package var seq: Int64 = 0
    package var id: UID
    package var org: String
    package var type: String
    package var version: Int
    /// JSON.
    package var payload: String
    package var priority: JobPriority
    package var state: JobState
    package var dueAt: Timestamp
    /// Attempts begun, those that a lost lease ended included.
    package var attempt = 0
    package var attemptsMax: Int
    /// Leases lost in a row.
    package var losses = 0
    /// Of the last claim; 0 before the first.
    package var fence: Int64 = 0
    package var worker: UID?
    package var leaseUntil: Timestamp?
    package var cancelAt: Timestamp?
    package var uniqueKey: String?
    package var uniqueness: JobUniqueness?
    /// Whether the key keeps others out now.
    package var isUniqueHeld = false
    package var concurrency: JobConcurrency?
    package var rate: JobRate?
    /// When a job that its rate put aside may begin.
    package var readyAt: Timestamp?
    /// Jobs it still waits for.
    package var parentsOpen = 0
    /// Jobs that wait, or have waited, for it.
    package var children = 0
    package var progressMillionths: Int?
    package var note: String?
    package var failures: [JobFailure] = []
    package var deadReason: DeadReason?
    package var traceID: UID?
    package var schedule: String?
    package var tick: Timestamp?
    package var keepsDone: Duration
    package var createdAt: Timestamp
    package var startedAt: Timestamp?
    package var finishedAt: Timestamp?
    /// When it may be purged.
    package var keepUntil: Timestamp?

    /// The smaller, the earlier it is claimed.
    package var place: Int64 { (dueAt - priority.bonus).microseconds }

    package func isDue(_ now: Timestamp) -> Bool { state == .scheduled && dueAt <= now }

    /// `due` for a scheduled job whose time has come.
    package func stateName(_ now: Timestamp) -> String { isDue(now) ? "due" : state.rawValue }

    /// The job in answers. Payloads hold ids, never contact data.
    package func json(now: Timestamp) -> JSONValue {
        var members: [String: JSONValue] = [
            "id": .string(id.hex), "org": .string(org), "type": .string(type), "version": .integer(Int64(version)),
            "priority": .string(priority.rawValue), "state": .string(stateName(now)), "due_at": .string(dueAt.rfc3339),
            "attempt": .integer(Int64(attempt)), "attempts_max": .integer(Int64(attemptsMax)),
            "created_at": .string(createdAt.rfc3339), "cancel_requested": .bool(cancelAt != nil && !state.isOver),
            "waits_for": .integer(Int64(parentsOpen)),
            "payload": (try? JSONDecoder().decode(JSONValue.self, from: Data(payload.utf8))) ?? .null,
        ]
        let texts: [(String, String?)] = [
            ("dead_reason", deadReason?.rawValue), ("note", note), ("unique_key", uniqueKey), ("schedule", schedule),
            ("worker", worker?.hex), ("concurrency_key", concurrency?.key), ("rate_key", rate?.key),
            ("started_at", startedAt?.rfc3339), ("finished_at", finishedAt?.rfc3339),
            ("lease_until", leaseUntil?.rfc3339), ("tick", tick?.rfc3339),
        ]
        for (name, text) in texts { if let text { members[name] = .string(text) } }
        if let progressMillionths { members["progress"] = .number(Double(progressMillionths) / 1e6) }
        if fence > 0 { members["fence"] = .integer(fence) }
        members["failures"] = .array(
            failures.map {
                [
                    "attempt": .integer(Int64($0.attempt)), "at": .string($0.at.rfc3339), "code": .string($0.code),
                    "detail": .string($0.detail),
                ]
            })
        return .object(members)
    }
}

/// A claim as its worker knows it: what every later word about the job must carry.
package struct JobClaim: Sendable, Hashable {
    package let seq: Int64
    package let fence: Int64

    package init(seq: Int64, fence: Int64) { (self.seq, self.fence) = (seq, fence) }
}

/// How an attempt ended.
package enum JobOutcome: Sendable, Equatable {
    case done
    case failed(code: String, detail: String, retry: JobRetry)
    /// Not this worker's to finish: given back without an attempt charged.
    case released
    /// It has to wait, for others that work or because the process made too many second tries: given back for so long
    /// without an attempt charged.
    case postponed(Duration)
    /// A cancellation was obeyed.
    case cancelled
    /// No worker knows this type or version.
    case unknownType
}

/// What a failed attempt asks for.
package enum JobRetry: Sendable, Equatable {
    /// min(1 h, 2^attempt s) with full jitter.
    case standard
    case after(Duration)
    case never
}
