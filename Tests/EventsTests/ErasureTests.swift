internal import AurumCore
internal import Events
internal import Foundation
internal import Logging
internal import Telemetry
import TestSupport
import Testing

/// Erased persons and expired events: gone from every answer at once, and from the disk with the next compaction.
struct ErasureTests {
    private static func ids(_ log: EventLog) async throws -> [String] {
        var filter = EventFilter(org: "acme")
        (filter.limit, filter.newestFirst) = (10_000, false)
        return try await log.store.events(filter).map(\.id)
    }

    private static func fill(_ log: EventLog, rounds: Int = 60) async throws {
        _ = try await log.send(
            #"{"id":"link","type":"identify","anonymous_id":"secret-visitor","user_id":"secret-user"}"#)
        for round in 0..<rounds {
            let lines = [
                trackLine(["id": "\"v\(round)\"", "user_id": nil, "anonymous_id": "\"secret-visitor\""]),
                trackLine(["id": "\"u\(round)\"", "user_id": "\"secret-user\""]),
                trackLine(["id": "\"o\(round)\"", "user_id": "\"other\(round % 3)\""]),
            ]
            _ = try await log.send(lines.joined(separator: "\n"))
        }
    }

    /// Whether a text can be had from any file, packed or not.
    private static func isOnDisk(_ text: String, _ storage: VolatileLogStorage) async throws -> Bool {
        for name in try storage.names() {
            if Data(storage.bytes(name)).range(of: Data(text.utf8)) != nil { return true }
        }
        return false
    }

    @Test func `an erased person is hidden at once, over a power cut, and taken out by the next compaction`()
        async throws
    {
        let storage = VolatileLogStorage()
        let log = try ArchiveTests.open(storage, window: 16)
        try await Self.fill(log)
        let record = try await log.upkeep.erase(
            org: "acme", [PersonIdentifier(.user, "secret-user")], actor: "test")
        let others = (0..<60).map { "o\($0)" }
        #expect(try await Self.ids(log) == others)
        #expect(log.upkeep.isGenuine(record, org: "acme") && !record.json.canonical.contains("secret"))
        // The same person comes back: that is another matter.
        _ = try await log.send(trackLine(["id": "\"back\"", "user_id": "\"secret-user\""]))
        #expect(try await Self.ids(log) == others + ["back"])
        storage.cutPower()
        await log.close()

        let survivor = storage.afterCut(seed: 1)
        let again = try ArchiveTests.open(survivor, window: 16)
        #expect(try await Self.ids(again) == others + ["back"])
        for number in 0..<40 { _ = try await again.send(trackLine(["id": "\"more\(number)\""])) }
        let tally = try again.upkeep.run(all: true, isPaced: false)
        #expect(tally.erased == 121)
        let done = try #require(again.upkeep.erasures(org: "acme").first)
        #expect(done.doneAt != nil && done.rows == 121 && again.upkeep.isGenuine(done, org: "acme"))
        #expect(try await Self.ids(again).prefix(61).elementsEqual(others + ["back"]))
        #expect(try await !Self.isOnDisk("secret-visitor", survivor))
        await again.close()
    }

    @Test func `erasures are carried into an older copy, those without keys are counted, others' are refused`()
        async throws
    {
        let folder = TemporaryFolder()
        let clock = ManualWallClock(testNow)
        let (site, copy) = (folder.file("site"), folder.file("copy"))
        var log = try ArchiveTests.open(try PosixLogStorage(folder: site), window: 16, clock: clock)
        try await Self.fill(log)
        await log.close()
        try FileManager.default.copyItem(atPath: site, toPath: copy)
        log = try ArchiveTests.open(try PosixLogStorage(folder: site), window: 16, clock: clock)
        _ = try await log.upkeep.erase(org: "acme", [PersonIdentifier(.user, "secret-user")], actor: "test")
        for number in 0..<40 { _ = try await log.send(trackLine(["id": "\"more\(number)\""])) }
        try log.upkeep.run(all: true, isPaced: false)
        #expect(log.upkeep.erasures(org: "acme").allSatisfy { $0.doneAt != nil })
        // So long after the first that its keys are forgotten.
        clock.advance(by: .seconds(40 * 86_400))
        _ = try await log.upkeep.erase(org: "acme", [PersonIdentifier(.user, "other1")], actor: "test")
        await log.close()

        let carried = try EventLog.carryErasures(from: site, to: copy)
        #expect(carried.carried == 1 && carried.tooOld == 1)
        let restored = try ArchiveTests.open(try PosixLogStorage(folder: copy), window: 16)
        let ids = try await Self.ids(restored)
        #expect(!ids.contains("o1") && ids.contains("o2") && ids.contains("u1"))
        await restored.close()

        let other = folder.file("other")
        log = try ArchiveTests.open(try PosixLogStorage(folder: other), window: 16)
        await log.close()
        for stranger in [other, folder.path] {
            do throws(EventLogError) {
                _ = try EventLog.carryErasures(from: stranger, to: copy)
                Issue.record("taken from \(stranger)")
            } catch { #expect(error.sentence.contains("another site"), "\(error.sentence)") }
        }
    }

    @Test func `an erasure that comes after the archive was written rewrites it`() async throws {
        let storage = VolatileLogStorage()
        let log = try ArchiveTests.open(storage, window: 16)
        try await Self.fill(log)
        try log.upkeep.run(all: true, isPaced: false)
        #expect(try await Self.ids(log).count == 181)
        _ = try await log.upkeep.erase(org: "acme", [PersonIdentifier(.anonymous, "secret-visitor")], actor: "test")
        #expect(try await Self.ids(log) == (0..<60).map { "o\($0)" })
        // Other organisations have other people.
        _ = try await log.upkeep.erase(org: "rival", [PersonIdentifier(.user, "other1")], actor: "test")
        for number in 0..<40 { _ = try await log.send(trackLine(["id": "\"more\(number)\""])) }
        #expect(try log.upkeep.run(all: true, isPaced: false).erased == 121)
        #expect(log.upkeep.erasures(org: "acme").allSatisfy { $0.doneAt != nil })
        #expect(try log.upkeep.run(all: true, isPaced: false).erased == 0)
        await log.close()
    }

    @Test func `what is past its retention vanishes at once, and from the disk with its file`() async throws {
        let clock = ManualWallClock(testNow)
        let storage = VolatileLogStorage()
        let database = try OpenDatabase(clock: clock)
        let policies = try await EventPolicies.open(
            database.database, sealer: InstallationKeySealer(key: PolicyDesk.key),
            quota: QuarantineQuota(bytesMax: 1 << 30))
        _ = try await policies.apps.put(
            org: "acme", app: "shop",
            ["retention_days": 10, "retention_days_by_type": ["conversion": 100]])
        var configuration = EventsConfiguration()
        configuration.commitDelay = .milliseconds(0)
        (configuration.limits.freeBytesMin, configuration.limits.preallocateBytes) = (0, 4096)
        (configuration.limits.segmentBytesMax, configuration.limits.dedupIdentifiersMax) = (4000, 16)
        let log = try EventLog.open(
            storage: storage, configuration: configuration, registry: MetricRegistry(),
            health: HealthRegistry(clock: clock), clock: clock,
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }, policies: policies)
        for round in 0..<40 {
            let lines = [
                trackLine(["id": "\"t\(round)\"", "name": "\"planted-\(round)\""]),
                trackLine([
                    "id": "\"c\(round)\"", "type": "\"conversion\"", "value": "\"1\"", "currency": "\"USD\"",
                ]),
            ]
            _ = try await log.send(lines.joined(separator: "\n"), at: clock.now)
        }
        #expect(try await Self.ids(log).count == 80)
        clock.advance(by: .seconds(11 * 86_400))
        #expect(try await Self.ids(log) == (0..<40).map { "c\($0)" })
        for number in 0..<40 { _ = try await log.send(trackLine(["id": "\"more\(number)\""]), at: clock.now) }
        let tally = try log.upkeep.run(isPaced: false)
        #expect(tally.expired > 0 && tally.expired <= 40)
        clock.advance(by: .seconds(100 * 86_400))
        #expect(try await Self.ids(log).isEmpty)
        let bytes = try storage.names().reduce(0) { $0 + storage.bytes($1).count }
        #expect(try log.upkeep.run(isPaced: false).files > 0)
        #expect(try storage.names().reduce(0) { $0 + storage.bytes($1).count } < bytes)
        await log.close()
    }
}
