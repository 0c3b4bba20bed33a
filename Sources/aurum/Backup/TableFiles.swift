internal import AurumCore
internal import Crypto
internal import Database
internal import Foundation
internal import Logging
internal import Synchronization

/// The rows of one table, counted and hashed as they pass: SHA-256 over their lines in the order of the key, which is
/// the same whatever engine they are on.
struct TableTally {
    let name: String
    let columns: [String]
    private(set) var rows = 0
    private var hash = SHA256()

    init(_ table: TableShape) { (name, columns) = (table.name, table.columns) }

    mutating func take(_ lines: [UInt8], rows count: Int) {
        hash.update(data: lines)
        rows += count
    }

    var sha256: String { Hex.encode(hash.finalize()) }
}

/// Takes the rows of each table into a sealed file of its own.
final class TableFiles: TableSink, @unchecked Sendable {  // one thread at a time: the read's
    private let folder: String
    private let key: BackupKey
    private let progress: RowProgress?
    private var writer: SealedWriter?
    private var tally: TableTally?
    private(set) var tables: [BackupManifest.Table] = []

    init(folder: String, key: BackupKey, progress: RowProgress? = nil) {
        (self.folder, self.key, self.progress) = (folder, key, progress)
    }

    func begin(_ table: TableShape) throws {
        writer = try SealedWriter(folder: folder, name: "tables/\(table.name)", key: key)
        tally = TableTally(table)
    }

    func take(_ lines: [UInt8], rows count: Int) throws {
        try writer?.write(lines)
        tally?.take(lines, rows: count)
        if let tally { progress?.passed(count, of: tally.name) }
    }

    func end() throws {
        guard let writer, let tally else { return }
        tables.append(
            .init(
                name: tally.name, columns: tally.columns, rows: tally.rows, file: try writer.finish(),
                rowsSHA256: tally.sha256))
        (self.writer, self.tally) = (nil, nil)
    }
}

/// Counts and hashes every table, and keeps nothing else of it.
final class TableTallies: TableSink, @unchecked Sendable {  // one thread at a time: the read's
    private let progress: RowProgress?
    private(set) var tables: [TableTally] = []

    init(progress: RowProgress? = nil) { self.progress = progress }

    func begin(_ table: TableShape) { tables.append(TableTally(table)) }

    func take(_ lines: [UInt8], rows count: Int) {
        guard let last = tables.indices.last else { return }
        tables[last].take(lines, rows: count)
        progress?.passed(count, of: tables[last].name)
    }

    func end() {}
}

/// The tables of a backup or an export on their way into a database.
struct TableLoading: Sendable {
    let source: String
    let key: BackupKey
    var progress: RowProgress?

    /// - Throws: a sentence that names the file where one is not what the list says.
    func run(_ tables: [BackupManifest.Table], into target: RestoreTarget) async throws {
        for table in tables {
            let reader = try SealedReader(folder: source, name: table.file.path, key: key)
            var waiting: [UInt8] = []
            var rows = 0
            while let bytes = try reader.next() {
                waiting += bytes
                guard let end = waiting.lastIndex(of: UInt8(ascii: "\n")) else { continue }
                let count = try await target.load(table.name, columns: table.columns, lines: Array(waiting[...end]))
                waiting.removeSubrange(...end)
                rows += count
                progress?.passed(count, of: table.name)
            }
            try reader.finish(table.file)
            guard rows == table.rows, waiting.isEmpty else {
                throw CommandFailure("the table \(table.name) has \(rows) rows where the list says \(table.rows)")
            }
        }
    }
}

/// Says in the log how far long work has come, every few seconds.
final class RowProgress: Sendable {
    private static let every: Duration = .seconds(5)

    private struct State {
        var rows = 0
        var saidAt = ContinuousClock.now
    }

    private let step: String
    private let logger: Logger
    private let state = Mutex(State())

    /// - Parameter step: what is done with the rows: `export`, `import`, `compare`.
    init(_ step: String, _ logger: Logger) { (self.step, self.logger) = (step, logger) }

    func passed(_ count: Int, of table: String) {
        let due: Int? = state.withLock { state in
            state.rows += count
            guard ContinuousClock.now - state.saidAt >= Self.every else { return nil }
            state.saidAt = ContinuousClock.now
            return state.rows
        }
        guard let due else { return }
        logger.info(
            "records are on their way",
            metadata: ["code": "records_moving", "step": "\(step)", "table": "\(table)", "rows": "\(due)"])
    }
}
