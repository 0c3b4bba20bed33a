internal import AurumCore
internal import Events
internal import Foundation
internal import TestSupport
import Testing

/// The log when processes die, disks fill, bytes rot and clocks go back.
struct FaultTests {
    private static func line(_ id: String) -> String {
        let number = id.utf8.reduce(0) { ($0 &* 31 &+ Int($1)) & 0xffff }
        return trackLine([
            "id": "\"\(id)\"", "title": "\"title \(number % 50)\"", "user_id": "\"u\(number % 9)\"",
            "props": number % 3 == 0 ? "{\"a\":\"\(number)\"}" : "{\"a\":\(number),\"b\":[\(number % 4)]}",
        ])
    }

    private static func body(_ ids: [String]) -> String { ids.map(line).joined(separator: "\n") }

    /// Events by id as the store answers them, each with the text it was sent as.
    private static func check(_ log: EventLog, sent: Set<String>, _ run: String) async throws -> Set<String> {
        var filter = EventFilter(org: "acme")
        filter.limit = 10_000
        let events = try await log.store.events(filter)
        let ids = events.map(\.id)
        #expect(Set(ids).count == ids.count, "\(run): something is there twice")
        #expect(Set(ids).isSubset(of: sent), "\(run): something was never sent")
        for event in events where event.raw != line(event.id) { Issue.record("\(run): \(event.id) is \(event.raw)") }
        return Set(ids)
    }

    // MARK: SIGKILL

    /// A life of a log: a fresh folder, rolls, who is who, a clean end and another start.
    private static func live(_ storage: VolatileLogStorage) async -> (acknowledged: Set<String>, sent: Set<String>) {
        var (acknowledged, sent): (Set<String>, Set<String>) = ([], [])
        for life in 0..<2 {
            guard
                let log = try? openEvents(
                    storage,
                    change: {
                        $0.limits.segmentBytesMax = 2500
                        $0.limits.preallocateBytes = 1024
                        $0.limits.identity.checkpointChanges = 4
                    })
            else { return (acknowledged, sent) }
            for round in 0..<5 {
                let ids = (0..<3).map { "l\(life)-r\(round)-\($0)" }
                sent.formUnion(ids)
                let link =
                    "{\"id\":\"k\(life)-\(round)\",\"type\":\"identify\",\"user_id\":\"u\(round)\","
                    + "\"anonymous_id\":\"a\(life)-\(round)\"}"
                _ = try? await log.send(link, source: CaptureSource(org: "links", app: "shop"))
                guard (try? await log.send(body(ids))) != nil else { continue }
                acknowledged.formUnion(ids)
            }
            await log.close()
        }
        return (acknowledged, sent)
    }

    /// The places at which a process can die while it writes the log.
    private static let points: Set<String> = [
        "create secret", "write secret", "sync secret", "sync folder", "create segment", "write segment",
        "sync segment", "reserve segment", "truncate segment",
    ]

    @Test func `killed at any point of the write path, what was acknowledged is there once`() async throws {
        let whole = VolatileLogStorage()
        _ = await Self.live(whole)
        let calls = whole.calls
        #expect(Self.points.isSubset(of: calls), "never passed: \(Self.points.subtracting(calls).sorted())")
        for call in calls.indices {
            for half in calls[call].hasPrefix("write") ? [false, true] : [false] {
                let run = "killed at call \(call), \(calls[call])\(half ? ", half done" : "")"
                let storage = VolatileLogStorage()
                storage.kill(at: call, half: half)
                let told = await Self.live(storage)
                let again = try openEvents(storage.copy())
                let found = try await Self.check(again, sent: told.sent, run)
                let missing = told.acknowledged.subtracting(found)
                #expect(missing.isEmpty, "\(run): acknowledged and lost: \(missing.sorted())")
                #expect(again.recovery.damaged.isEmpty, "\(run)")
                for id in told.sent.sorted() { _ = try await again.send(Self.line(id)) }
                #expect(try await Self.check(again, sent: told.sent, run) == told.sent, "\(run)")
                await again.close()
            }
        }
    }

    // MARK: torn and flipped

    private static func damage(_ bytes: inout [UInt8], from start: Int, _ random: inout SeededRandom) {
        let place = start + random.below(bytes.count - start)
        let end = min(bytes.count, place + 1 + random.below(400))
        switch random.below(6) {
        case 0: bytes.removeSubrange(place...)
        case 1, 2: bytes[place] ^= UInt8(1 << random.below(8))
        case 3: bytes.replaceSubrange(place..<end, with: [UInt8](repeating: 0, count: end - place))
        case 4: for index in place..<end { bytes[index] = UInt8(truncatingIfNeeded: random.next()) }
        default: bytes.append(contentsOf: (0..<random.below(300)).map { _ in UInt8(truncatingIfNeeded: random.next()) })
        }
    }

    @Test func `a torn or flipped tail is recovered or reported, and never a wrong row`() async throws {
        let seed = UInt64.random(in: 0...UInt64.max)
        print("seed \(seed)")
        var random = SeededRandom(seed: seed)
        let storage = VolatileLogStorage()
        let log = try openEvents(storage)
        var sent: Set<String> = []
        for block in 0..<10 {
            let ids = (0..<1 + random.below(12)).map { "b\(block)-\($0)" }
            _ = try await log.send(Self.body(ids))
            sent.formUnion(ids)
        }
        await log.close()
        let whole = storage.bytes("00000001.aurumlog")
        for number in 0..<soakCount(10_000) {
            let run = "seed \(seed), case \(number)"
            var bytes = whole
            for _ in 0...random.below(3) where bytes.count > 1000 { Self.damage(&bytes, from: 64, &random) }
            let twin = storage.copy()
            twin.place("00000001.aurumlog", bytes)
            let again = try openEvents(twin)
            let found = try await Self.check(again, sent: sent, run)
            let isReported = again.recovery.cutBytes > 0 || !again.recovery.damaged.isEmpty
            // A file that ends between two blocks, or in zeros, cannot be told from one that was never longer.
            let isCleanEnd = whole.starts(with: bytes[..<(bytes.lastIndex { $0 != 0 } ?? 0)])
            #expect(
                found == sent || isReported || isCleanEnd, "\(run): \(sent.count - found.count) lost without a word")
            if number % 8 == 0 { try Self.checkColumns(again, run) }
            #expect(try await again.send(Self.line("new")).stored == 1, "\(run)")
            await again.close()
        }
    }

    private static func checkColumns(_ log: EventLog, _ run: String) throws {
        for segment in try log.store.segments() {
            for index in segment.blocks.indices {
                guard let block = try segment.read(index) else { continue }
                // A block whose dictionaries are lost says so instead of answering.
                guard let problem = try? ColumnModel.difference(block) else { continue }
                Issue.record("\(run): \(problem)")
            }
        }
    }

    // MARK: a full volume

    /// A file system of 64 MB of its own, where this machine lets us mount one.
    private static func volume(_ folder: String) throws -> Bool {
        let mount = Process()
        mount.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        mount.arguments = ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", folder]
        mount.standardError = FileHandle.nullDevice
        try mount.run()
        mount.waitUntilExit()
        return mount.terminationStatus == 0
    }

    private static func unmount(_ folder: String) {
        let unmount = Process()
        unmount.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        unmount.arguments = ["umount", folder]
        try? unmount.run()
        unmount.waitUntilExit()
    }

    @Test(arguments: [0, 2 << 20])
    func `a volume of 64 MB is filled to the end, and capture resumes when there is space`(free: Int) async throws {
        let folder = TemporaryFolder()
        let isReal = try Self.volume(folder.path)
        defer { if isReal { Self.unmount(folder.path) } }
        let limited = VolatileLogStorage()
        limited.limit(to: 64 << 20)
        let storage: any LogStorage = isReal ? try PosixLogStorage(folder: folder.path) : limited
        print(isReal ? "on a file system of its own" : "in memory: no file system may be mounted here")
        let ballast = folder.file("ballast")
        if isReal { #expect(FileManager.default.createFile(atPath: ballast, contents: Data(count: 40 << 20))) }
        if !isReal { limited.place("ballast", [UInt8](repeating: 1, count: 40 << 20)) }
        let clock = ManualWallClock(testNow)
        func open() throws -> EventLog {
            try openEvents(storage, clock: clock) {
                $0.limits.freeBytesMin = free
                // To the very end.
                ($0.limits.freePercentMin, $0.limits.freePercentAgain) = (0, 0)
                $0.limits.preallocateBytes = 1 << 20
                $0.limits.segmentBytesMax = 8 << 20
            }
        }
        let log = try open()
        var random = SeededRandom(seed: 64)
        var acknowledged = 0
        var refusal: CaptureError?
        func send() async throws(CaptureError) {
            let lines = (0..<500).map { index in
                let noise = (0..<60).map { _ in String(random.next(), radix: 36) }.joined()
                return trackLine(["id": "\"v\(acknowledged + index)\"", "props": "{\"a\":\"\(noise)\"}"])
            }
            acknowledged += try await log.send(lines.joined(separator: "\n")).stored
        }
        for _ in 0..<1000 where refusal == nil {
            do throws(CaptureError) { try await send() } catch { refusal = error }
        }
        #expect(
            refusal == .storageFull && acknowledged > 10_000, "\(String(describing: refusal)) after \(acknowledged)")
        #expect(try rows(storage) == acknowledged)
        await #expect(throws: CaptureError.storageFull) { try await send() }
        if isReal { try FileManager.default.removeItem(atPath: ballast) } else { limited.place("ballast", []) }
        clock.advance(by: .seconds(1))
        let before = acknowledged
        for _ in 0..<5 { try await send() }
        #expect(acknowledged == before + 2500)
        await log.close()
        #expect(try rows(storage) == acknowledged)
        let again = try open()
        #expect(again.recovery.damaged.isEmpty && again.store.totals(org: "acme").stored == acknowledged)
        await again.close()
    }

    /// Rows whose text can be read, by a scan of its own.
    private func rows(_ storage: any LogStorage) throws -> Int {
        var rows = 0
        try LogReader(storage, named: "volume").verify(rebuilding: true) { finding in
            #expect(finding.isWhole, "\(finding)")
            rows += finding.rows
        }
        return rows
    }

    // MARK: clocks

    @Test func `a clock that goes back loses nothing, doubles nothing and keeps the order of the log`() async throws {
        let storage = VolatileLogStorage()
        let clock = ManualWallClock(testNow)
        let steps: [Duration] = [.seconds(5), .seconds(-7200), .seconds(86_400 * 3), .seconds(-86_400 * 30), .zero]
        var ids: [String] = []
        for life in 0..<3 {
            let log = try openEvents(storage, clock: clock) { $0.limits.segmentSeconds = 3600 }
            for (number, step) in steps.enumerated() {
                clock.advance(by: step)
                let id = "c\(life)-\(number)"
                let receipt = try await log.send(Self.line(id), at: clock.now)
                #expect(receipt.stored == 1, "\(id)")
                #expect(try await log.store.receipt(receipt.id, org: "acme")?.receivedAt == clock.now)
                ids.append(id)
                #expect(try await log.send(Self.line(ids[ids.count / 2]), at: clock.now).duplicate == 1, "\(id)")
                var filter = EventFilter(org: "acme")
                (filter.from, filter.to) = (clock.now, clock.now)
                #expect(try await log.store.events(filter).contains { $0.id == id }, "\(id) is found by its time")
            }
            var filter = EventFilter(org: "acme")
            (filter.limit, filter.newestFirst) = (1000, false)
            #expect(try await log.store.events(filter).map(\.id) == ids)
            await log.close()
            // The next start finds a clock that is a month behind what the log was last told.
            clock.advance(by: .seconds(-86_400 * 30))
        }
    }

    // MARK: damage in sealed segments

    @Test func `a damaged block of a sealed segment is left out of every answer and named`() async throws {
        let storage = VolatileLogStorage()
        let log = try openEvents(storage) { $0.shards = 1 }
        var places: [Int] = []
        for block in 0..<5 {
            let receipt = try await log.send(Self.body((0..<4).map { "s\(block)-\($0)" }))
            places.append(try #require(Int(receipt.id.dropFirst(12).prefix(8), radix: 16)))
        }
        await log.close()
        // A start seals what was there.
        let second = try openEvents(storage)
        _ = try await second.send(Self.body(["after"]))
        await second.close()
        let whole = storage.bytes("00000001.aurumlog")
        for lost in [[0], [2], [4], [1, 2], [0, 1, 2], [3, 4]] {
            var bytes = whole
            for block in lost {
                let end = block + 1 < places.count ? places[block + 1] : bytes.count
                // Headers stay whole: of a sealed segment nothing else is looked at by a start.
                for place in places[block] + 128..<end { bytes[place] ^= 0x20 }
            }
            let twin = storage.copy()
            twin.place("00000001.aurumlog", bytes)
            let again = try openEvents(twin)
            var query = EventQuery()
            query.measures = [QueryMeasure(.count), QueryMeasure(.unique(.person))]
            query.groupBy = [ColumnName("title"), ColumnName("props.a")]
            query.limit = 1000
            let answer = try await QueryEngineTests.engine(again.store).answer(query, org: "acme")
            let rows = answer.rows.reduce(0) { sum, row in
                if case .integer(let count) = row[2] { sum + Int(count) } else { sum }
            }
            let found = try await Self.check(again, sent: Set(ids(places.count)), "lost \(lost)")
            #expect(found.isSuperset(of: ["after"]))
            #expect(rows == found.count, "lost \(lost): a query counts \(rows), the store answers \(found.count)")
            #expect(found.count <= 21 - 4 * lost.count && answer.damagedBlocks >= lost.count, "lost \(lost)")
            try await Self.checkBehaviour(again, found, lost: lost.count, "lost \(lost)")
            var damaged = 0
            try LogReader(twin, named: "twin").verify(rebuilding: true) { damaged += $0.damaged.count }
            #expect(damaged >= 1, "lost \(lost): verify says nothing")
            try Self.checkColumns(again, "lost \(lost)")
            await again.close()
        }
    }

    /// Questions about behaviour and exports leave out what the store does, and say so.
    private static func checkBehaviour(_ log: EventLog, _ found: Set<String>, lost: Int, _ run: String) async throws {
        let service = BehaviourService(engine: QueryEngineTests.engine(log.store), clock: ManualWallClock(testNow))
        let track: JSONValue = ["column": "type", "op": "=", "value": "track"]
        let questions: [(BehaviourKind, JSONValue)] = [
            (.funnel, ["steps": [track, track]]), (.retention, [:]), (.cohorts, [:]), (.paths, ["start": track]),
            (.sessions, [:]),
        ]
        for (kind, body) in questions {
            let answer = try await service.answer(kind, body, org: "acme")
            #expect((answer["damaged_blocks"]?.integer ?? 0) >= Int64(lost), "\(run) \(kind): \(answer.canonical)")
        }
        let folder = TemporaryFolder()
        let written = try await ExportService.write(
            ["compression": "none"], org: "acme", from: log.store, now: testNow, to: folder.file("out"))
        let ids = try String(contentsOfFile: folder.file("out"), encoding: .utf8).split(separator: "\n").map { line in
            (try? JSONDecoder().decode(JSONValue.self, from: Data(line.utf8)))?["id"]?.string ?? ""
        }
        #expect(ids.count == found.count && Set(ids) == found, "\(run): an export has \(ids.sorted())")
        #expect(written.rows == found.count && written.damagedBlocks >= lost, "\(run)")
    }

    @Test func `a touch in a damaged block is missing from a journey, and the others are not`() async throws {
        let storage = VolatileLogStorage()
        let log = try openEvents(storage) { $0.shards = 1 }
        var places: [Int] = []
        for number in 0..<3 {
            let click =
                #"{"id":"c\#(number)","type":"click","anonymous_id":"a1","url":"/?utm_source=s\#(number)","#
                + #""ts":"\#((testNow - .seconds(600 - number)).rfc3339)"}"#
            let receipt = try await log.send(click + "\nbroken")
            places.append(try #require(Int(receipt.id.dropFirst(12).prefix(8), radix: 16)))
        }
        await log.close()
        let second = try openEvents(storage)
        _ = try await second.send(Self.body(["after"]))
        await second.close()
        var bytes = storage.bytes("00000001.aurumlog")
        for place in places[1] + 128..<places[2] { bytes[place] ^= 0x20 }
        storage.place("00000001.aurumlog", bytes)
        let again = try openEvents(storage)
        let journey = try await again.store.journey(
            JourneyQuery(
                org: "acme", traceID: nil, identifiers: [PersonIdentifier(.anonymous, "a1")], until: testNow,
                lookback: .seconds(86_400)))
        #expect(journey.map(\.eventID) == ["c0", "c2"])
        await again.close()
    }

    private func ids(_ blocks: Int) -> [String] {
        (0..<blocks).flatMap { block in (0..<4).map { "s\(block)-\($0)" } } + ["after"]
    }
}
