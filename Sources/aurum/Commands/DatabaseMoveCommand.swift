internal import ArgumentParser
internal import AurumCore
internal import Database
internal import Foundation
internal import Telemetry

extension DatabaseCommand {
    /// Writes the tables of record to a folder.
    struct Export: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Write the tables of record to a folder, to move them to another database.",
            discussion: """
                For a server that is stopped: event log, keys and exports stay in the data folder and are no part of \
                it. The files are those of a backup, sealed with backup.key of the data folder, which is made where it \
                is missing. Then give AURUM_DATABASE_URL the new database and run aurum database import.
                Example: aurum database export /mnt/move
                """)

        @OptionGroup var options: ConfigurationOptions
        @Argument(help: "The folder to write; it must not exist, or be empty.")
        var folder: String
        @Flag(name: .long, help: "Print JSON.")
        var json = false

        /// What keeps the tables from being exported, and the command that helps; nil for a whole database.
        private static func refusal(_ schema: Schema, _ location: DatabaseLocation) -> String? {
            if schema.unfinished != nil {
                return "\(location.shown) is half filled: a restore or an import into it did not finish, so there is "
                    + "nothing whole to export. If it was an import, run the same `aurum database import` again; if it "
                    + "was a restore, make the database empty and run `aurum restore` again"
            }
            guard let newest = schema.applied.map(\.version).max() else {
                return "\(location.shown) holds no tables of Aurum: there is nothing to export. Say with "
                    + "AURUM_DATABASE_URL or --data-dir where the records are; `aurum database status` shows what is "
                    + "found there"
            }
            guard let last = schema.pending.map(\.version).max() else { return nil }
            let command = "aurum database migrate" + (location.dialect == .postgres ? " --backup-done" : "")
            let backup = location.dialect == .postgres ? "make a backup of it, " : ""
            return "\(location.shown) has schema \(newest), and an export needs that of this release, \(last) "
                + "(missing: \(schema.pending.count)): \(backup)run `\(command)`, then export again"
        }

        func run() async throws {
            let configuration = try await options.read()
            let location = try configuration.databaseLocation()
            let schema = try await Openings.databaseErrors(location) { try await Schema.look(at: location) }
            if let reason = Self.refusal(schema, location) { throw CommandFailure(reason) }
            let data = try DatabaseCommand.hold(configuration)
            let target = URL(fileURLWithPath: folder).standardizedFileURL.path
            // Before a key is made, of which only an export that was written tells.
            try WholeFolder.check(target, for: "an export")
            let keyPath = DataFolder.backupKeyPath(in: data.path)
            let (key, isNew) = try BackupKey.readOrMake(keyPath)
            let clock = SystemWallClock()
            let database = try await Openings.database(configuration, registry: MetricRegistry(), clock: clock)
            defer { try? database.close() }
            let job = RecordsExport(
                database: database, key: key, clock: clock, isAlone: location.dialect == .sqlite)
            let manifest = try await Openings.databaseErrors(location) { try await job.run(to: target) }
            withExtendedLifetime(data) {}
            var notes: [String] = []
            if isNew { notes.append("made the key \(keyPath): the import needs it, and so do backups; keep a copy") }
            DatabaseCommand.show(
                manifest, json: json, key: "folder", place: target,
                sentence:
                    "exported \(manifest.tables.count) tables with \(manifest.rows) rows from \(location.shown) to "
                    + target, notes: notes)
        }
    }

    /// Puts an export into an empty database.
    struct Import: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Put an export into an empty database, of either engine, and compare the two.",
            discussion: """
                Into the database of AURUM_DATABASE_URL, while no server runs. Rows and hash of every table must be \
                those of the export. Whatever stops it leaves a database that no server opens; the same command begins \
                again.
                Example: AURUM_DATABASE_URL=postgres:///aurum aurum database import /mnt/move
                """)

        @OptionGroup var options: ConfigurationOptions
        @OptionGroup var keyOption: BackupKeyOption
        @Argument(help: "The folder of the export.")
        var folder: String
        @Flag(name: .long, help: "Print JSON.")
        var json = false

        func run() async throws {
            let configuration = try await options.read()
            let location = try configuration.databaseLocation()
            let key = try keyOption.key(configuration)
            let data = try DatabaseCommand.hold(configuration)
            let source = URL(fileURLWithPath: folder).standardizedFileURL.path
            let job = RecordsImport(source: source, key: key, clock: SystemWallClock())
            let manifest = try await Openings.databaseErrors(location) { try await job.run(into: location) }
            withExtendedLifetime(data) {}
            var notes: [String] = []
            if !FileManager.default.fileExists(atPath: data.logPath) {
                notes.append(
                    "the data folder \(data.path) holds no event log: bring the whole data folder of the old site here "
                        + "before a server starts, for its log and its keys belong to these records")
            }
            DatabaseCommand.show(
                manifest, json: json, key: "database", place: location.shown,
                sentence: "imported \(manifest.tables.count) tables with \(manifest.rows) rows into \(location.shown); "
                    + "rows and hash of every table are those of the export", notes: notes)
        }
    }

    /// Takes the data folder, and records that are a file, for this process: no server may write to the old database or
    /// the new one meanwhile.
    private static func hold(_ configuration: AurumConfiguration) throws -> DataFolder {
        do { return try DataFolder(configuration) } catch DataFolderError.inUse(let path, let pid) {
            throw inUse(by: pid, "the data folder \(path)")
        } catch DataFolderError.recordsInUse(let path, let pid) { throw inUse(by: pid, "the records in \(path)") }
    }

    private static func inUse(by pid: String, _ what: String) -> CommandFailure {
        CommandFailure(
            "another aurum (process \(pid)) uses \(what): stop it first, for what it writes meanwhile would not be "
                + "moved")
    }

    private static func show(
        _ manifest: BackupManifest, json: Bool, key: String, place: String, sentence: String, notes: [String]
    ) {
        guard json else {
            let rows = manifest.tables.map { [$0.name, String($0.rows), $0.rowsSHA256 ?? ""] }
            for line in TextTable.lines([["table", "rows", "sha256"]] + rows) { Output.line(line) }
            for line in [sentence] + notes { Output.line(line) }
            return
        }
        var answer = Backups.summary(manifest).object ?? [:]
        answer["tables"] = .array(
            manifest.tables.map {
                [
                    "name": .string($0.name), "rows": .integer(Int64($0.rows)),
                    "sha256": .string($0.rowsSHA256 ?? ""),
                ]
            })
        answer[key] = .string(place)
        if !notes.isEmpty { answer["notes"] = .array(notes.map { .string($0) }) }
        Output.line(JSONValue.object(answer).canonical)
    }
}
