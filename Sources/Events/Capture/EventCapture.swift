package import AurumCore
internal import CProcessor
package import Database
internal import Synchronization

/// The one way into the event log. Nothing is acknowledged before it would survive a power cut.
///
/// Bodies are parsed on the calling thread; the answer comes from the writer thread after the sync. Safe to call from
/// any number of threads.
package final class EventCapture: Sendable {
    private let shards: [CaptureShard]
    private let signal: WriterSignal
    private let state: LogState
    private let inFlight: InFlight
    private let limits: EventLimits
    private let secret: InstallationSecret
    private let storage: any LogStorage
    private let meters: CaptureMeters
    private let clock: any WallClock
    private let policies: EventPolicies?
    private let recovery: RecoveryReport
    private let isClosed = Atomic<Bool>(false)
    /// Wall clock of the last look at a full volume, in microseconds.
    private let lastLook = Atomic<Int64>(0)

    /// The app under which Aurum's own events are kept.
    package static let internalApp = "aurum"
    private static let lookInterval: Int64 = 250_000

    init(
        shards: [CaptureShard], signal: WriterSignal, state: LogState, inFlight: InFlight, limits: EventLimits,
        secret: InstallationSecret, storage: any LogStorage, meters: CaptureMeters, clock: any WallClock,
        policies: EventPolicies? = nil, recovery: RecoveryReport = RecoveryReport()
    ) {
        (self.policies, self.recovery) = (policies, recovery)
        (self.shards, self.signal, self.state, self.inFlight) = (shards, signal, state, inFlight)
        (self.limits, self.secret, self.storage) = (limits, secret, storage)
        (self.meters, self.clock) = (meters, clock)
    }

    /// Takes a body of events. The bytes are not kept after the call returns.
    ///
    /// - Parameter done: called exactly once: on the writer thread after the sync, or on this thread for a refusal.
    package func submit(
        _ body: UnsafeRawBufferPointer, format: WireFormat, encoding: BodyEncoding = .identity, source: CaptureSource,
        receivedAt: Timestamp, done: @escaping @Sendable (Result<Receipt, CaptureError>) -> Void
    ) {
        if let refusal = refusal() { return done(.failure(refusal)) }
        guard encoding == .identity else {
            do throws(CaptureError) {
                let decoded = try BodyInflater(limits: limits).inflate(body, encoding)
                decoded.withUnsafeBytes {
                    submit($0, format: format, source: source, receivedAt: receivedAt, done: done)
                }
            } catch {
                done(.failure(error))
            }
            return
        }
        guard body.count <= limits.bodyBytesMax || format == .internalEvents || format.isTranslated else {
            return done(.failure(.bodyTooLarge))
        }
        guard inFlight.enter(body.count) else { return done(.failure(.overloaded)) }
        var random = SystemRandomNumberGenerator()
        let keys = secret.keys(org: source.org, app: source.app)
        let policy = policies?.request(
            source, format, receivedAt: receivedAt.microseconds, keys: keys, plan: source.planToReplayUnder)
        let request = PendingRequest(
            org: source.org, app: source.app, currency: policy?.settings.defaultCurrency ?? source.defaultCurrency,
            format: format, isHistorical: source.isHistorical, isReplay: source.isReplay,
            receivedAt: receivedAt.microseconds,
            envelopeSentAt: source.sentAt?.microseconds, nonce: random.next(), bodyBytes: body.count, policy: policy,
            done: policy?.settling(done) ?? done)
        let (error, isFull) = add(body, request, keys: keys)
        if let error {
            inFlight.leave(body.count)
            return done(.failure(error))
        }
        signal.notify(isUrgent: isFull)
    }

    /// Puts a body into the shard of this core, whose dictionaries its caches hold, or into another one that is free.
    private func add(
        _ body: UnsafeRawBufferPointer, _ request: PendingRequest, keys: IdentityKeys
    ) -> (error: CaptureError?, isFull: Bool) {
        let own = Int(max(0, aurum_core()))
        for step in 0..<shards.count {
            if let result = shards[(own + step) % shards.count].addIfFree(body, request, keys: keys) { return result }
        }
        return shards[own % shards.count].add(body, request, keys: keys)
    }

    /// The same for asynchronous callers: returns when the events are durable.
    package func submit(
        _ body: [UInt8], format: WireFormat, encoding: BodyEncoding = .identity, source: CaptureSource,
        receivedAt: Timestamp
    ) async throws(CaptureError) -> Receipt {
        let result = await withCheckedContinuation { continuation in
            body.withUnsafeBytes { bytes in
                submit(bytes, format: format, encoding: encoding, source: source, receivedAt: receivedAt) {
                    continuation.resume(returning: $0)
                }
            }
        }
        return try result.get()
    }

    /// Why a body would be refused now, before it is read: `overloaded`, `storageFull`, `logFailed`, or nil.
    package func refusal() -> CaptureError? {
        if isClosed.load(ordering: .relaxed) { return .logFailed }
        switch state.condition {
        case .ready: return inFlight.isFull ? .overloaded : nil
        case .failed: return .logFailed
        case .storageFull: return hasSpaceAgain() ? nil : .storageFull
        }
    }

    /// Looks at the volume at most four times a second, so that capture resumes by itself.
    private func hasSpaceAgain() -> Bool {
        let now = clock.now.microseconds
        let last = lastLook.load(ordering: .relaxed)
        guard (now - last).magnitude >= UInt64(Self.lookInterval),
            lastLook.compareExchange(expected: last, desired: now, ordering: .relaxed).exchanged
        else { return false }
        guard let free = try? storage.freeBytes(), free >= limits.freeBytesMin else {
            meters.reportFull()
            return false
        }
        state.condition = .ready
        meters.reportReady(recovery)
        return true
    }

    /// Refuses from now on; what was taken is still committed.
    func close() { isClosed.store(true, ordering: .relaxed) }
}

/// An event that Aurum itself writes, usually a row of the outbox.
package struct InternalEvent: Sendable, Equatable {
    package var id: UID
    package var org: String
    /// The record that it is about.
    package var key: String
    /// `<area>.<what>`, for example `lead.created`.
    package var name: String
    package var traceID: UID?
    package var at: Timestamp
    package var props: JSONValue

    package init(id: UID, org: String, key: String, name: String, traceID: UID?, at: Timestamp, props: JSONValue) {
        (self.id, self.org, self.key, self.name) = (id, org, key, name)
        (self.traceID, self.at, self.props) = (traceID, at, props)
    }

    package init(_ event: OutboxEvent) {
        self.init(
            id: event.id, org: event.org, key: event.key, name: event.name, traceID: event.traceID, at: event.at,
            props: event.props)
    }

    /// One line of the native format.
    var line: String {
        var members: [String: JSONValue] = [
            "id": .string(id.hex), "type": "internal", "name": .string(name), "ts": .string(at.rfc3339),
            "key": .string(key),
        ]
        if let traceID { members["trace_id"] = .string(traceID.hex) }
        if case .object = props { members["props"] = props } else { members["props"] = ["value": props] }
        return JSONValue.object(members).canonical + "\n"
    }
}

/// An event of our own that the contract does not take: a mistake of ours, never dropped silently.
package struct InternalEventRefused: Error, Equatable {
    package var problems: [EventProblem]
    /// A short reason for each event that was refused, by its id.
    package var reasons: [UID: String]
}

extension EventCapture {
    /// Appends events of our own; durable when it returns. Seeing an event again (by organisation and id) is no error
    /// and stores nothing.
    package func appendInternal(_ events: [InternalEvent]) async throws {
        var remaining = events[...]
        while let first = remaining.first {
            let batch = remaining.prefix { $0.org == first.org }.prefix(limits.batchEventsMax)
            remaining = remaining.dropFirst(batch.count)
            let body = batch.reduce(into: [UInt8]()) { $0.append(contentsOf: $1.line.utf8) }
            let receipt = try await submit(
                body, format: .internalEvents, source: CaptureSource(org: first.org, app: Self.internalApp),
                receivedAt: clock.now)
            if receipt.quarantined > 0 {
                let problems = receipt.problems.filter { $0.outcome == .quarantined }
                var reasons: [UID: String] = [:]
                for problem in problems where batch.indices.contains(batch.startIndex + problem.index) {
                    let words = [problem.reason ?? problem.outcome.name, problem.field].compactMap(\.self)
                    reasons[batch[batch.startIndex + problem.index].id] = words.joined(separator: " of ")
                }
                throw InternalEventRefused(problems: problems, reasons: reasons)
            }
        }
    }
}
