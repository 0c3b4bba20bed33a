internal import AurumCore
internal import Database
internal import Events
internal import Foundation
internal import Synchronization

/// Makes a backup: the tables as they were at one moment, the log as it was a moment later, and the keys.
///
/// The relay between the two is held until the tables stand still and the log's end behind them is known. What it had
/// delivered is in the log, what it had not is in the outbox: nothing is in neither. Whatever a table says of the log
/// is in it, since the log is the later of the two.
struct BackupJob: Sendable {
    let database: Database
    let log: EventLog
    let gate: RelayGate
    let dataPath: String
    let key: BackupKey
    let clock: any WallClock

    /// Writes the backup to `target`, which must not exist or be empty. It has its name only once it is whole.
    func run(to target: String) async throws -> BackupManifest {
        try await WholeFolder.make(target, for: "a backup", parts: ["/tables", "/log"]) { folder in
            let manifest = try await write(to: folder)
            try manifest.write(to: folder, key: key)
            return manifest
        }
    }

    private func write(to folder: String) async throws -> BackupManifest {
        let createdAt = clock.now.rfc3339
        await gate.take()
        let hold = Hold(gate)
        // Whatever happens: without the relay nothing reaches the log.
        defer { hold.release() }
        let log = log
        let end = Mutex<LogCopy?>(nil)
        let sink = TableFiles(folder: folder, key: key)
        let schema = try await database.dump(to: sink) {
            defer { hold.release() }
            let copy = try Self.end(of: log)
            end.withLock { $0 = copy }
        }
        guard let copy = end.withLock({ $0 }) else { throw CommandFailure("the event log was not copied") }
        let key = key
        let logFiles = try await BlockingWork.value { try Self.write(copy, to: folder, key: key) }
        return BackupManifest(
            release: Release.version, createdAt: createdAt, engine: database.dialect.rawValue, schema: schema,
            tables: sink.tables,
            log: BackupManifest.Log(
                segments: copy.segments, archives: copy.archives, end: copy.end, files: logFiles),
            keys: try writeKeys(to: folder))
    }

    private static func end(of log: EventLog) throws -> LogCopy {
        do { return try log.copy() } catch { throw CommandFailure(error.sentence) }
    }

    private static func write(_ copy: LogCopy, to folder: String, key: BackupKey) throws -> [SealedFile.Summary] {
        try copy.parts.map { part in
            let writer = try SealedWriter(folder: folder, name: "log/" + part.name, key: key)
            var offset = 0
            while offset < part.byteCount {
                let bytes = try part.read(at: offset, count: SealedFile.frameBytesMax)
                try writer.write(bytes)
                offset += bytes.count
            }
            return try writer.finish()
        }
    }

    private func writeKeys(to target: String) throws -> SealedFile.Summary {
        var contents: [String: String] = [:]
        for name in DataFolder.keyNames {
            guard let data = FileManager.default.contents(atPath: dataPath + "/" + name) else { continue }
            contents[name] = Hex.encode(data)
        }
        let writer = try SealedWriter(folder: target, name: "keys", key: key)
        try writer.write(Array(try JSONEncoder().encode(contents)))
        return try writer.finish()
    }
}

/// Gives the gate back once, from whatever thread says so first.
private final class Hold: Sendable {
    private let gate: RelayGate
    private let isReleased = Atomic(false)

    init(_ gate: RelayGate) { self.gate = gate }

    func release() {
        guard !isReleased.exchange(true, ordering: .relaxed) else { return }
        gate.give()
    }
}
