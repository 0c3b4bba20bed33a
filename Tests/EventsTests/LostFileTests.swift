internal import AurumCore
internal import Events
internal import Foundation
internal import Logging
internal import Telemetry
import TestSupport
import Testing

/// Archives and sealed segments that are cut or not there: the rest serves, and what is lost is named everywhere.
struct LostFileTests {
    /// A log with what it says of itself.
    private struct Opened {
        let log: EventLog
        let health: HealthRegistry
        let registry: MetricRegistry

        var component: ComponentHealth? { health.snapshot["events"] }
    }

    private static func open(
        _ storage: VolatileLogStorage, clock: ManualWallClock = ManualWallClock(testNow)
    ) throws -> Opened {
        var configuration = EventsConfiguration()
        configuration.commitDelay = .milliseconds(0)
        configuration.shards = 1
        (configuration.limits.freeBytesMin, configuration.limits.preallocateBytes) = (0, 4096)
        (configuration.limits.segmentBytesMax, configuration.limits.dedupIdentifiersMax) = (6000, 64)
        configuration.upkeep.archiveBytesMax = 40_000
        let (health, registry) = (HealthRegistry(clock: clock), MetricRegistry())
        let log = try EventLog.open(
            storage: storage, configuration: configuration, registry: registry, health: health, clock: clock,
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
        return Opened(log: log, health: health, registry: registry)
    }

    private static func counted(_ log: EventLog) async throws -> Int {
        var total = 0
        for org in ["acme", "rival"] {
            var query = EventQuery()
            query.outcomes = Set(EventOutcome.allCases).subtracting([.quarantined])
            let answer = try await QueryEngineTests.engine(log.store).answer(query, org: org)
            if case .integer(let count)? = answer.rows.first?.first { total += Int(count) }
        }
        return total
    }

    private static func findings(_ storage: VolatileLogStorage) throws -> [SegmentFinding] {
        var findings: [SegmentFinding] = []
        try LogReader(storage, named: "twin").verify(rebuilding: true) { findings.append($0) }
        return findings
    }

    private static func names(_ storage: VolatileLogStorage, _ suffix: String) throws -> [String] {
        try storage.names().filter { $0.hasSuffix(suffix) }.sorted()
    }

    /// Seeded traffic, in archives or as it came.
    private static func log(
        _ storage: VolatileLogStorage, seed: UInt64, isArchived: Bool
    ) async throws -> [StoredEvent] {
        var random = SeededRandom(seed: seed)
        let log = try open(storage).log
        _ = try await ArchiveTests.traffic(&random, requests: 150, log)
        if isArchived {
            try log.upkeep.run(all: true, isPaced: false)
            _ = try await ArchiveTests.traffic(&random, requests: 3, log)
        }
        let all = try await ArchiveStartTests.events(log)
        await log.close()
        return all
    }

    // MARK: archives

    @Test(arguments: ["cut", "short", "empty", "removed"])
    func `a log starts without an archive that is cut or missing and names it`(how: String) async throws {
        let storage = VolatileLogStorage()
        let all = try await Self.log(storage, seed: 11, isArchived: true)
        let archives = try Self.names(storage, ".aurumarchive")
        try #require(archives.count > 2)
        let name = archives[1]
        let whole = storage.bytes(name)
        let parts = name.split(separator: "-").compactMap { UInt32($0, radix: 16) }
        let range = parts[0]...parts[1]
        try storage.remove(name)
        switch how {
        case "cut": storage.place(name, Array(whole.prefix(whole.count / 2)))
        case "short": storage.place(name, Array(whole.dropLast(1)))
        case "empty": storage.place(name, [])
        default: break
        }
        let rest = all.filter { !range.contains($0.position.segment) }
        #expect(rest.count < all.count)

        for start in 1...2 {
            let opened = try Self.open(storage)
            let lost = opened.log.recovery.lost
            #expect(lost.map(\.archive) == [name] && lost[0].first == range.lowerBound, "start \(start)")
            #expect(lost[0].last == range.upperBound && (lost[0].rows ?? 0) >= all.count - rest.count)
            #expect(opened.component?.state == .degraded && opened.component?.reason == "log_damaged")
            #expect(opened.component?.numbers["lost_files"] == 1)
            #expect(opened.component?.details?.first?.contains(name) == true)
            #expect(opened.registry.prometheusText().contains("aurum_log_lost_files 1"))
            let found = try await ArchiveStartTests.events(opened.log).filter { $0.id != "after\(start - 1)" }
            #expect(found.filter { !$0.id.hasPrefix("after") }.map(\.id) == rest.map(\.id), "start \(start)")
            #expect(try await Self.counted(opened.log) == (try await ArchiveStartTests.events(opened.log)).count)
            // Compaction passes over what is lost.
            try opened.log.upkeep.run(all: true, isPaced: false)
            #expect(try await opened.log.send(trackLine(["id": "\"after\(start)\""])).stored == 1)
            let newest = try #require(try await ArchiveStartTests.events(opened.log).last)
            #expect(newest.id == "after\(start)" && newest.position.segment > range.upperBound)
            await opened.log.close()
            let finding = try #require(try Self.findings(storage).first { $0.segment == name })
            #expect(!finding.isWhole && finding.problem?.contains("lost") == true)
        }
        #expect(try storage.names().contains(name + ".damaged") == (how != "removed"))

        storage.place(name, whole)
        let back = try Self.open(storage)
        #expect(back.log.recovery.lost.isEmpty && back.component?.state == .ok && back.component?.details == nil)
        #expect(try await ArchiveStartTests.events(back.log).map(\.id) == all.map(\.id) + ["after1", "after2"])
        await back.log.close()
    }

    @Test func `an erased person does not come back with an archive that was lost meanwhile`() async throws {
        let storage = VolatileLogStorage()
        let all = try await Self.log(storage, seed: 12, isArchived: true)
        let name = try #require(try Self.names(storage, ".aurumarchive").first)
        let whole = storage.bytes(name)
        try storage.remove(name)
        #expect(all.contains { $0.userID == "u1" && $0.org == "acme" })

        let without = try Self.open(storage).log
        _ = try await without.upkeep.erase(
            org: "acme", [PersonIdentifier(.user, "u1")], actor: "test")
        try without.upkeep.run(all: true, isPaced: false)
        #expect(without.upkeep.erasures(org: "acme").allSatisfy { $0.doneAt == nil })
        await without.close()

        storage.place(name, whole)
        let back = try Self.open(storage).log
        #expect(try await !ArchiveStartTests.events(back).contains { $0.userID == "u1" && $0.org == "acme" })
        await back.close()
    }

    @Test func `a log whose manifest is missing does not throw its archives away`() async throws {
        let storage = VolatileLogStorage()
        let all = try await Self.log(storage, seed: 13, isArchived: true)
        let manifest = storage.bytes("manifest")
        try storage.remove("manifest")
        let names = try storage.names().sorted()
        #expect(throws: EventLogError.self) { try Self.open(storage) }
        #expect(try storage.names().sorted() == names)
        storage.place("manifest", manifest)
        let back = try Self.open(storage).log
        #expect(try await ArchiveStartTests.events(back).map(\.id) == all.map(\.id))
        await back.close()
    }

    // MARK: segments

    @Test(arguments: ["block", "torn", "empty", "header", "removed"])
    func `a log starts without a sealed segment that is cut or missing and names it`(how: String) async throws {
        let storage = VolatileLogStorage()
        let all = try await Self.log(storage, seed: 14, isArchived: false)
        let segments = try Self.names(storage, ".aurumlog")
        try #require(segments.count > 4)
        let name = segments[2]
        let whole = storage.bytes(name)
        let places = Set(all.filter { $0.position.segment == 3 }.map { Int($0.position.offset) }).sorted()
        let last = try #require(places.last)
        var keptBefore = last
        try storage.remove(name)
        switch how {
        // Exactly behind a whole block: nothing in the file itself says that more was there.
        case "block": storage.place(name, Array(whole.prefix(last)))
        case "torn": storage.place(name, Array(whole.prefix(last + 200)))
        case "header": (keptBefore, _) = (0, storage.place(name, Array(whole.prefix(64))))
        case "empty": (keptBefore, _) = (0, storage.place(name, []))
        default: keptBefore = 0
        }
        let rest = all.filter { $0.position.segment != 3 || Int($0.position.offset) < keptBefore }
        #expect(rest.count < all.count)

        for start in 1...2 {
            let opened = try Self.open(storage)
            let recovery = opened.log.recovery
            #expect(recovery.damaged.map(\.segment) + recovery.lost.map(\.first) == [3], "\(how), start \(start)")
            #expect(opened.component?.reason == "log_damaged" && opened.component?.details?.count == 1)
            let found = try await ArchiveStartTests.events(opened.log).filter { !$0.id.hasPrefix("after") }
            #expect(found.map(\.id) == rest.map(\.id), "\(how), start \(start)")
            #expect(try await opened.log.send(trackLine(["id": "\"after\(start)\""])).stored == 1)
            // What is left of it is not taken for expired or whole.
            try opened.log.upkeep.run(all: true, isPaced: false)
            await opened.log.close()
            #expect(try Self.findings(storage).contains { $0.segment == name && !$0.isWhole }, "\(how)")
        }
    }

    // MARK: health

    @Test func `damage is still reported when a full disk has space again`() async throws {
        let storage = VolatileLogStorage()
        _ = try await Self.log(storage, seed: 15, isArchived: false)
        try storage.remove(try Self.names(storage, ".aurumlog")[1])
        let clock = ManualWallClock(testNow)
        let opened = try Self.open(storage, clock: clock)
        #expect(opened.component?.reason == "log_damaged")
        storage.fail(.full)
        await #expect(throws: CaptureError.storageFull) { try await opened.log.send(trackLine()) }
        storage.fail(.none)
        clock.advance(by: .seconds(1))
        #expect(try await opened.log.send(trackLine()).received == 1)
        #expect(opened.component?.state == .degraded && opened.component?.reason == "log_damaged")
        #expect(opened.component?.numbers["lost_files"] == 1)
        await opened.log.close()
    }
}
