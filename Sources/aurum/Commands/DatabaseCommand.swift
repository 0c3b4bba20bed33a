internal import ArgumentParser
internal import AurumCore
internal import Database
internal import Foundation

/// Looks at the home of the records and brings its schema up to date.
struct DatabaseCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "database", abstract: "Where the records are, the schema they have, and what is asked of them.",
        discussion: """
            AURUM_DATABASE_URL says where: sqlite (aurum.db in the data folder), sqlite:///PATH or postgres://….
            A server migrates when it starts; `migrate` does so before. docs/database.md has the whole of it.
            """,
        subcommands: [Status.self, Migrate.self, Export.self, Import.self, Queries.self, Rejected.self])

    private struct Report: Encodable {
        let place: String
        let engine: String
        let version: Int
        let applied: [Schema.Step]
        let pending: [Schema.Step]
        let unfinished: String?
        let migrating: String?

        init(_ location: DatabaseLocation, _ schema: Schema) {
            (place, engine) = (location.shown, schema.engine)
            (applied, pending, unfinished) = (schema.applied, schema.pending, schema.unfinished)
            migrating = schema.migrating
            version = schema.applied.last?.version ?? 0
        }
    }

    struct Status: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Place, engine, schema version and what is missing; changes nothing.")

        @OptionGroup var options: ConfigurationOptions
        @Flag(name: .long, help: "Print JSON.")
        var json = false

        func run() async throws {
            let location = try await options.read().databaseLocation()
            let schema = try await Openings.databaseErrors(location) {
                try await Schema.look(at: location, waits: false)
            }
            let report = Report(location, schema)
            if json { return try Output.json(report) }
            Output.line("place    \(report.place)")
            Output.line("engine   \(report.engine)")
            Output.line("schema   \(report.version), \(report.applied.count) migrations applied")
            Output.line("pending  \(report.pending.isEmpty ? "none" : DatabaseCommand.names(report.pending))")
            if let unfinished = report.unfinished { Output.line("closed   \(unfinished)") }
            if let node = report.migrating { Output.line("migrates \(node); others wait, at most ten minutes") }
        }
    }

    struct Migrate: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Apply missing migrations. On SQLite only while no server runs.",
            discussion: """
                There is no way back but a backup. SQLite is copied before, to a file next to it with .schema-NNNN; on \
                PostgreSQL make a backup yourself and say so with --backup-done, unless there is nothing in it yet.
                """)

        @OptionGroup var options: ConfigurationOptions
        @Flag(name: .long, help: "Print what would be applied, and stop.")
        var dryRun = false
        @Option(name: .long, help: "Apply no migration above this number.")
        var to: Int?
        @Flag(name: .long, help: "A backup of the PostgreSQL database was made.")
        var backupDone = false

        func run() async throws {
            let configuration = try await options.read()
            let location = try configuration.databaseLocation()
            let before = try await Openings.databaseErrors(location) { try await Schema.look(at: location) }
            let last = to ?? .max
            let wanted = before.pending.filter { $0.version <= last }
            guard !wanted.isEmpty else { return Output.line("nothing to apply: \(location.shown) is up to date") }
            if dryRun { return Output.line("would apply \(DatabaseCommand.names(wanted))") }
            guard location.dialect == .sqlite || before.applied.isEmpty || backupDone else {
                throw CommandFailure(
                    "there is no way back from a migration: make a backup (aurum backup create, or pg_dump), then give "
                        + "--backup-done")
            }
            // A server that runs has the file open and believes in its schema.
            let folder = try location.dialect == .sqlite ? DataFolder(configuration) : nil
            try await Openings.databaseErrors(location) {
                try await Schema.migrate(location, upTo: last, clock: SystemWallClock())
            }
            withExtendedLifetime(folder) {}
            Output.line("applied \(DatabaseCommand.names(wanted))")
        }
    }

    private static func names(_ steps: [Schema.Step]) -> String {
        steps.map { "\(String(format: "%04d", $0.version))_\($0.name)" }.joined(separator: ", ")
    }
}
