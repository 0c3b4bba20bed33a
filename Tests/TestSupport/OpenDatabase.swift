internal import AurumCore
package import Database
package import Telemetry

/// A real SQLite file of its own, with the newest schema.
package struct OpenDatabase: Sendable {
    package let folder: TemporaryFolder
    package let database: Database
    package let clock: ManualWallClock
    package let registry: MetricRegistry

    package init(clock: ManualWallClock = ManualWallClock()) throws {
        folder = TemporaryFolder()
        registry = MetricRegistry()
        self.clock = clock
        database = try Database.openSQLite(at: folder.file("aurum.db"), registry: registry, clock: clock)
    }
}
