package import AurumCore
package import Database
package import Logging
internal import ServiceLifecycle
internal import Synchronization

/// A breaker that a person holds.
package struct BreakerHold: Sendable, Equatable {
    package enum Kind: String, Sendable {
        /// Held open: no call goes out.
        case isolated
        /// Kept from opening: every call goes out.
        case observed
    }

    package let name: String
    package let kind: Kind
    /// The key of the person.
    package let actor: String
    package let since: Timestamp
}

/// Breakers that people hold open, in the table `isolated_breakers`, or keep from opening, in `observed_breakers`: they
/// stay so through restarts and in every process on the database until somebody releases them.
///
/// A change is written first and then read back, so that every process does what the table says, whatever order
/// changes and reads came in.
package final class BreakerHolds: Service {
    /// How often the table is looked at where nobody heard of a change.
    package static let interval: Duration = .seconds(5)

    private struct State: Sendable {
        var begun: UInt64 = 0
        /// The newest read whose rows were taken over: an older one may not know of the last change.
        var taken: UInt64 = 0
        var holds: [String: BreakerHold] = [:]
    }

    private struct HoldRow: RowDecodable, Sendable {
        let hold: BreakerHold

        init(row: Row) throws {
            guard let kind = BreakerHold.Kind(rawValue: try row.get("kind")) else {
                throw RowError.wrongType(column: "kind", expected: "a kind", found: "text")
            }
            hold = BreakerHold(
                name: try row.get("name"), kind: kind, actor: try row.get("actor"), since: try row.get("created_at"))
        }
    }

    private let database: Database
    private let guards: GuardBook
    private let logger: Logger
    private let state = Mutex(State())

    /// Isolates what was isolated when the last process ended, before anything is called.
    package init(database: Database, guards: GuardBook, logger: Logger) async throws {
        (self.database, self.guards, self.logger) = (database, guards, logger)
        try await reload()
    }

    /// What is held, by name.
    package var holds: [String: BreakerHold] { state.withLock { $0.holds } }

    /// Holds a breaker open until it is released. False when nothing of that name was ever called here.
    package func isolate(_ name: String, actor: String) async throws -> Bool {
        guard guards.knows(name) else { return false }
        try await database.write("breakers.isolate") { tx in
            try tx.run("DELETE FROM observed_breakers WHERE name = \(name)")
            try tx.run(
                """
                INSERT INTO isolated_breakers (name, actor, created_at) VALUES (\(name), \(actor), \(tx.now))
                ON CONFLICT (name) DO NOTHING
                """)
        }
        try await changed(name, actor, "breaker_isolated")
        return true
    }

    /// Keeps a breaker from opening until it is released. False when nothing of that name was ever called
    /// here.
    package func observe(_ name: String, actor: String) async throws -> Bool {
        guard guards.knows(name) else { return false }
        try await database.write("breakers.observe") { tx in
            try tx.run("DELETE FROM isolated_breakers WHERE name = \(name)")
            try tx.run(
                """
                INSERT INTO observed_breakers (name, actor, created_at) VALUES (\(name), \(actor), \(tx.now))
                ON CONFLICT (name) DO NOTHING
                """)
        }
        try await changed(name, actor, "breaker_observed")
        return true
    }

    /// Lets it decide by itself again. False when nothing of that name was ever called here nor is held.
    package func release(_ name: String, actor: String) async throws -> Bool {
        guard guards.knows(name) || holds[name] != nil else { return false }
        try await database.write("breakers.release") { tx in
            try tx.run("DELETE FROM isolated_breakers WHERE name = \(name)")
            try tx.run("DELETE FROM observed_breakers WHERE name = \(name)")
        }
        try await changed(name, actor, "breaker_released")
        return true
    }

    private func changed(_ name: String, _ actor: String, _ code: String) async throws {
        database.announce(.breakers)
        logger.notice(
            "a person turned a breaker", metadata: ["code": "\(code)", "breaker": "\(name)", "actor": "\(actor)"])
        try await reload()
    }

    /// Does what the table says.
    package func reload() async throws {
        let number = state.withLock { state in
            state.begun += 1
            return state.begun
        }
        let rows = try await database.read("breakers.held") { tx in
            try tx.all(
                HoldRow.self,
                """
                SELECT name, 'isolated' AS kind, actor, created_at FROM isolated_breakers
                UNION ALL SELECT name, 'observed', actor, created_at FROM observed_breakers
                    WHERE NOT EXISTS (SELECT 1 FROM isolated_breakers
                        WHERE isolated_breakers.name = observed_breakers.name)
                ORDER BY name
                """
            ).map(\.hold)
        }
        state.withLock { state in
            // A later read saw everything that this one did, and more.
            guard number > state.taken else { return }
            state.taken = number
            state.holds = Dictionary(uniqueKeysWithValues: rows.map { ($0.name, $0) })
            guards.hold(
                only: Set(rows.filter { $0.kind == .isolated }.map(\.name)),
                observing: Set(rows.filter { $0.kind == .observed }.map(\.name)))
        }
    }

    /// Follows other processes on the same database, and takes up a change whose reading failed.
    package func run() async throws {
        await cancelWhenGracefulShutdown { [self] in
            await withTaskGroup(of: Void.self) { group in
                group.addTask { for await _ in self.database.announcements(.breakers) { await self.follow() } }
                group.addTask {
                    while (try? await Task.sleep(for: Self.interval)) != nil { await self.follow() }
                }
                await group.waitForAll()
            }
        }
    }

    private func follow() async {
        do { try await reload() } catch {
            guard !Task.isCancelled else { return }
            logger.warning(
                "breakers that other processes turned could not be read",
                metadata: ["code": "breakers_not_read", "error": "\(error)"])
        }
    }
}
