internal import AurumCore
internal import Database
internal import Runtime
internal import Synchronization
internal import Telemetry

/// One process that takes a lock on Redis and writes under it into PostgreSQL, as whoever else has the same lock does.
/// A test stops one of them in the middle: what it writes later must be refused by its fence.
package enum LockHold {
    /// Short, so that whoever comes next need not wait half a minute for one that is gone.
    package static let lease: Duration = .seconds(2)
    private static let wait: Duration = .seconds(60)
    /// Between looks whether it may write.
    private static let poll: Duration = .milliseconds(20)
    private static let key = LockKey(owner: "bench", "held")
    private static let resource = "bench.held"

    /// Makes the tables of a holder and of those that let it write, in the schema of the product.
    package static func prepare(_ url: String) async throws {
        let database = try await open(url)
        defer { try? database.close() }
        try await database.write("bench.heldTables") { tx in
            try tx.run("CREATE TABLE held_orders (name TEXT PRIMARY KEY)")
            try tx.run("CREATE TABLE held_writes (name TEXT PRIMARY KEY, fence BIGINT NOT NULL)")
        }
    }

    /// Lets a holder write.
    package static func order(_ name: String, _ url: String) async throws {
        let database = try await open(url)
        defer { try? database.close() }
        try await database.write("bench.heldOrder") { try $0.run("INSERT INTO held_orders (name) VALUES (\(name))") }
    }

    /// Who wrote, in the order of their fences.
    package static func writers(_ url: String) async throws -> [String] {
        let database = try await open(url)
        defer { try? database.close() }
        return try await database.read("bench.heldWriters") {
            try $0.values(String.self, "SELECT name FROM held_writes ORDER BY fence")
        }
    }

    /// A process: takes the lock, says `held FENCE`, waits until it may write, and says `wrote FENCE` or
    /// `refused FENCE`.
    /// - Parameter place: its name, the URL of PostgreSQL and that of Redis, with `#` between them.
    package static func work(_ place: String, say: @escaping @Sendable (String) -> Void) async throws {
        let parts = place.split(separator: "#", maxSplits: 2).map(String.init)
        guard parts.count == 3 else { throw BenchFailure("a holder needs NAME#POSTGRES#REDIS") }
        let (name, database) = (parts[0], try await open(parts[1]))
        defer { try? database.close() }
        try await FleetNode.with(parts[2], fences: SQLFences(database: database)) { node in
            var options = LockOptions(wait: wait)
            options.lease = lease
            let drawn = Mutex<Fence?>(nil)
            do {
                try await node.lock.withLock(key, options) { held in
                    drawn.withLock { $0 = held.fence }
                    say("held \(held.fence.rawValue)")
                    while try await !isOrdered(name, database) { try await Task.sleep(for: poll) }
                    try await write(name, held.fence, database, say)
                }
            } catch LockError.lost {
                // It goes on as if it still had the lock: only the fence is between it and the data.
                guard let fence = drawn.withLock({ $0 }) else { return }
                try await write(name, fence, database, say)
            }
        }
    }

    private static func isOrdered(_ name: String, _ database: Database) async throws -> Bool {
        try await database.read("bench.heldOrdered") {
            try $0.value(Int.self, "SELECT COUNT(*) FROM held_orders WHERE name = \(name)") == 1
        }
    }

    private static func write(
        _ name: String, _ fence: Fence, _ database: Database, _ say: @Sendable (String) -> Void
    ) async throws {
        do {
            try await database.write("bench.heldWrite") { tx in
                try tx.guarded(resource, by: fence)
                try tx.run("INSERT INTO held_writes (name, fence) VALUES (\(name), \(fence.rawValue))")
            }
            say("wrote \(fence.rawValue)")
        } catch SQLError.staleFence { say("refused \(fence.rawValue)") }
    }

    private static func open(_ url: String) async throws -> Database {
        let location = try DatabaseLocation(url: url, requireTLS: true)
        return try await Database.open(location, registry: MetricRegistry(), clock: SystemWallClock())
    }
}
