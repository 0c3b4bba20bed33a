package import AurumCore
package import Database
internal import Synchronization

/// What does the jobs of one kind.
package struct JobHandler: Sendable {
    /// What becomes of a running job when the process is told to stop.
    package enum Stopping: Sendable {
        /// It may go on for `JobLimits.drain`.
        case finish
        /// It is interrupted at once and goes on in the next process: for work that keeps its own place.
        case interrupt
    }

    package let kind: JobKind
    /// Versions of payloads that it understands; `kind.version` is the newest.
    package let versions: ClosedRange<Int>
    package let stopping: Stopping
    /// Whether it calls other systems, so that an attempt after the first draws on the process' budget of second tries.
    package let makesCalls: Bool
    /// Tells the owner of a job, inside the transaction that cancels it or tells its worker to stop; again when that is
    /// asked for again. What it throws refuses the cancellation.
    package typealias OnCancel = @Sendable (JobRecord, Transaction) throws -> Void

    /// For jobs without which what they belong to would never come to its end.
    package static let refuseCancel: OnCancel = { job, _ in throw JobError.notCancellable(job.type) }

    /// nil where nobody waits for the job.
    package let onCancel: OnCancel?
    let body: @Sendable (RunningJob) async throws -> Void

    /// - Parameter body: returns when the job is done; throws `JobFault` to say how it failed, and
    ///   `JobPostponement` when it has to wait. A job that completed itself in a transaction may just return.
    package init(
        _ kind: JobKind, versions: ClosedRange<Int>? = nil, stopping: Stopping = .finish,
        makesCalls: Bool = false, onCancel: OnCancel? = nil, body: @escaping @Sendable (RunningJob) async throws -> Void
    ) {
        precondition(kind.home == .database || onCancel == nil, "jobs on Redis have no transaction to tell anybody in")
        self.kind = kind
        self.versions = versions ?? 1...kind.version
        self.stopping = stopping
        self.makesCalls = makesCalls
        self.onCancel = onCancel
        self.body = body
    }
}

/// How an attempt failed, in the handler's own words. Other errors count as `failed` and are tried again.
package struct JobFault: Error, Sendable {
    package var code: String
    /// For operators; no personal data.
    package var detail: String
    package var retry: JobRetry

    package init(_ code: String, _ detail: String = "", retry: JobRetry = .standard) {
        (self.code, self.detail, self.retry) = (code, detail, retry)
    }
}

/// It is not the job's turn yet, for a reason that is no failure: another attempt follows, and none is charged.
package struct JobPostponement: Error, Sendable, Equatable {
    package var delay: Duration

    package init(by delay: Duration) { self.delay = delay }
}

extension JobRecord {
    /// An identifier of the payload; nil where there is none under this name.
    package func uid(_ name: String) -> UID? {
        JSONValue(sqlValue: .text(payload))?[name]?.string.flatMap { UID($0) }
    }
}

/// A job in the hands of its handler. The task is cancelled when the job was, or when its lease was lost.
package final class RunningJob: Sendable {
    package let record: JobRecord
    private let store: any JobStore
    private let clock: any WallClock
    private let lastProgress = Mutex<Timestamp?>(nil)

    init(_ record: JobRecord, store: any JobStore, clock: any WallClock) {
        (self.record, self.store, self.clock) = (record, store, clock)
    }

    package var id: UID { record.id }
    package var org: String { record.org }
    /// 1 for the first.
    package var attempt: Int { record.attempt }
    /// Larger than that of every earlier claim: for `Transaction.guarded` and the header of outbound calls.
    package var fence: Int64 { record.fence }
    package var claim: JobClaim { JobClaim(seq: record.seq, fence: record.fence) }

    /// - Throws: `JobFault`, after which the job is not tried again: what is stored will not get better.
    package func payload() throws -> JSONValue {
        guard let value = JSONValue(sqlValue: .text(record.payload)) else {
            throw JobFault("bad_payload", retry: .never)
        }
        return value
    }

    /// An identifier of the payload.
    /// - Throws: `JobFault`, after which the job is not tried again.
    package func uid(_ name: String) throws -> UID {
        guard let id = try payload()[name]?.string.flatMap({ UID($0) }) else {
            throw JobFault("bad_payload", name, retry: .never)
        }
        return id
    }

    /// Ends the job together with what the transaction writes.
    /// - Throws: `JobError.staleFence`: another worker holds it, and nothing of the transaction may be kept.
    package func complete(in tx: Transaction) throws { try table().complete(claim, job: record, in: tx) }

    /// The first statement of a transaction that writes for the job and does not end it.
    /// - Throws: `JobError.staleFence`: another worker holds it, and nothing of the transaction may be kept.
    package func hold(in tx: Transaction) throws { try table().hold(claim, in: tx) }

    private func table() throws(JobError) -> SQLJobStore {
        guard let store = store as? SQLJobStore else { throw .invalid("this store has no transactions") }
        return store
    }

    /// Notes how far it is; more than once a second is not written.
    /// - Throws: `JobError.staleFence`.
    package func progress(_ fraction: Double, note: String = "") async throws {
        let now = clock.now
        let isSoon = lastProgress.withLock { last in
            if let last, now - last < JobLimits.progressEvery { return true }
            last = now
            return false
        }
        if isSoon { return }
        try await store.progress(claim, fraction: fraction, note: note)
    }
}
