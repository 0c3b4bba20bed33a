package import AurumCore
internal import Database
package import Logging
package import Runtime

/// Looks again at the credit of every live lead and sale of a time range because somebody asks, those from before the
/// credit was followed among them: one page a job, which enqueues the job of the next page when it is done. A page may
/// be given up and begun again at any moment: what is restated stays, and doing it once more changes nothing.
package struct LiveRecomputation: Sendable {
    /// Leads and sales of an organisation at `from` or later and behind a place, the newest first and those of one
    /// moment by their ids, no more than asked for.
    package typealias Page =
        @Sendable (_ org: String, _ from: Timestamp, _ behind: LivePlace, _ limit: Int) async throws -> [LiveCredit]

    /// Of its own, so that no run over the log waits for it, and it for none.
    static let kind = JobKind("attribution.live", priority: .low, attemptsMax: 30)

    private let attribution: AttributionService
    private let page: Page
    private let pageSize: Int
    private let logger: Logger

    /// - Parameter pageSize: leads and sales of one job.
    package init(
        _ attribution: AttributionService, page: @escaping Page, pageSize: Int = 500, logger: Logger
    ) {
        precondition(pageSize > 0, "a page holds something")
        (self.attribution, self.page, self.pageSize, self.logger) = (attribution, page, pageSize, logger)
    }

    /// Removes older versions of credit that are kept no longer, and makes the marks of changed credit fewer.
    package func purge() async throws {
        try await attribution.purgeRestated()
        try await attribution.compactChanges()
    }

    /// What looks at the leads and sales from `from` to before `to`. Those of an organisation come one after another;
    /// one that waits stands for all that ask for the same.
    package static func job(org: String, from: Timestamp?, to: Timestamp?) -> NewJob {
        let look = LiveLook(from: from ?? Timestamp(microseconds: 0), place: LivePlace(before: to ?? .end))
        let key = [from, to].map { $0?.rfc3339 ?? "" }.joined(separator: "|")
        return job(look, org: org, unique: (key, .untilStarted))
    }

    private static func job(
        _ look: LiveLook, org: String, unique: (key: String, scope: JobUniqueness)? = nil
    ) -> NewJob {
        NewJob(
            kind, org: org, payload: look.json, unique: unique,
            concurrency: JobConcurrency("attribution.live", limit: 1))
    }

    /// - Parameter jobs: in the database of the credit.
    package func handler(_ jobs: SQLJobStore) -> JobHandler {
        JobHandler(Self.kind, stopping: .interrupt) { job in
            guard let look = LiveLook(try job.payload()) else { throw JobFault("bad_payload", retry: .never) }
            let org = job.org
            guard let next = try await turn(look, org: org, job) else { return }
            try await attribution.database.write("attribution.liveTurn") { transaction in
                try job.complete(in: transaction)
                try jobs.enqueue(Self.job(next, org: org), in: transaction, isFollowUp: true)
            }
        }
    }

    /// Looks at one page.
    /// - Returns: what is left; nil for nothing.
    private func turn(_ look: LiveLook, org: String, _ job: RunningJob) async throws -> LiveLook? {
        var look = look
        let found = try await page(org, look.from, look.place, pageSize)
        for live in found {
            try Task.checkCancellation()
            switch try await restate(live) {
            case true?: look.changed += 1
            case false?: break
            case nil: look.failed += 1
            }
            look.looked += 1
            try await job.progress(0, note: "\(look.looked) leads and sales")
        }
        await attribution.compactBusyChanges()
        if found.count == pageSize, let last = found.last {
            look.place = LivePlace(before: last.at, after: last.item)
            return look
        }
        logger.log(
            level: look.failed > 0 ? .warning : .info, "credit of leads and sales was looked at again",
            metadata: [
                "code": "credit_recomputed", "org": "\(org)", "looked_at": "\(look.looked)",
                "changed": "\(look.changed)", "failed": "\(look.failed)",
            ])
        return nil
    }

    /// What one lead or sale has wrong keeps no other from it; without a database all wait.
    /// - Returns: whether it has other credit now; nil where that cannot be said.
    private func restate(_ live: LiveCredit) async throws -> Bool? {
        do { return try await attribution.restate(live, cause: .late) == .restated } catch {
            if Task.isCancelled || error is CancellationError { throw error }
            if let error = error as? SQLError, error.isTemporary { throw error }
            let code = error is CreditError ? "credit_unbalanced" : "credit_not_restated"
            logger.error(
                "credit could not be restated",
                metadata: [
                    "code": "\(code)", "org": "\(live.org)", "kind": "\(live.kind.rawValue)",
                    "item": "\(live.item.hex)", "error": "\(error)",
                ])
            return nil
        }
    }
}

/// How far a look has come, the newest first.
package struct LivePlace: Sendable, Equatable {
    /// What is older is left.
    package var before: Timestamp
    /// Of that very moment those with larger ids are left too; none without one.
    package var after: UID?

    package init(before: Timestamp, after: UID? = nil) { (self.before, self.after) = (before, after) }
}

/// What is left of a look at live leads and sales, and what it found so far.
private struct LiveLook: Sendable {
    let from: Timestamp
    var place: LivePlace
    var (looked, changed, failed) = (0, 0, 0)

    init(from: Timestamp, place: LivePlace) { (self.from, self.place) = (from, place) }

    /// nil for what `json` never wrote.
    init?(_ payload: JSONValue) {
        func whole(_ name: String) -> Int64? { payload[name]?.integer }
        guard let from = whole("from"), let before = whole("before"), let looked = whole("looked_at"),
            let changed = whole("changed"), let failed = whole("failed")
        else { return nil }
        self.from = Timestamp(microseconds: from)
        place = LivePlace(before: Timestamp(microseconds: before))
        (self.looked, self.changed, self.failed) = (Int(looked), Int(changed), Int(failed))
        guard let member = payload["after"] else { return }
        guard let after = member.string.flatMap({ UID($0) }) else { return nil }
        place.after = after
    }

    /// Times in microseconds since 1970.
    var json: JSONValue {
        var members: [String: JSONValue] = [
            "from": .integer(from.microseconds), "before": .integer(place.before.microseconds),
            "looked_at": .integer(Int64(looked)), "changed": .integer(Int64(changed)),
            "failed": .integer(Int64(failed)),
        ]
        members["after"] = place.after.map { .string($0.hex) }
        return .object(members)
    }
}
