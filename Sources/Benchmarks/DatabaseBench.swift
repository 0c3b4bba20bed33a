internal import AurumCore
package import Database
internal import Foundation
internal import Synchronization
internal import Telemetry

#if canImport(Glibc)
    internal import Glibc
#endif

/// Point reads, durable writes, a mixed load and what the product writes on the tables' engines, through the same
/// calls that the server makes, and beside the engines alone. SQLite in a temporary file, and each PostgreSQL of
/// `servers` in a schema of its own that is dropped afterwards; without one a PostgreSQL that is started for it,
/// where it is installed.
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
    rows += try await DatabaseBench(sqlite, .sqlite, tiny: tiny, seed: seed, fsync: fsync, folder: folder).run()
    try sqlite.close()
    guard servers.isEmpty else {
        for server in servers { rows += try await postgresRows(server, tiny, seed, fsync, folder) }
        return rows
    }
    guard LocalPostgres.isInstalled else {
        let why = "not measured: AURUM_DATABASE_URL names no PostgreSQL, and its programs are not installed"
        rows.append(BenchRow(name: "postgres: point reads", value: 0, unit: "reads/s", bar: 8000, n: 0, notJudged: why))
        return rows
    }
    let local = try await LocalPostgres.start(isDurable: true)
    do {
        guard case .postgres(let address) = try await local.newSchema("bench") else { return rows }
        rows += try await postgresRows(address, tiny, seed, fsync, folder)
    } catch {
        await local.endApart()
        throw error
    }
    await local.endApart()
    return rows
}

/// In a schema of its own of a server.
private func postgresRows(
    _ server: PostgresAddress, _ tiny: Bool, _ seed: UInt64, _ fsync: Double, _ folder: String
) async throws -> [BenchRow] {
    let schema = "aurum_bench_\(getpid())"
    try await server.createSchema(schema)
    let rows: [BenchRow]
    do {
        let address = server.inSchema(schema)
        let database = try await Database.open(.postgres(address), registry: MetricRegistry(), clock: SystemWallClock())
        rows = try await DatabaseBench(
            database, .postgres(address), tiny: tiny, seed: seed, fsync: fsync, folder: folder
        ).run()
        try database.close()
    } catch {
        try await server.dropSchema(schema)
        throw error
    }
    try await server.dropSchema(schema)
    return rows
}

private struct DatabaseBench: Sendable {
    /// Above this a disk is too slow to hold durable writes to their bars.
    private static let slowDiskMilliseconds = 10.0
    private static let readers = 32
    private static let writers = 64

    enum Place {
        case sqlite
        case postgres(PostgresAddress)
    }

    private let database: Database
    private let place: Place
    private let engine: String
    private let folder: String
    private let tiny: Bool
    private let seed: UInt64
    private let fsync: Double
    private let keys: Int
    private let operations: Int

    init(_ database: Database, _ place: Place, tiny: Bool, seed: UInt64, fsync: Double, folder: String) {
        (self.database, self.place, self.seed, self.fsync) = (database, place, seed, fsync)
        (self.tiny, self.folder) = (tiny, folder)
        engine = database.dialect == .sqlite ? "sqlite" : "postgres"
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
        let filled = try await bulk()
        let (reads, readRate) = try await reads()
        let (writes, writeRate) = try await oneRow()
        let product = ProductBench(
            database: database, engine: engine, leads: tiny ? 20 : 2000, folder: folder, notJudged: slowDisk)
        return filled + reads + writes + (try await peers(readRate, writeRate)) + (try await fourRows())
            + (try await mixed()) + (try await connections()) + (try await product.run())
    }

    /// The same statements without what is around the engine: GRDB alone with as many callers, and pgbench.
    private func peers(_ reads: Double, _ writes: Double) async throws -> [BenchRow] {
        let (alone, name, bar): ((reads: Double, writes: Double)?, String, Double)
        switch place {
        case .sqlite: (alone, name, bar) = (try await sqlitePeer(), "GRDB alone", 1 / 1.25)
        case .postgres(let address): (alone, name, bar) = (try await postgresPeer(address), "pgbench", 1 / 1.35)
        }
        let missing = "not measured: pgbench is not on this machine"
        return [("point reads", reads, alone?.reads), ("durable writes of one row", writes, alone?.writes)].map {
            what, own, peer in
            BenchRow(
                name: "\(engine): \(what), of \(name)", value: own / (peer ?? .infinity), unit: "of its rate", bar: bar,
                higherIsBetter: true, n: operations / 2,
                note: peer.map { String(format: "%.0f a second by \(name) in this run", $0) } ?? "",
                notJudged: peer == nil ? missing : tiny ? "too few" : nil)
        }
    }

    private func sqlitePeer() async throws -> (reads: Double, writes: Double) {
        let (keys, peer) = (keys, try SQLitePeer(path: folder + "/peer.db", rows: keys))
        let (reads, _) = try await load(operations, workers: Self.readers) { random, _ in
            let id = Int.random(in: 0..<keys, using: &random)
            guard try await peer.read(id) == id * 7 else { throw BenchFailure("row \(id) holds something else") }
        }
        let (writes, _) = try await load(operations / 2, workers: Self.writers) { _, number in
            try await peer.write(number)
        }
        try peer.close()
        return (reads, writes)
    }

    private func postgresPeer(_ address: PostgresAddress) async throws -> (reads: Double, writes: Double)? {
        // As many connections as the pool has at most, for as many callers as there are here.
        let clients = PostgresPoolSettings().connectionsMax
        let each = max(10, operations * 2 / clients)
        do {
            guard
                let reads = try await address.pgbench(
                    "\\set id random(0, \(keys - 1))\nSELECT value FROM bench_rows WHERE id = :id;\n",
                    clients: clients, each: each),
                let writes = try await address.pgbench(
                    "\\set id random(1000000000000, 9000000000000000000)\n"
                        + "INSERT INTO bench_notes (id, row_id) VALUES (:id, 1);\n",
                    clients: clients, each: each)
            else { return nil }
            return (reads, writes)
        } catch let failure as LocalPostgres.Failure { throw BenchFailure(failure.description) }
    }

    /// A hundred callers who come at once and each want a transaction of their own: all are served, by a pool within
    /// its bounds.
    private func connections() async throws -> [BenchRow] {
        let (database, callers, base) = (database, 100, 2_000_000_000)
        let failed = Atomic<Int>(0)
        let (_, samples) = try await load(tiny ? callers : callers * 20, workers: callers) { _, number in
            do {
                try await database.write("bench.connection", isolation: .readCommitted) { tx in
                    _ = try tx.run("INSERT INTO bench_notes (id, row_id) VALUES (\(base + number), 1)")
                    _ = try tx.value(Int.self, "SELECT value FROM bench_rows WHERE id = 1")
                }
            } catch is SQLError { failed.add(1, ordering: .relaxed) }
        }
        let pool = database.figures
        let isOver = pool.connections > pool.connectionsMax
        return [
            BenchRow(
                name: "\(engine): not served of \(callers) at once",
                value: Double(failed.load(ordering: .relaxed)) + (isOver ? 1 : 0), unit: "calls", bar: 0,
                n: samples.count,
                note: "a transaction each, floor 50; connections \(pool.connections) of \(pool.connectionsMax); p95 "
                    + "\(Self.text(Percentile.of(samples, 0.95))) ms")
        ]
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

    private func reads() async throws -> (rows: [BenchRow], rate: Double) {
        let keys = keys
        let (rate, samples) = try await load(operations, workers: Self.readers) { random, _ in
            let id = Int.random(in: 0..<keys, using: &random)
            let value = try await database.read("bench.point") { tx in
                try tx.value(Int.self, "SELECT value FROM bench_rows WHERE id = \(id)")
            }
            guard value == id * 7 else { throw BenchFailure("row \(id) holds \(value ?? -1)") }
        }
        let rows = [
            BenchRow(
                name: "\(engine): point reads", value: rate, unit: "reads/s", bar: isSQLite ? 20_000 : 8000,
                higherIsBetter: true, n: samples.count, note: "32 readers"),
            BenchRow(
                name: "\(engine): point read p95", value: Percentile.of(samples, 0.95), unit: "ms", bar: 5,
                n: samples.count),
        ]
        return (rows, rate)
    }

    private var slowDisk: String? {
        fsync > Self.slowDiskMilliseconds ? "MACHINE TOO SMALL (disk): fsync p50 is above 10 ms" : nil
    }

    private func oneRow() async throws -> (rows: [BenchRow], rate: Double) {
        let (rate, samples) = try await load(operations / 2, workers: Self.writers) { _, number in
            try await database.write("bench.oneRow") { tx in
                _ = try tx.run("INSERT INTO bench_notes (id, row_id) VALUES (\(number), \(number))")
            }
        }
        let rows = [
            BenchRow(
                name: "\(engine): durable writes of one row", value: rate, unit: "tx/s",
                bar: isSQLite ? 2000 : 1000, higherIsBetter: true, n: samples.count,
                note: "64 writers; p95 \(Self.text(Percentile.of(samples, 0.95))) ms", notJudged: slowDisk)
        ]
        return (rows, rate)
    }

    private func fourRows() async throws -> [BenchRow] {
        let base = 10_000_000
        let (rate, samples) = try await load(operations / 2, workers: Self.writers) { _, number in
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
                n: samples.count, note: "floor 200; max \(Self.text(samples.max() ?? 0)) ms, floor 100 ms",
                notJudged: slowDisk),
            BenchRow(
                name: "\(engine): mixed mean", value: mean, unit: "ms", bar: 10, n: samples.count, note: "floor 50 ms",
                notJudged: slowDisk),
            BenchRow(
                name: "\(engine): mixed p95", value: Percentile.of(samples, 0.95), unit: "ms", bar: 25,
                n: samples.count, notJudged: slowDisk),
            BenchRow(
                name: "\(engine): mixed p99", value: Percentile.of(samples, 0.99), unit: "ms", bar: 50,
                n: samples.count, notJudged: slowDisk),
        ]
    }

    private func load(
        _ count: Int, workers: Int, _ call: @escaping @Sendable (inout SeededRandom, Int) async throws -> Void
    ) async throws -> (Double, [Double]) {
        try await BenchLoad.run(count, workers: workers, seed: seed, call)
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
