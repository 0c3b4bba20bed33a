package import AurumCore
internal import CProcessor
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
    let limits: EventLimits
    let secret: InstallationSecret
    private let storage: any LogStorage
    private let meters: CaptureMeters
    let clock: any WallClock
    let policies: EventPolicies?
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
        guard let free = try? storage.freeBytes(), let total = try? storage.totalBytes(),
            free >= limits.freeBytesNeeded(of: total, again: true)
        else {
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
