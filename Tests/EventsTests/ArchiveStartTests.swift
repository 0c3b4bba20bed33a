internal import AurumCore
internal import Events
internal import Foundation
import TestSupport
import Testing

/// What a start makes of a log whose newest or oldest parts are archives, or are not there.
struct ArchiveStartTests {
    /// Every event of both organisations, in the order of the log.
    static func events(_ log: EventLog) async throws -> [StoredEvent] {
        var all: [StoredEvent] = []
        for org in ["acme", "rival"] {
            var filter = EventFilter(org: org)
            (filter.limit, filter.newestFirst) = (10_000, false)
            // What is no event at all is not listed.
            filter.outcomes = Set(EventOutcome.allCases).subtracting([.quarantined])
            all += try await log.store.events(filter)
        }
        return all.sorted { $0.position < $1.position }
    }

    private static func counts(_ log: EventLog) -> [OutcomeCounts] {
        ["acme", "rival"].map { log.store.totals(org: $0).counts }
    }

    private static func names(_ storage: VolatileLogStorage, _ suffix: String) throws -> [String] {
        try storage.names().filter { $0.hasSuffix(suffix) }.sorted()
    }

    @Test(arguments: 1...3 as ClosedRange<UInt64>)
    func `when the open segment is lost the log goes on behind its archives`(seed: UInt64) async throws {
        var random = SeededRandom(seed: seed)
        let storage = VolatileLogStorage()
        let log = try ArchiveTests.open(storage)
        _ = try await ArchiveTests.traffic(&random, requests: 120, log)
        try log.upkeep.run(all: true, isPaced: false)
        await log.close()
        for name in try Self.names(storage, ".aurumlog") { try storage.remove(name) }

        let again = try ArchiveTests.open(storage)
        #expect(again.recovery.isOpenSegmentMissing)
        let kept = try await Self.events(again)
        let last = try #require(kept.last?.position.segment)
        let counts = Self.counts(again)
        #expect(counts.reduce(0) { $0 + $1.total - $1.quarantined } == kept.count, "seed \(seed)")
        _ = try await again.send(trackLine(["id": "\"after\""]))
        await again.close()

        let third = try ArchiveTests.open(storage)
        #expect(!third.recovery.isOpenSegmentMissing)
        let found = try await Self.events(third)
        #expect(found.map(\.id) == kept.map(\.id) + ["after"], "seed \(seed)")
        #expect(try #require(found.last).position.segment > last)
        var wanted = counts
        wanted[0].stored += 1
        #expect(Self.counts(third) == wanted, "seed \(seed)")
        await third.close()
    }

    /// A process that is killed while it begins a segment leaves a header and nothing else.
    @Test func `counts are right after a death between a segment and the counts that it begins with`() async throws {
        var random = SeededRandom(seed: 21)
        let storage = VolatileLogStorage()
        let log = try ArchiveTests.open(storage)
        _ = try await ArchiveTests.traffic(&random, requests: 120, log)
        await log.close()
        let open = try #require(try Self.names(storage, ".aurumlog").last)
        storage.place(open, Array(storage.bytes(open).prefix(64)))

        let killed = try ArchiveTests.open(storage)
        var wanted = Self.counts(killed)
        #expect(wanted.reduce(0) { $0 + $1.total - $1.quarantined } == (try await Self.events(killed).count))
        for number in 0..<5 {
            let link = #"{"id":"k\#(number)","type":"identify","user_id":"u\#(number)","anonymous_id":"z\#(number)"}"#
            wanted[0].stored += try await killed.send(link).stored
        }
        await killed.close()
        // Two checkpoints of who is who behind the segments before: they may be archived.
        for _ in 0..<2 {
            let idle = try ArchiveTests.open(storage)
            try idle.upkeep.run(all: true, isPaced: false)
            await idle.close()
        }
        #expect(try Self.names(storage, ".aurumlog") == [open], "the segments before were meant to be archived")
        let again = try ArchiveTests.open(storage)
        #expect(Self.counts(again) == wanted)
        await again.close()
        // Where the counts themselves rot, the archives say what is left.
        var bytes = storage.bytes(open)
        bytes[64 + 40] ^= 1
        storage.place(open, bytes)
        let rotten = try ArchiveTests.open(storage)
        #expect(!rotten.recovery.damaged.isEmpty)
        #expect(Self.counts(rotten) == wanted)
        await rotten.close()
    }

    /// Sends one id among others until the window has forgotten it and it is stored again, which depends on how far the
    /// background of the index is, and archives it until a second copy was found.
    private static func storeTwice(_ log: EventLog) async throws {
        var accepted = 0
        for round in 0..<2000 where accepted < 3 {
            var lines = (0..<6).map { trackLine(["id": "\"r\(round)-\($0)\"", "user_id": "\"u\($0)\""]) }
            lines.append(trackLine(["id": "\"same\"", "user_id": "\"other\""]))
            let receipt = try await log.send(lines.joined(separator: "\n"))
            accepted += receipt.stored == 7 ? 1 : 0
        }
        try #require(accepted == 3, "the window never forgot")
        // What was stored twice stands in segments that are sealed, and the index has left their ids behind: how many
        // more events that takes depends on its background, too.
        for round in 0..<200 {
            let lines = (0..<6).map { trackLine(["id": "\"s\(round)-\($0)\"", "user_id": "\"u\($0)\""]) }
            _ = try await log.send(lines.joined(separator: "\n"))
            if round >= 20, try log.upkeep.run(all: true, isPaced: false).duplicates > 0 { return }
        }
        Issue.record("no duplicate was found")
    }

    @Test func `what was counted twice stays corrected however old the counts of the open segment are`() async throws {
        let clock = ManualWallClock(testNow)
        let storage = VolatileLogStorage()
        let log = try ArchiveTests.open(storage, window: 16, clock: clock)
        try await Self.storeTwice(log)
        let totals = log.store.totals(org: "acme").counts
        // A quiet month: nothing comes, and an erasure has the archive written again.
        clock.advance(by: .seconds(40 * 86_400))
        _ = try await log.upkeep.erase(org: "acme", [PersonIdentifier(.user, "u3")], actor: "test")
        #expect(try log.upkeep.run(all: true, isPaced: false).erased > 0)
        // How many of the three are in archives by now depends on the background of the index: another may be found.
        let after = log.store.totals(org: "acme").counts
        #expect(after.stored <= totals.stored && after.stored + after.duplicate == totals.stored + totals.duplicate)
        await log.close()
        let again = try ArchiveTests.open(storage, window: 16, clock: clock)
        #expect(again.store.totals(org: "acme").counts == after)
        await again.close()
    }

    @Test func `counts that rot are taken from archives with their corrections, each once`() async throws {
        let storage = VolatileLogStorage()
        let log = try ArchiveTests.open(storage, window: 16)
        try await Self.storeTwice(log)
        let totals = log.store.totals(org: "acme").counts
        await log.close()
        for name in try Self.names(storage, ".aurumlog") {
            var bytes = storage.bytes(name)
            bytes[64 + 40] ^= 1
            storage.place(name, bytes)
        }
        let again = try ArchiveTests.open(storage, window: 16)
        #expect(again.store.totals(org: "acme").counts == totals)
        // The next segment begins with them, and what was corrected is not corrected again.
        _ = try await again.send(trackLine(["id": "\"more\""]))
        await again.close()
        let third = try ArchiveTests.open(storage, window: 16)
        #expect(third.store.totals(org: "acme").stored == totals.stored + 1)
        #expect(third.store.totals(org: "acme").duplicate == totals.duplicate)
        await third.close()
    }

    @Test func `after a start the newest touchpoints are known, whichever app they are of`() async throws {
        let storage = VolatileLogStorage()
        func open() throws -> EventLog {
            try openEvents(storage) {
                ($0.limits.segmentBytesMax, $0.limits.dedupIdentifiersMax) = (6000, 64)
                $0.limits.touchesMax = 60
                ($0.upkeep.ownBlockRows, $0.upkeep.blockRowsMax) = (40, 90)
            }
        }
        let log = try open()
        var clicks: [(id: String, user: String)] = []
        for number in 0..<300 {
            let app = ["app", "blog", "shop"][number % 3]
            let (id, user) = ("c\(number)", "u\(number % 10)")
            let filler = trackLine(["id": "\"f\(number)\"", "props": "{\"text\":\"\(UUID().uuidString)\"}"])
            let click = #"{"id":"\#(id)","type":"click","user_id":"\#(user)","campaign":{"network":"google"}}"#
            _ = try await log.send(click + "\n" + filler, source: CaptureSource(org: "acme", app: app))
            clicks.append((id, user))
        }
        #expect(try log.upkeep.run(all: true, isPaced: false).files > 0)
        await log.close()
        let again = try open()
        #expect(try Self.names(storage, ".aurumlog").count < 5, "most touchpoints were meant to be in archives")
        for (id, user) in clicks.suffix(58) {
            let query = JourneyQuery(
                org: "acme", traceID: nil, identifiers: [PersonIdentifier(.user, user)],
                until: testNow + .seconds(60), lookback: .seconds(86_400))
            #expect(try await again.store.journey(query).contains { $0.eventID == id }, "\(id) of \(user)")
        }
        await again.close()
    }
}
