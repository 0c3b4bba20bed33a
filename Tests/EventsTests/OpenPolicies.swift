internal import AurumCore
internal import Database
internal import Events
internal import Foundation
internal import TestSupport

/// A log in a real folder with everything an organisation may decide, over a real database.
struct PolicyDesk {
    let folder: TemporaryFolder
    let database: OpenDatabase
    let policies: EventPolicies
    let log: EventLog
    let desk: QuarantineDesk
    let store: PolicyEventStore

    static let key = [UInt8](repeating: 0x5a, count: 32)
    static let moment = ManualWallClock(testNow)

    static func open(
        folder: TemporaryFolder = TemporaryFolder(), database: OpenDatabase? = nil, quotaBytes: Int = 1 << 30,
        datacentres: AddressRanges? = nil
    ) async throws -> PolicyDesk {
        let database = try database ?? OpenDatabase(clock: moment)
        let policies = try await EventPolicies.open(
            database.database, sealer: InstallationKeySealer(key: key), quota: QuarantineQuota(bytesMax: quotaBytes),
            datacentres: datacentres)
        let storage = try PosixLogStorage(folder: folder.file("events"))
        let log = try openEvents(storage, policies: policies)
        let desk = QuarantineDesk(
            policies: policies, log: log, database: database.database, limits: EventLimits(), clock: moment)
        return PolicyDesk(
            folder: folder, database: database, policies: policies, log: log, desk: desk,
            store: PolicyEventStore(base: log.store, desk: desk))
    }

    /// The same folder and database after the log was closed.
    func reopened() async throws -> PolicyDesk {
        await log.close()
        return try await Self.open(folder: folder, database: database)
    }

    func events(_ outcomes: Set<EventOutcome> = [.stored, .late]) async throws -> [StoredEvent] {
        var filter = EventFilter(org: "acme")
        filter.newestFirst = false
        filter.outcomes = outcomes
        filter.limit = 10_000
        return try await store.events(filter)
    }

    /// Which of the needles stand in any file of the log, also inside its compressed parts.
    func found(_ needles: [String]) async throws -> [String] {
        var texts: [[UInt8]] = []
        for name in try FileManager.default.contentsOfDirectory(atPath: folder.file("events")) {
            texts.append(Array(try Data(contentsOf: URL(fileURLWithPath: folder.file("events/\(name)")))))
        }
        // What the compressed parts hold is what comes back when every row is read.
        for event in try await events(Set(EventOutcome.allCases)) { texts.append(Array(event.raw.utf8)) }
        let haystack = Data(texts.joined(separator: [0]))
        return needles.filter { haystack.range(of: Data($0.utf8)) != nil }
    }
}
