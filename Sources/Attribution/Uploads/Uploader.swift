package import AurumCore
package import Logging
package import Runtime
package import Telemetry

/// What is known of a conversion when its person is looked up.
package struct UploadSubject: Sendable, Equatable {
    package let kind: UploadKind
    /// The sold leg or the lead.
    package let id: UID
    package let traceID: UID?
    package let at: Timestamp

    package init(kind: UploadKind, id: UID, traceID: UID?, at: Timestamp) {
        (self.kind, self.id, self.traceID, self.at) = (kind, id, traceID, at)
    }
}

extension UploadOutcome {
    fileprivate var isNotSent: Bool { if case .notSent = self { true } else { false } }
}

/// Tells networks of conversions, in jobs: at least once, under one id, with a record of every attempt. Persons who
/// refuse advertising are never told of.
package struct Uploader: Sendable {
    /// Whose conversions these are, by subject. One that is missing is not sent: nobody knows what the person wants.
    package typealias People =
        @Sendable (_ org: String, _ subjects: [UploadSubject]) async throws -> [UID:
        UploadPerson]

    package let store: UploadStore
    private let sinks: [UploadNetwork: any ConversionSink]
    private let people: People
    private let registry: MetricRegistry
    private let health: HealthRegistry
    private let logger: Logger
    /// Called between the sending of a batch and its record: tests end there.
    private let afterSending: @Sendable () throws -> Void

    /// Batches of one job; then others have their turn.
    private static let batchesMax = 200
    /// Batches in a row that come to nothing.
    private static let failuresMax = 3

    package init(
        store: UploadStore, sinks: [UploadNetwork: any ConversionSink], people: @escaping People,
        registry: MetricRegistry, health: HealthRegistry, logger: Logger,
        afterSending: @escaping @Sendable () throws -> Void = {}
    ) {
        (self.store, self.sinks, self.people) = (store, sinks, people)
        (self.registry, self.health, self.logger) = (registry, health, logger)
        self.afterSending = afterSending
    }

    /// What does the jobs of uploads. A stop interrupts them: what was on its way is asked again under its id.
    package var handlers: [JobHandler] {
        [JobHandler(UploadStore.job, stopping: .interrupt, makesCalls: true) { try await self.work($0) }]
    }

    /// Asks a network whether it takes our credentials. No conversion is counted by it.
    /// - Throws: `UploadError.unknownDestination`, `sealedByOther`.
    package func test(_ destination: UID, org: String) async throws -> UploadOutcome {
        let target = try await store.target(destination, org: org)
        guard let sink = sinks[target.network] else { return .notSent("no_connector") }
        return await sink.check(target)
    }

    /// Shows in health whether destinations fail.
    package func report() async {
        guard let failing = try? await store.failing() else { return }
        health.report(
            "uploads", failing.isEmpty ? .ok : .degraded, required: false,
            reason: failing.isEmpty ? nil : "upload_destination_failing",
            numbers: ["failing": Double(failing.count)],
            details: failing.isEmpty ? nil : failing.map { "destination \($0.id): \($0.reason)" })
    }

    /// Removes what is old, and gives destinations their jobs that lost them.
    package func tend() async throws {
        let purged = try await store.purge()
        if purged > 0 {
            logger.info("old uploads were removed", metadata: ["code": "uploads_purged", "items": "\(purged)"])
        }
        try await store.adopt()
        await report()
    }

    // MARK: one job

    private func work(_ job: RunningJob) async throws {
        let id = try job.uid("destination")
        guard let destination = try await store.open(id, { sinks[$0]?.rules }, job),
            let sink = sinks[destination.draft.network]
        else { return }
        if destination.isRemoved {
            while try await store.abandon(id, limit: 1000, job) == 1000 {}
            return await report()
        }
        // What waits goes on when the destination is set to work again.
        if destination.draft.isPaused { return await report() }
        var isBlocked = false
        do {
            isBlocked = try await send(to: destination, sink, job)
        } catch let error as UploadError {
            logger.error(
                "conversions cannot be sent",
                metadata: [
                    "code": "uploads_unsendable", "org": "\(job.org)", "destination": "\(id)",
                    "reason": "\(error.sentence)",
                ])
            try await store.fail(destination, "credentials_unreadable", job)
            isBlocked = true
        }
        try await store.finish(id, isBlocked: isBlocked, job)
        await report()
    }

    /// Sends what is due; true when nothing could be sent.
    private func send(
        to destination: StoredDestination, _ sink: any ConversionSink, _ job: RunningJob
    ) async throws -> Bool {
        let target = try store.target(destination)
        let limit = min(target.settings.batchMax, sink.rules.batchMax)
        var failures = 0
        for _ in 0..<Self.batchesMax {
            try Task.checkCancellation()
            let due = try await store.due(at: destination, limit: limit)
            guard !due.isEmpty else { return false }
            let persons = try await people(
                job.org,
                due.map {
                    UploadSubject(kind: $0.kind, id: $0.subject, traceID: $0.traceID, at: $0.machine.occurredAt)
                })
            let begun = try await store.begin(
                due.map(\.id), batch: UID(now: job.record.createdAt), at: destination, sink.rules,
                refusals: refusals(due, persons, target),
                preview: { sink.preview(.send, Self.conversion($0, persons), at: target) }, job)
            count(begun.held, destination.id)
            if begun.ready.isEmpty {
                // Paused since, or changed by somebody else: the next look tells.
                if begun.held.isEmpty { return true }
                continue
            }
            let outcomes = await perform(begun.ready, persons, sink, target)
            try afterSending()
            try await store.record(outcomes, at: destination, sink.rules, job)
            note(outcomes, destination)
            failures = UploadStore.failure(of: Array(outcomes.values)) == nil ? 0 : failures + 1
            // One lost answer says little of the next; a network that takes nothing is left in peace.
            if failures >= Self.failuresMax || outcomes.values.allSatisfy(\.isNotSent) { return true }
        }
        return false
    }

    private func refusals(
        _ due: [UploadItem], _ persons: [UID: UploadPerson], _ target: UploadTarget
    ) -> [UID: UploadRefusal] {
        var refusals: [UID: UploadRefusal] = [:]
        for item in due {
            guard let person = persons[item.subject] else {
                refusals[item.id] = .noConsent
                continue
            }
            refusals[item.id] =
                person.refusal ?? (target.settings.requiresConsent && !person.isConsentGiven ? .noConsent : nil)
        }
        return refusals
    }

    private func perform(
        _ ready: [ReadyUpload], _ persons: [UID: UploadPerson], _ sink: any ConversionSink, _ target: UploadTarget
    ) async -> [UID: UploadOutcome] {
        var outcomes: [UID: UploadOutcome] = [:]
        for action in UploadAction.allCases {
            let items = ready.filter { $0.action == action }.map(\.item)
            if items.isEmpty { continue }
            let began = ContinuousClock.now
            let answers = await sink.perform(action, items.map { Self.conversion($0, persons) }, at: target)
            registry.histogram(.uploadRequests, target.network.rawValue, action.rawValue)
                .observe((ContinuousClock.now - began).seconds)
            for (place, item) in items.enumerated() {
                outcomes[item.id] = answers.indices.contains(place) ? answers[place] : .unknown("no_outcome")
            }
        }
        return outcomes
    }

    private static func conversion(_ item: UploadItem, _ persons: [UID: UploadPerson]) -> UploadConversion {
        UploadConversion(
            id: item.subject, kind: item.kind, event: item.event, at: item.machine.occurredAt,
            value: Money(minorUnits: item.machine.sentMinor, currency: item.currency),
            person: persons[item.subject] ?? UploadPerson())
    }

    // MARK: what is told of it

    private func count(_ held: [UploadState: Int], _ destination: UID) {
        for (state, count) in held {
            registry.counter(.uploadItems, destination.hex, state.rawValue).increment(by: count)
        }
    }

    private func note(_ outcomes: [UID: UploadOutcome], _ destination: StoredDestination) {
        var counts: [String: Int] = [:]
        for outcome in outcomes.values { counts[outcome.word, default: 0] += 1 }
        for (word, count) in counts {
            registry.counter(.uploadItems, destination.id.hex, word).increment(by: count)
        }
        var metadata: Logger.Metadata = [
            "org": "\(destination.org)", "destination": "\(destination.id)",
            "network": "\(destination.draft.network.rawValue)",
        ]
        for (word, count) in counts { metadata[word] = "\(count)" }
        if let failure = UploadStore.failure(of: Array(outcomes.values)) {
            metadata["code"] = "uploads_failed"
            metadata["reason"] = "\(failure)"
            logger.warning("conversions could not be sent", metadata: metadata)
        } else {
            metadata["code"] = "uploads_sent"
            logger.info("conversions were sent", metadata: metadata)
        }
    }
}
