internal import AurumCore
internal import Events
internal import Logging
internal import Telemetry
internal import TestSupport
internal import Testing

/// The de-duplication window as a client and an operator see it, and starts that find the index ahead of, behind or
/// without the log.
struct DeduplicationWindowTests {
    private struct Opened {
        let log: EventLog
        let registry: MetricRegistry
        let health: HealthRegistry
    }

    private static func open(_ storage: VolatileLogStorage, ids: Int, now: Timestamp = testNow) throws -> Opened {
        var configuration = EventsConfiguration()
        configuration.commitDelay = .milliseconds(0)
        configuration.shards = 1
        configuration.limits.freeBytesMin = 0
        configuration.limits.preallocateBytes = 4096
        configuration.limits.dedupIdentifiersMax = ids
        let clock = ManualWallClock(now)
        let (registry, health) = (MetricRegistry(), HealthRegistry(clock: clock))
        let log = try EventLog.open(
            storage: storage, configuration: configuration, registry: registry, health: health, clock: clock,
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
        return Opened(log: log, registry: registry, health: health)
    }

    private static func body(_ ids: Range<Int>, ts: String? = nil) -> String {
        ids.map { trackLine(["id": "\"id-\($0)\"", "ts": ts.map { "\"\($0)\"" }]) }.joined(separator: "\n")
    }

    /// Twenty ids a minute, the last of them now.
    private static func fill(_ log: EventLog, _ count: Int, now: Timestamp = testNow) async throws {
        for start in stride(from: 0, to: count, by: 20) {
            let at = Timestamp(microseconds: now.microseconds - Int64(count - start) * 3_000_000)
            let receipt = try await log.send(body(start..<start + 20, ts: at.rfc3339), at: at)
            #expect(receipt.stored == 20, "\(start)")
        }
    }

    @Test func `an event from before the window is stored with a mark, counted, and health warns`() async throws {
        let storage = VolatileLogStorage()
        var opened = try Self.open(storage, ids: 600)
        // Until something was forgotten every answer is sure, however old the event.
        let early = Timestamp(microseconds: testNow.microseconds - 3 * 3_600_000_000)
        _ = try await opened.log.send(Self.body(90_000..<90_001, ts: "2026-11-20T11:00:00.000Z"), at: early)
        #expect(opened.registry.prometheusText().contains("aurum_events_dedup_window_seconds 604800"))
        #expect(opened.health.snapshot["deduplication"]?.state != .degraded)
        for restarts in 0..<2 {
            try await Self.fill(opened.log, restarts == 0 ? 2400 : 0)
            let receipt = try await opened.log.send(
                Self.body(91_000 + restarts..<91_001 + restarts, ts: "2026-11-21T09:59:00.000Z"))
            #expect(receipt.stored == 1)
            let fresh = try await opened.log.send(
                Self.body(92_000 + restarts..<92_001 + restarts, ts: "2026-11-21T11:59:59.000Z"))
            #expect(fresh.stored == 1)
            let store = opened.log.store
            let marked = try #require(
                try await store.outcome(eventID: "id-\(91_000 + restarts)", org: "acme", app: "shop"))
            #expect(marked.isUnverified && marked.json.contains("\"dedup_unverified\":true"))
            let sure = try #require(
                try await store.outcome(eventID: "id-\(92_000 + restarts)", org: "acme", app: "shop"))
            #expect(!sure.isUnverified && !sure.json.contains("dedup_unverified"))
            let events = try await store.events(EventFilter(org: "acme"))
            let old = try #require(events.first { $0.id == "id-\(91_000 + restarts)" })
            #expect(old.isUnverified && old.json["dedup_unverified"] == .bool(true))
            #expect(events.first { $0.id == "id-90000" }.map { !$0.isUnverified } ?? true)
            #expect(opened.registry.prometheusText().contains("aurum_events_dedup_unverified_total 1"))
            let health = opened.health.snapshot["deduplication"]
            #expect(health?.state == .degraded && health?.reason == "dedup window shortened")
            #expect(health?.required == false)
            await opened.log.close()
            opened = try Self.open(storage, ids: 600)
        }
        await opened.log.close()
    }

    @Test func `touchpoints and totals from behind the checkpoint are there after a restart`() async throws {
        let storage = VolatileLogStorage()
        let first = try Self.open(storage, ids: 600)
        let click = trackLine([
            "id": "\"c1\"", "type": "\"click\"", "name": nil, "url": "\"https://x.test/?gclid=1&utm_source=google\"",
        ])
        #expect(try await first.log.send(click).stored == 1)
        try await Self.fill(first.log, 2400)
        let totals = first.log.store.totals(org: "acme").counts
        await first.log.close()
        #expect(try storage.names().contains { $0.hasSuffix(".aurumids") })
        let again = try Self.open(storage, ids: 600)
        let journey = try await again.log.store.journey(
            JourneyQuery(
                org: "acme", traceID: nil, identifiers: [PersonIdentifier(.user, "u1")], until: testNow,
                lookback: .seconds(86_400)))
        #expect(journey.map(\.eventID) == ["c1"])
        #expect(again.log.store.totals(org: "acme").counts == totals)
        #expect(try await again.log.send(Self.body(2300..<2400)).duplicate == 100)
        await again.log.close()
    }

    @Test func `a start reads the ids behind the checkpoint and not those before it`() async throws {
        let storage = VolatileLogStorage()
        let log = try Self.open(storage, ids: 3000).log
        #expect(log.recovery.replayedIdentifiers == 0)
        try await Self.fill(log, 2400)
        await log.close()
        let again = try Self.open(storage, ids: 3000).log
        // At most one table that was being filled and one that was being written; a clean stop leaves less.
        #expect(again.recovery.replayedIdentifiers < 600, "\(again.recovery)")
        await again.close()
        for name in try storage.names() where name.hasSuffix(".manifest") { try storage.remove(name) }
        let without = try Self.open(storage, ids: 3000).log
        #expect(without.recovery.replayedIdentifiers == 2400)
        await without.close()
    }

    @Test(arguments: [".aurumids", ".manifest", "secret"])
    func `an index that is damaged or of another secret is rebuilt from the log`(suffix: String) async throws {
        let storage = VolatileLogStorage()
        let log = try Self.open(storage, ids: 3000).log
        try await Self.fill(log, 2400)
        await log.close()
        for name in try storage.names() where name.hasSuffix(suffix) {
            var bytes = storage.bytes(name)
            for place in 0..<min(64, bytes.count) { bytes[place] ^= 0x55 }
            storage.place(name, bytes)
        }
        let again = try Self.open(storage, ids: 3000).log
        for start in stride(from: 0, to: 2400, by: 400) {
            #expect(try await again.send(Self.body(start..<start + 400)).duplicate == 400, "\(start)")
        }
        await again.close()
    }

    @Test func `a disk that fails to answer whether an id is known stops the log instead of storing it`() async throws {
        let storage = VolatileLogStorage()
        let log = try Self.open(storage, ids: 3000).log
        try await Self.fill(log, 2400)
        await log.close()
        let again = try Self.open(storage, ids: 3000).log
        storage.fail(.read(after: storage.reads))
        await #expect(throws: CaptureError.logFailed) { _ = try await again.send(Self.body(100..<120)) }
        storage.fail(.none)
        await #expect(throws: CaptureError.logFailed) { _ = try await again.send(Self.body(5000..<5001)) }
        await again.close()
        let third = try Self.open(storage, ids: 3000).log
        #expect(try await third.send(Self.body(100..<120)).duplicate == 20)
        await third.close()
    }
}
