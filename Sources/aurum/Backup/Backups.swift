internal import AurumCore
internal import Database
internal import Events
internal import Foundation
internal import Gateway
internal import Leads
internal import Logging
internal import Synchronization
internal import Telemetry
internal import UnixSignals

#if canImport(Glibc)
    internal import Glibc
#endif

/// The backups of one site, one at a time.
struct Backups: Sendable {
    let database: Database
    let log: EventLog
    let gate: RelayGate
    let dataPath: String
    let clock: any WallClock
    var logger = Logger(label: "backup")
    private let turn = Turn()

    /// What health says of the last one.
    var last: LastBackup { LastBackup(in: dataPath) }

    /// Makes a backup in a new folder and answers what is in it.
    /// - Throws: a sentence, also while another is being made: two would write to one place, or make two keys.
    func make(at target: String) async throws -> JSONValue {
        guard turn.take() else { throw CommandFailure("another backup is being made") }
        defer { turn.give() }
        let began = ContinuousClock.now
        let target = URL(fileURLWithPath: target).standardizedFileURL.path
        let keyPath = DataFolder.backupKeyPath(in: dataPath)
        let (key, isNew) = try BackupKey.readOrMake(keyPath)
        let job = BackupJob(database: database, log: log, gate: gate, dataPath: dataPath, key: key, clock: clock)
        let manifest = try await job.run(to: target)
        let isWhole = try await readBack(manifest, target, key)
        var answer = Self.summary(manifest).object ?? [:]
        answer["verified"] = .bool(isWhole)
        let seconds = (ContinuousClock.now - began).seconds
        answer["seconds"] = .string(String(format: "%.3f", seconds))
        if isNew {
            answer["note"] = .string("made the key \(keyPath): keep a copy elsewhere, no backup can be read without it")
        }
        logger.info(
            "a backup was made",
            metadata: [
                "code": "backup_made", "rows": "\(manifest.rows)", "bytes": "\(manifest.bytes)",
                "seconds": "\(seconds)",
            ])
        return .object(answer)
    }

    /// Reads every byte of a backup that was just made. False, and an error in the log, when something is wrong.
    private func readBack(_ manifest: BackupManifest, _ target: String, _ key: BackupKey) async throws -> Bool {
        last.note(BackupFigures(madeAt: Timestamp(rfc3339: manifest.createdAt) ?? clock.now, isVerified: false))
        let problems = try await BlockingWork.value { try BackupCheck(source: target, key: key).run().problems }
        last.checked(manifest, isWhole: problems.isEmpty)
        if let first = problems.first {
            logger.error("a backup is not whole: \(first)", metadata: ["code": "backup_unverified"])
        }
        return problems.isEmpty
    }

    /// For the route: refusals are sentences.
    func answer(_ target: String) async throws -> JSONValue {
        do { return try await make(at: target) } catch {
            logger.error("no backup was made", metadata: ["code": "backup_failed", "error": "\(error)"])
            throw BackupRefused(sentence: error is CommandFailure ? "\(error)" : "The backup failed: \(error).")
        }
    }

    static func summary(_ manifest: BackupManifest) -> JSONValue {
        var answer: [String: JSONValue] = [
            "created_at": .string(manifest.createdAt), "release": .string(manifest.release),
            "engine": .string(manifest.engine), "schema": .integer(Int64(manifest.schema)),
            "tables": .integer(Int64(manifest.tables.count)), "rows": .integer(Int64(manifest.rows)),
            "files": .integer(Int64(manifest.files.count)), "bytes": .integer(Int64(manifest.bytes)),
        ]
        if let log = manifest.log {
            answer["log_segments"] = .integer(Int64(log.segments))
            answer["log_archives"] = .integer(Int64(log.archives))
            answer["log_end"] = .string(log.end)
        }
        return .object(answer)
    }
}

/// Given to one at a time.
private final class Turn: Sendable {
    private let isTaken = Atomic(false)

    func take() -> Bool { !isTaken.exchange(true, ordering: .acquiring) }

    func give() { isTaken.store(false, ordering: .releasing) }
}

/// Puts a backup back into a temporary folder and looks at what comes out.
struct DeepCheck: Sendable {
    let source: String
    let key: BackupKey
    /// Where the temporary folder is made; it needs as much space as the site.
    var work = NSTemporaryDirectory()

    /// A sentence for everything that is wrong. SIGINT and SIGTERM end the process and leave nothing behind.
    func run() async throws -> [String] {
        let place = (work as NSString).appendingPathComponent("aurum-verify-" + UUID().uuidString)
        defer { try? FileManager.default.removeItem(atPath: place) }
        return try await withThrowingTaskGroup(of: [String].self) { group in
            group.addTask { try await problems(in: place) }
            group.addTask {
                for await _ in await UnixSignalsSequence(trapping: .sigint, .sigterm) {
                    try? FileManager.default.removeItem(atPath: place)
                    exit(130)
                }
                return []
            }
            defer { group.cancelAll() }
            return try await group.next() ?? []
        }
    }

    private func problems(in place: String) async throws -> [String] {
        let folder = try DataFolder(path: place)
        let clock = SystemWallClock()
        let outcome = try await RestoreJob(source: source, key: key, clock: clock).run(
            into: folder, .sqlite(path: DataFolder.databasePath(in: place)))
        let database = try Database.openSQLite(
            at: DataFolder.databasePath(in: place), registry: MetricRegistry(), clock: clock)
        defer { try? database.close() }
        var problems: [String] = []
        for table in try await database.tableCounts() {
            let expected = outcome.manifest.tables.first { $0.name == table.name }?.rows ?? 0
            if table.rows != expected {
                problems.append("the table \(table.name) has \(table.rows) rows after a restore, not \(expected)")
            }
        }
        for (currency, sum) in try await LedgerReport(database: database).sums() where sum != 0 {
            problems.append("the ledger does not add up to zero: \(sum) minor units of \(currency)")
        }
        let log = folder.logPath
        problems += try await BlockingWork.value {
            var found: [String] = []
            try LogReader(folder: log).verify(rebuilding: false) { finding in
                if !finding.isWhole { found.append("the log's \(finding.segment) is damaged") }
            }
            return found
        }
        return problems
    }
}
