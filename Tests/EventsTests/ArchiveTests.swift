internal import AurumCore
internal import Events
internal import Foundation
internal import Logging
internal import Telemetry
import TestSupport
import Testing

/// Archives: what was answered before segments are written again is answered after.
struct ArchiveTests {
    static let apps = ["shop", "blog", "app", "tiny"]

    /// A log with small segments whose window of ids is small, so that most of it may be archived.
    static func open(
        _ storage: any LogStorage, window: Int = 64, clock: ManualWallClock = ManualWallClock(testNow),
        change: (inout UpkeepSettings) -> Void = { _ in }
    ) throws -> EventLog {
        var configuration = EventsConfiguration()
        configuration.commitDelay = .milliseconds(0)
        configuration.shards = 2
        configuration.limits.freeBytesMin = 0
        configuration.limits.preallocateBytes = 4096
        configuration.limits.segmentBytesMax = 6000
        configuration.limits.dedupIdentifiersMax = window
        (configuration.upkeep.ownBlockRows, configuration.upkeep.blockRowsMax) = (40, 90)
        (configuration.upkeep.bufferBytesMax, configuration.upkeep.dictionaryBytesMax) = (12_000, 40_000)
        change(&configuration.upkeep)
        return try EventLog.open(
            storage: storage, configuration: configuration, registry: MetricRegistry(),
            health: HealthRegistry(clock: clock), clock: clock,
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
    }

    @Test(arguments: [(requests: 300, lines: 1, isArchived: true), (requests: 60, lines: 70, isArchived: false)])
    func `segments of today are archived soon when hardly two events share a block`(
        requests: Int, lines: Int, isArchived: Bool
    ) async throws {
        let storage = VolatileLogStorage()
        func open() throws -> EventLog {
            try Self.open(storage) { ($0.segmentsMin, $0.crumbsMin) = (100_000, 50) }
        }
        let log = try open()
        for request in 0..<requests {
            let body = (0..<lines).map { trackLine(["id": "\"r\(request)-\($0)\""]) }
            _ = try await log.send(body.joined(separator: "\n"))
        }
        await log.close()
        // What a start reads in its own order is not rewritten.
        for _ in 0..<3 {
            let idle = try open()
            try idle.upkeep.run(isPaced: false)
            #expect(idle.store.totals(org: "acme").stored == requests * lines)
            await idle.close()
        }
        let names = try storage.names()
        #expect(names.contains { $0.hasSuffix(".aurumarchive") } == isArchived, "\(names)")
    }

    /// Seeded requests of several organisations and apps: pages with campaigns, conversions, bots, repeats and lines
    /// that break the contract.
    static func traffic(_ random: inout SeededRandom, requests: Int, _ log: EventLog) async throws -> [Receipt] {
        var receipts: [Receipt] = []
        for number in 0..<requests {
            let org = random.next() % 5 == 0 ? "rival" : "acme"
            let source = CaptureSource(org: org, app: apps[min(3, Int(random.next() % 10) / 3)])
            var lines = (0..<Int(random.next() % 12 + 1)).map { line(&random, "\(number)-\($0)") }
            if random.next() % 4 == 0 { lines.append(lines[0]) }
            if random.next() % 4 == 0 { lines.append(#"{"id":"broken-\#(number)","type":"nonsense"}"#) }
            receipts.append(try await log.send(lines.joined(separator: "\n"), source: source))
        }
        return receipts
    }

    private static func line(_ random: inout SeededRandom, _ number: String) -> String {
        let person = random.next() % 20
        let minute = random.next() % 60
        var members = [
            random.next() % 2 == 0 ? #""user_id":"u\#(person)""# : #""anonymous_id":"a\#(person)""#,
            #""ts":"2026-11-21T11:\#(minute < 10 ? "0" : "")\#(minute):00Z""#,
        ]
        switch random.next() % 5 {
        case 0:
            members += [
                #""id":"c\#(number)""#, #""type":"click""#,
                #""campaign":{"network":"google","name":"n\#(person % 3)"}"#,
            ]
        case 1:
            members += [
                #""id":"s\#(number)""#, #""type":"conversion""#, #""name":"purchase""#, #""value":"\#(person).50""#,
                #""currency":"USD""#,
            ]
        case 2: members += [#""id":"x\#(number)""#, #""type":"track""#, #""name":"n\"\#(person)""#]
        case 3:
            members += [
                #""id":"i\#(number)""#, #""type":"identify""#, #""user_id":"u\#(person)""#,
                #""anonymous_id":"a\#(person)""#,
            ]
            members.removeFirst()
        default:
            members += [
                #""id":"\#(UUID().uuidString.lowercased())""#, #""type":"page""#,
                #""url":"https://shop.example/p\#(person)?utm_source=s\#(minute % 4)""#,
                #""props":{"plan":"p\#(person % 2)","n":\#(minute)}"#,
            ]
        }
        if random.next() % 9 == 0 { members.append(#""context":{"user_agent":"Googlebot/2.1"}"#) }
        return "{" + members.joined(separator: ",") + "}"
    }

    /// Everything that can be asked, as text.
    static func answers(_ log: EventLog, _ receipts: [Receipt], from: LogPosition?) async throws -> [String] {
        var answers: [String] = []
        var ids: Set<String> = []
        for org in ["acme", "rival"] {
            for newestFirst in [true, false] {
                var filter = EventFilter(org: org)
                (filter.limit, filter.newestFirst) = (10_000, newestFirst)
                filter.outcomes = Set(EventOutcome.allCases)
                let events = try await log.store.events(filter)
                answers += events.map(\.json.canonical)
                ids.formUnion(events.map(\.id))
                filter.limit = 7
                filter.app = "blog"
                answers += try await log.store.events(filter).map(\.position.description)
            }
            for receipt in receipts {
                answers.append(try await log.store.receipt(receipt.id, org: org)?.json ?? "none")
            }
            for app in apps {
                for id in ids.sorted().prefix(60) {
                    answers.append(try await log.store.outcome(eventID: id, org: org, app: app)?.json ?? "none")
                }
            }
            for person in 0..<20 {
                let query = JourneyQuery(
                    org: org, traceID: nil, identifiers: [PersonIdentifier(.user, "u\(person)")],
                    until: testNow + .seconds(60), lookback: .seconds(86_400))
                answers += try await log.store.journey(query).map { "\($0.eventID) \($0.at.rfc3339) \($0.position)" }
            }
            answers += try await queries(log, org)
            answers += try await tail(log, org, from: from)
            answers.append("\(log.store.totals(org: org).counts)")
        }
        return answers
    }

    private static func queries(_ log: EventLog, _ org: String) async throws -> [String] {
        let engine = QueryEngineTests.engine(log.store)
        var answers: [String] = []
        for text in [
            "count, unique(person), sum(value) by type, app last 7d", "count by campaign.name, channel last 7d",
            "count where props.plan = p1 by name last 7d", "count by outcome per hour last 7d",
            "avg(props.n), count where url contains p1 by app last 7d",
        ] {
            let answer = try await engine.answer(try engine.query(["q": .string(text)]), org: org)
            answers += answer.lines.split(separator: "\n").map(String.init).sorted()
        }
        let folder = TemporaryFolder()
        let written = try await ExportService.write(
            ["compression": "none"], org: org, from: log.store, now: testNow, to: folder.file("out"))
        answers.append("\(written.rows) \(written.sha256)")
        return answers
    }

    /// What a watcher gets that begins at a place.
    private static func tail(_ log: EventLog, _ org: String, from: LogPosition?) async throws -> [String] {
        guard let from else { return [] }
        let feed = TailFeed(log.store)
        let filter = RowFilter(org: org)
        var wanted = EventFilter(org: org)
        (wanted.limit, wanted.newestFirst) = (10_000, false)
        let expected = try await log.store.events(wanted).filter { $0.position > from && $0.outcome != .bot }.count
        let session = try #require(
            TailSession(feed, filter: filter, from: from, clock: ManualWallClock(testNow)))
        defer { session.end() }
        var frames: [String] = []
        guard expected > 0 else { return [] }
        for await frame in session where frame.hasPrefix("{\"event\"") {
            frames.append(frame)
            if frames.count == expected { break }
        }
        return frames
    }

    @Test(arguments: 1...6 as ClosedRange<UInt64>)
    func `everything that was answered before is answered after, and after a restart`(seed: UInt64) async throws {
        var random = SeededRandom(seed: seed)
        let storage = VolatileLogStorage()
        let log = try Self.open(storage)
        let receipts = try await Self.traffic(&random, requests: 150, log)
        var filter = EventFilter(org: "acme")
        (filter.limit, filter.newestFirst) = (40, false)
        let from = try await log.store.events(filter).last?.position
        let before = try await Self.answers(log, receipts, from: from)
        let tally = try log.upkeep.run(all: true, isPaced: false)
        #expect(tally.files > 0 && tally.rowsRead > 100, "seed \(seed): \(tally)")
        #expect(tally.duplicates == 0 && tally.expired == 0 && tally.erased == 0, "seed \(seed): \(tally)")
        let after = try await Self.answers(log, receipts, from: from)
        #expect(after.count == before.count, "seed \(seed)")
        for (left, right) in zip(before, after) where left != right {
            Issue.record("seed \(seed): \(left) became \(right)")
            break
        }
        let lines = log.identity.persons.lines
        #expect(try log.identity.rebuiltLines(log.store) == lines || lines.isEmpty == false)
        await log.close()
        let again = try Self.open(storage)
        #expect(try await Self.answers(again, receipts, from: from) == before, "seed \(seed)")
        #expect(again.identity.persons.lines == lines, "seed \(seed)")
        await again.close()
        // Who is who does not hang on the checkpoints: archives say it as well.
        let bare = storage.copy()
        for name in ["identity-a", "identity-b"] { bare.place(name, []) }
        let rebuilt = try Self.open(bare)
        #expect(rebuilt.identity.persons.lines == lines, "seed \(seed)")
        await rebuilt.close()
    }

    @Test(arguments: 0..<24)
    func `the power may go at every step of a compaction`(part: Int) async throws {
        var random = SeededRandom(seed: 5)
        let storage = VolatileLogStorage()
        let log = try Self.open(storage)
        let receipts = try await Self.traffic(&random, requests: 60, log)
        let before = try await Self.answers(log, receipts, from: nil)
        await log.close()
        let whole = storage.copy()
        let counted = whole.copy()
        let dry = try Self.open(counted)
        let start = counted.operations
        _ = try dry.upkeep.run(all: true, isPaced: false)
        let steps = counted.operations - start
        await dry.close()
        for step in stride(from: part, to: steps + 1, by: 24) {
            let cut = whole.copy()
            let victim = try Self.open(cut)
            cut.cutPower(after: step)
            _ = try? victim.upkeep.run(all: true, isPaced: false)
            cut.cutPower()
            await victim.close()
            let survivor = try Self.open(cut.afterCut(seed: UInt64(step)))
            #expect(try await Self.answers(survivor, receipts, from: nil) == before, "step \(step) of \(steps)")
            _ = try survivor.upkeep.run(all: true, isPaced: false)
            #expect(try await Self.answers(survivor, receipts, from: nil) == before, "step \(step), again")
            await survivor.close()
        }
    }

    @Test(arguments: [(from: 128, isLate: false), (from: 0, isLate: true)])
    func `a damaged block keeps only its own segment from being written again`(
        from: Int, isLate: Bool
    ) async throws {
        var random = SeededRandom(seed: 6)
        let storage = VolatileLogStorage()
        let log = try Self.open(storage)
        let receipts = try await Self.traffic(&random, requests: 150, log)
        await log.close()
        func place(_ receipt: Receipt) -> (segment: String, offset: Int) {
            let digits = receipt.id.dropFirst(4)
            return (String(digits.prefix(8)), Int(digits.dropFirst(8).prefix(8), radix: 16) ?? 0)
        }
        func segments(_ storage: VolatileLogStorage) throws -> Set<String> {
            Set(try storage.names().filter { $0.hasSuffix(".aurumlog") })
        }
        func rows(_ log: EventLog) async throws -> [String] {
            var filter = EventFilter(org: "acme")
            (filter.limit, filter.outcomes) = (10_000, Set(EventOutcome.allCases))
            return try await log.store.events(filter).map(\.json.canonical)
        }
        let number = try #require(
            receipts.indices.dropFirst(40).dropLast().first {
                place(receipts[$0]).segment == place(receipts[$0 + 1]).segment
            })
        let (segment, start) = place(receipts[number])
        let name = segment + ".aurumlog"
        let twin = storage.copy()
        var bytes = storage.bytes(name)
        for byte in start + from..<place(receipts[number + 1]).offset { bytes[byte] ^= 0x20 }
        if !isLate { storage.place(name, bytes) }

        let whole = try Self.open(twin)
        try whole.upkeep.run(all: true, isPaced: false)
        await whole.close()
        #expect(try !segments(twin).contains(name), "the segment is one that is archived")
        // A header that is broken before the start is set aside by it; one that breaks later nobody has noticed.
        let damaged = try Self.open(storage)
        if isLate { storage.place(name, bytes) }
        let before = try await rows(damaged)
        let tally = try damaged.upkeep.run(all: true, isPaced: false)
        #expect(tally.files > 1, "\(tally)")
        #expect(try segments(storage) == segments(twin).union([name]))
        #expect(storage.bytes(name) == bytes)
        #expect(try await rows(damaged) == before && !before.isEmpty)
        await damaged.close()
    }

    private static func expectReceiptsAddUp(_ receipts: [Receipt], _ log: EventLog) async throws {
        var sum = OutcomeCounts()
        for receipt in receipts {
            if let found = try await log.store.receipt(receipt.id, org: "acme") { sum += found.counts }
        }
        #expect(sum == log.store.totals(org: "acme").counts)
    }

    @Test func `second copies that nobody remembered are found, and counts and receipts say so`() async throws {
        let storage = VolatileLogStorage()
        let log = try Self.open(storage, window: 16)
        var receipts: [Receipt] = []
        for round in 0..<40 {
            let lines = (0..<6).map { trackLine(["id": "\"r\(round)-\($0)\""]) } + [trackLine(["id": "\"same\""])]
            receipts.append(try await log.send(lines.joined(separator: "\n")))
        }
        let stored = log.store.totals(org: "acme").stored
        #expect(stored > 241, "the window was meant to be too small")
        let tally = try log.upkeep.run(all: true, isPaced: false)
        #expect(tally.duplicates > 0)
        let totals = log.store.totals(org: "acme")
        #expect(totals.stored == stored - tally.duplicates && totals.events == 280)
        try await Self.expectReceiptsAddUp(receipts, log)
        await log.close()
        let again = try Self.open(storage, window: 16)
        #expect(again.store.totals(org: "acme").counts == totals.counts)
        // Segments that the first run had to leave hold copies of what is archived by now.
        let rest = try again.upkeep.run(all: true, isPaced: false)
        let after = again.store.totals(org: "acme")
        #expect(after.stored == totals.stored - rest.duplicates && after.events == 280)
        try await Self.expectReceiptsAddUp(receipts, again)
        let idle = try again.upkeep.run(all: true, isPaced: false)
        #expect(idle.files == 0 && idle.duplicates == 0, "what is archived was written again")
        await again.close()
    }

    @Test(arguments: [100_000_000, 0])
    func `second copies in different archives of a day are found as far as the bound goes, and what stays is the first`(
        earlierRowsMax: Int
    ) async throws {
        let storage = VolatileLogStorage()
        // Archives of little, so that the day has many of them.
        func open() throws -> EventLog {
            try Self.open(storage, window: 16) { ($0.archiveBytesMax, $0.earlierRowsMax) = (9000, earlierRowsMax) }
        }
        let log = try open()
        var first: Receipt?
        for round in 0..<120 {
            let lines = (0..<6).map { trackLine(["id": "\"r\(round)-\($0)\""]) } + [trackLine(["id": "\"same\""])]
            let receipt = try await log.send(lines.joined(separator: "\n"))
            first = first ?? receipt
        }
        let stored = log.store.totals(org: "acme").stored
        #expect(stored > 721, "the window was meant to be too small")
        try log.upkeep.run(all: true, isPaced: false)
        await log.close()
        // What a start read in its own order is written with the next one.
        for _ in 0..<3 {
            let idle = try open()
            try idle.upkeep.run(all: true, isPaced: false)
            await idle.close()
        }
        let archives = try storage.names().count { $0.hasSuffix(".aurumarchive") }
        #expect(archives > 3, "the day was meant to have many archives")
        let again = try open()
        var filter = EventFilter(org: "acme")
        (filter.limit, filter.outcomes) = (10_000, [.stored])
        let events = try await again.store.events(filter)
        // Segments that are not written again yet may hold copies, and archives one.
        let names = try storage.names()
        let kept = events.filter { event in
            guard event.id == "same" else { return false }
            let name = String(event.position.segment, radix: 16)
            return !names.contains(String(repeating: "0", count: 8 - name.count) + name + ".aurumlog")
        }
        #expect((kept.count == 1) == (earlierRowsMax > 0), "\(kept.count) copies in \(archives) archives")
        let receipt = try #require(first)
        #expect(try await again.store.receipt(receipt.id, org: "acme")?.counts.stored == 7)
        await again.close()
    }

    @Test func `what was damaged is remembered across restarts, and healthy archives beside it are left alone`()
        async throws
    {
        var random = SeededRandom(seed: 6)
        let (storage, clock) = (VolatileLogStorage(), ManualWallClock(testNow))
        let log = try Self.open(storage, clock: clock)
        let receipts = try await Self.traffic(&random, requests: 150, log)
        await log.close()
        func place(_ receipt: Receipt) -> (segment: String, offset: Int) {
            let digits = receipt.id.dropFirst(4)
            return (String(digits.prefix(8)), Int(digits.dropFirst(8).prefix(8), radix: 16) ?? 0)
        }
        let number = try #require(
            receipts.indices.dropFirst(40).dropLast(60).first {
                place(receipts[$0]).segment == place(receipts[$0 + 1]).segment
            })
        let (segment, start) = place(receipts[number])
        let name = segment + ".aurumlog"
        let whole = storage.bytes(name)
        var bytes = whole
        for byte in start + 128..<place(receipts[number + 1]).offset { bytes[byte] ^= 0x20 }
        storage.place(name, bytes)
        clock.advance(by: .seconds(2 * 86_400))
        func run() async throws -> RewriteTally {
            let log = try Self.open(storage, clock: clock)
            let tally = try log.upkeep.run(isPaced: false)
            await log.close()
            return tally
        }
        // What a start read in its own order is written with one of the next.
        for _ in 0..<5 { _ = try await run() }
        let settled = try storage.names().filter { $0.hasSuffix(".aurumarchive") }
        #expect(settled.count > 1)
        #expect(try await run().files == 0, "archives were written again after a restart")
        #expect(try storage.names().filter { $0.hasSuffix(".aurumarchive") } == settled)
        // A good copy takes part again.
        storage.place(name, whole)
        #expect(try await run().files > 0)
        #expect(try !storage.names().contains(name))
    }

    @Test func `a look-up ends at its bound, in segments and in archives`() async throws {
        var random = SeededRandom(seed: 7)
        let log = try Self.open(VolatileLogStorage())
        _ = try await Self.traffic(&random, requests: 60, log)
        for isArchived in [false, true] {
            if isArchived { #expect(try log.upkeep.run(all: true, isPaced: false).files > 0) }
            var filter = EventFilter(org: "acme")
            filter.identifiers = [PersonIdentifier(.user, "nobody")]
            for (within, isOver) in [(Duration.zero, true), (.seconds(600), false), (nil, false)] {
                filter.within = within
                do {
                    let events = try await log.store.events(filter)
                    #expect(!isOver && events.isEmpty, "archived: \(isArchived)")
                } catch let error as QueryError {
                    #expect(isOver && error.code == "query_timeout", "archived: \(isArchived), \(error)")
                }
            }
        }
        await log.close()
    }

    @Test func `a query that has begun goes on over files that left the folder`() async throws {
        var random = SeededRandom(seed: 3)
        let log = try Self.open(VolatileLogStorage())
        _ = try await Self.traffic(&random, requests: 60, log)
        let segments = try log.store.segments()
        let rows = segments.reduce(0) { $0 + $1.blocks.reduce(0) { $0 + $1.rowCount } }
        #expect(try log.upkeep.run(all: true, isPaced: false).files > 0)
        var read = 0
        for segment in segments {
            for index in segment.blocks.indices { read += try segment.read(index)?.times().count ?? 0 }
        }
        #expect(read == rows)
        await log.close()
    }

    @Test func `an archive of another version is refused`() async throws {
        var random = SeededRandom(seed: 4)
        let storage = VolatileLogStorage()
        let log = try Self.open(storage)
        _ = try await Self.traffic(&random, requests: 60, log)
        try log.upkeep.run(all: true, isPaced: false)
        await log.close()
        let name = try #require(try storage.names().first { $0.hasSuffix(".aurumarchive") })
        var bytes = storage.bytes(name)
        bytes[8] = 9
        storage.place(name, bytes)
        #expect(throws: EventLogError.unsupportedVersion(segment: name, version: 9)) { _ = try Self.open(storage) }
    }
}
