package import AurumCore
package import Database
internal import Foundation
package import Telemetry

/// A real database of its own with the newest schema: a SQLite file, or a schema of a real PostgreSQL server.
package struct OpenDatabase: Sendable {
    package let folder: TemporaryFolder
    package let database: Database
    package let clock: ManualWallClock
    package let registry: MetricRegistry

    /// - Parameter engine: SQLite, unless `TEST_DATABASE=postgres` runs the suites on the other.
    package init(clock: ManualWallClock = ManualWallClock(), on engine: Dialect = .ofTestRun) throws {
        folder = TemporaryFolder()
        registry = MetricRegistry()
        self.clock = clock
        database = try .forTest(at: folder.file("aurum.db"), on: engine, registry: registry, clock: clock)
    }
}

extension Dialect {
    /// The engine of the suites that do not name one.
    package static var ofTestRun: Dialect {
        ProcessInfo.processInfo.environment["TEST_DATABASE"].flatMap(Dialect.init(rawValue:)) ?? .sqlite
    }
}

extension Database {
    /// The file `path` or, on PostgreSQL, a schema that stands for it: the same path is the same database.
    package static func forTest(
        at path: String, on engine: Dialect = .ofTestRun, pool: PostgresPoolSettings? = nil, registry: MetricRegistry,
        clock: any WallClock
    ) throws -> Database {
        guard engine == .postgres else { return try openSQLite(at: path, registry: registry, clock: clock) }
        let server = try PostgresServer.shared()
        let known = path + ".url"
        var url = try? String(contentsOfFile: known, encoding: .utf8)
        if url == nil {
            let made = try server.newURL()
            try made.write(toFile: known, atomically: true, encoding: .utf8)
            url = made
        }
        var settings = pool ?? PostgresPoolSettings()
        // Many databases share one server in a test run.
        if pool == nil {
            (settings.connectionsMin, settings.connectionsMax, settings.acquireTimeout) = (0, 8, .seconds(30))
        }
        guard case .postgres(let address) = try DatabaseLocation(url: url ?? "", requireTLS: true) else {
            throw PostgresServer.Failure(description: "\(url ?? "") is no PostgreSQL")
        }
        return try openPostgres(address, pool: settings, registry: registry, clock: clock)
    }
}
