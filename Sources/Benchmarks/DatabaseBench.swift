internal import AurumCore
package import Database
internal import Foundation
internal import Synchronization
internal import Telemetry

#if canImport(Glibc)
    internal import Glibc
#endif

/// Point reads, durable writes and a mixed load on the tables' engines, through the same calls that the server makes.
/// SQLite in a temporary file, and each PostgreSQL of `servers` in a schema of its own that is dropped afterwards.
package func databaseBench(servers: [PostgresAddress], tiny: Bool, seed: UInt64) async throws -> [BenchRow] {
    let folder = FileManager.default.temporaryDirectory.appending(path: "aurum-bench-\(UUID().uuidString)").path
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(atPath: folder) }
    let syncs = try DatabaseBench.fsyncs(in: folder, count: tiny ? 3 : 50)
    let fsync = Percentile.of(syncs, 0.5)
    var rows = [
        BenchRow(
            name: "fsync p50", value: fsync, unit: "ms", n: syncs.count,
            note: "8 KiB appended and fdatasync in the folder of temporary files")
    ]
    let sqlite = try Database.openSQLite(
        at: folder + "/bench.db", registry: MetricRegistry(), clock: SystemWallClock())
    rows += try await DatabaseBench(sqlite, "sqlite", tiny: tiny, seed: seed, fsync: fsync).run()
    try sqlite.close()
    for server in servers {
        let schema = "aurum_bench_\(getpid())"
        try await server.createSchema(schema)
        do {
            let database = try await Database.open(
                .postgres(server.inSchema(schema)), registry: MetricRegistry(), clock: SystemWallClock())
            rows += try await DatabaseBench(database, "postgres", tiny: tiny, seed: seed, fsync: fsync).run()
            try database.close()
        } catch {
            try await server.dropSchema(schema)
            throw error
        }
        try await server.dropSchema(schema)
    }
    return rows
}

private struct DatabaseBench: Sendable {
    /// Above this a disk is too slow to hold durable writes to their bars.
    private static let slowDiskMilliseconds = 10.0
    private let database: Database
    private let engine: String
    private let seed: UInt64
    private let fsync: Double
    private let keys: Int
    private let operations: Int

    init(_ database: Database, _ engine: String, tiny: Bool, seed: UInt64, fsync: Double) {
        (self.database, self.engine, self.seed, self.fsync) = (database, engine, seed, fsync)
        keys = tiny ? 100 : 10_000
        operations = tiny ? 200 : 20_000
    }

    private var isSQLite: Bool { database.dialect == .sqlite }

    func run() async throws -> [BenchRow] {
        try await database.write("bench.create") { tx in
            try tx.run("CREATE TABLE bench_rows (id BIGINT PRIMARY KEY, value BIGINT NOT NULL)")
            try tx.run("CREATE TABLE bench_bulk (id BIGINT PRIMARY KEY, value BIGINT NOT NULL)")
            try tx.run("CREATE TABLE bench_notes (id BIGINT PRIMARY KEY, row_id BIGINT NOT NULL)")
        }
        return (try await bulk()) + (try await reads()) + (try await oneRow()) + (try await fourRows())
            + (try await mixed())
    }

    /// Rows written 500 at a time: one statement a row into the table that the others read, and one statement for all
    /// of them, which is how spend, runs over the log and jobs are written.
    private func bulk() async throws -> [BenchRow] {
        let single = try await bulk { tx, ids in
            for id in ids { try tx.run("INSERT INTO bench_rows (id, value) VALUES (\(id), \(id * 7))") }
        }
        let joined = try await bulk { tx, ids in
            let json = "[" + ids.map { "[\($0),\($0 * 7)]" }.joined(separator: ",") + "]"
            try tx.run(
                .dialect(
                    sqlite: """
                        INSERT INTO bench_bulk (id, value)
                        SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each(\(json))
                        """,
                    postgres: """
                        INSERT INTO bench_bulk (id, value)
                        SELECT CAST(value->>0 AS BIGINT), CAST(value->>1 AS BIGINT)
                        FROM jsonb_array_elements(CAST(\(json) AS JSONB))
                        """))
        }
        return [
            BenchRow(
                name: "\(engine): bulk rows", value: joined, unit: "rows/s", bar: 50_000, higherIsBetter: true, n: keys,
                note: "500 a transaction and statement", notJudged: slowDisk),
            BenchRow(
                name: "\(engine): rows written 500 a transaction", value: single, unit: "rows/s", higherIsBetter: true,
                n: keys, note: "one statement a row"),
        ]
    }

    private func bulk(_ body: @escaping @Sendable (Transaction, [Int]) throws -> Void) async throws -> Double {
        let started = ContinuousClock.now
        for start in stride(from: 0, to: keys, by: 500) {
            let ids = Array(start..<min(start + 500, keys))
            try await database.write("bench.fill") { tx in try body(tx, ids) }
        }
        return Double(keys) / (ContinuousClock.now - started).seconds
    }

    private func reads() async throws -> [BenchRow] {
        let keys = keys
        let (rate, samples) = try await load(operations, workers: 32) { random, _ in
            let id = Int.random(in: 0..<keys, using: &random)
            let value = try await database.read("bench.point") { tx in
                try tx.value(Int.self, "SELECT value FROM bench_rows WHERE id = \(id)")
            }
            guard value == id * 7 else { throw BenchFailure("row \(id) holds \(value ?? -1)") }
        }
        return [
            BenchRow(
                name: "\(engine): point reads", value: rate, unit: "reads/s", bar: isSQLite ? 20_000 : 8000,
                higherIsBetter: true, n: samples.count, note: "32 readers"),
            BenchRow(
                name: "\(engine): point read p95", value: Percentile.of(samples, 0.95), unit: "ms", bar: 5,
                n: samples.count),
        ]
    }

    private var slowDisk: String? {
        fsync > Self.slowDiskMilliseconds ? "MACHINE TOO SMALL (disk): fsync p50 is above 10 ms" : nil
    }

    private func oneRow() async throws -> [BenchRow] {
        let (rate, samples) = try await load(operations / 2, workers: 64) { _, number in
            try await database.write("bench.oneRow") { tx in
                _ = try tx.run("INSERT INTO bench_notes (id, row_id) VALUES (\(number), \(number))")
            }
        }
        return [
            BenchRow(
                name: "\(engine): durable writes of one row", value: rate, unit: "tx/s", higherIsBetter: true,
                n: samples.count, note: "64 writers; p95 \(Self.text(Percentile.of(samples, 0.95))) ms")
        ]
    }

    private func fourRows() async throws -> [BenchRow] {
        let base = 10_000_000
        let (rate, samples) = try await load(operations / 2, workers: 64) { _, number in
            let id = base + number
            try await database.write("bench.fourRows") { tx in
                for part in 0..<3 {
                    _ = try tx.run("INSERT INTO bench_notes (id, row_id) VALUES (\(id * 4 + part), \(id))")
                }
                try tx.emit(
                    OutboxEvent(
                        id: UID(high: 1, low: UInt64(id)), org: "bench", key: "k", name: "bench.written", traceID: nil,
                        at: tx.now, props: ["n": .integer(Int64(id))]))
            }
        }
        return [
            BenchRow(
                name: "\(engine): durable writes of three rows and an event", value: rate, unit: "tx/s",
                bar: isSQLite ? 2000 : 1000, higherIsBetter: true, n: samples.count, note: "64 writers",
                notJudged: slowDisk),
            BenchRow(
                name: "\(engine): the same p95", value: Percentile.of(samples, 0.95), unit: "ms", bar: 50,
                n: samples.count, notJudged: slowDisk),
        ]
    }

    /// Half reads, the other half inserts, updates and deletes of single rows.
    private func mixed() async throws -> [BenchRow] {
        let (keys, base) = (keys, 1_000_000_000)
        let (rate, samples) = try await load(operations, workers: 50) { random, number in
            let id = Int.random(in: 0..<keys, using: &random)
            switch number % 6 {
            case 0:
                try await database.write("bench.insert", isolation: .readCommitted) { tx in
                    _ = try tx.run("INSERT INTO bench_notes (id, row_id) VALUES (\(base + number), \(id))")
                }
            case 1:
                try await database.write("bench.update", isolation: .readCommitted) { tx in
                    _ = try tx.run("UPDATE bench_rows SET value = value + 1 WHERE id = \(id)")
                }
            case 2:
                try await database.write("bench.delete", isolation: .readCommitted) { tx in
                    _ = try tx.run("DELETE FROM bench_notes WHERE id = \(base + number - 2)")
                }
            default:
                _ = try await database.read("bench.select") { tx in
                    try tx.value(Int.self, "SELECT value FROM bench_rows WHERE id = \(id)")
                }
            }
        }
        let mean = samples.reduce(0, +) / Double(max(1, samples.count))
        return [
            BenchRow(
                name: "\(engine): mixed, 50 at once", value: rate, unit: "queries/s", bar: 2000, higherIsBetter: true,
                n: samples.count, note: "mean \(Self.text(mean)) ms, max \(Self.text(samples.max() ?? 0)) ms",
                notJudged: slowDisk),
            BenchRow(
                name: "\(engine): mixed p95", value: Percentile.of(samples, 0.95), unit: "ms", bar: 25,
                n: samples.count, notJudged: slowDisk),
            BenchRow(
                name: "\(engine): mixed p99", value: Percentile.of(samples, 0.99), unit: "ms", bar: 50,
                n: samples.count, notJudged: slowDisk),
        ]
    }

    /// Runs `count` calls by `workers` at once. Answers calls a second and the milliseconds of each.
    private func load(
        _ count: Int, workers: Int, _ call: @escaping @Sendable (inout SeededRandom, Int) async throws -> Void
    ) async throws -> (Double, [Double]) {
        let started = ContinuousClock.now
        let samples = try await withThrowingTaskGroup(of: [Double].self) { group in
            for worker in 0..<workers {
                group.addTask {
                    var random = SeededRandom(seed: seed &+ UInt64(worker))
                    var samples: [Double] = []
                    for number in stride(from: worker, to: count, by: workers) {
                        let began = ContinuousClock.now
                        try await call(&random, number)
                        samples.append((ContinuousClock.now - began).seconds * 1000)
                    }
                    return samples
                }
            }
            return try await group.reduce(into: []) { $0 += $1 }
        }
        return (Double(samples.count) / (ContinuousClock.now - started).seconds, samples)
    }

    private static func text(_ milliseconds: Double) -> String { String(format: "%.1f", milliseconds) }

    /// Milliseconds of appending 8 KiB and waiting for the disk.
    static func fsyncs(in folder: String, count: Int) throws -> [Double] {
        let descriptor = open(folder + "/fsync", O_WRONLY | O_CREAT | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw BenchFailure("\(folder) cannot be written") }
        defer { close(descriptor) }
        let block = [UInt8](repeating: 1, count: 8192)
        return try (0..<count).map { _ in
            let started = ContinuousClock.now
            guard write(descriptor, block, block.count) == block.count, fdatasync(descriptor) == 0 else {
                throw BenchFailure("\(folder) cannot be written")
            }
            return (ContinuousClock.now - started).seconds * 1000
        }
    }
}
