internal import AurumCore
internal import Database
internal import Events
internal import Foundation
internal import Logging
internal import Telemetry

/// Writes the tables of a site that stands still to a folder: the files of a backup without log and keys, sealed and
/// signed alike, since who moves a database leaves the data folder where it is.
struct RecordsExport: Sendable {
    let database: Database
    let key: BackupKey
    let clock: any WallClock
    /// Whether nobody else can have the database open, so that no server need be looked for.
    let isAlone: Bool
    var logger = Logger(label: "backup")

    /// - Throws: a sentence when the folder is not empty, or while a server writes to the database: what it wrote
    ///   behind the export would be lost, and what its relay delivered would be delivered again.
    func run(to target: String) async throws -> BackupManifest {
        let began = ContinuousClock.now
        let manifest = try await WholeFolder.make(target, for: "an export", parts: ["/tables"]) { folder in
            try await refuseServers()
            let createdAt = clock.now.rfc3339
            let sink = TableFiles(folder: folder, key: key, progress: RowProgress("export", logger))
            let schema = try await database.dump(to: sink) {}
            // One that has started meanwhile has written its row.
            try await refuseServers()
            let manifest = BackupManifest(
                release: Release.version, createdAt: createdAt, engine: database.dialect.rawValue, schema: schema,
                tables: sink.tables)
            try manifest.write(to: folder, key: key)
            return manifest
        }
        logger.info(
            "the records were exported",
            metadata: [
                "code": "records_exported", "rows": "\(manifest.rows)", "bytes": "\(manifest.bytes)",
                "seconds": "\((ContinuousClock.now - began).seconds)",
            ])
        return manifest
    }

    private func refuseServers() async throws {
        guard !isAlone, let since = try await database.sinceLastProbe(now: clock.now), since < Database.aliveWithin
        else { return }
        throw CommandFailure(
            "a server works with this database (it wrote \(max(0, Int(since.seconds))) s ago): stop every server of it "
                + "and wait \(Int(Database.aliveWithin.seconds)) s after one that was killed; nothing was exported")
    }
}

/// Puts an export into an empty database, and holds what is then in it to what the export says.
struct RecordsImport: Sendable {
    let source: String
    let key: BackupKey
    let clock: any WallClock
    var logger = Logger(label: "backup")

    /// - Throws: a sentence when a file is damaged or missing, the schemas differ or the database holds rows: it is
    ///   then as it was. Whatever goes wrong later leaves it unfinished, which nothing opens but another import.
    func run(into location: DatabaseLocation) async throws -> BackupManifest {
        let began = ContinuousClock.now
        let (source, key) = (source, key)
        // All of it before the database is touched.
        let (manifest, problems) = try await BlockingWork.value { try BackupCheck(source: source, key: key).run() }
        guard problems.isEmpty else {
            throw CommandFailure(problems.joined(separator: "; ") + "; nothing was imported")
        }
        guard manifest.log == nil else {
            throw CommandFailure("\(source) is a backup of a whole site; put it back with aurum restore")
        }
        do {
            try await fits(manifest, location)
            try await fill(location, manifest)
        } catch SQLError.schema(let reason) {
            throw CommandFailure("\(location.shown) cannot take the import: \(reason)")
        }
        logger.info(
            "the records were imported",
            metadata: [
                "code": "records_imported", "rows": "\(manifest.rows)",
                "seconds": "\((ContinuousClock.now - began).seconds)",
            ])
        return manifest
    }

    /// Rows of one schema are compared with rows of the same: so there is no migration between.
    private func fits(_ manifest: BackupManifest, _ location: DatabaseLocation) async throws {
        let schema = try await Schema.look(at: location)
        let own = (schema.applied + schema.pending).map(\.version).max() ?? 0
        guard manifest.schema <= own else {
            throw CommandFailure(
                "the export has schema \(manifest.schema) of release \(manifest.release), this release has \(own): "
                    + "import it with that release, or a newer one")
        }
        guard manifest.schema == own else {
            throw CommandFailure(
                "the export has schema \(manifest.schema), this release has \(own): bring the old database to it with "
                    + "aurum database migrate, then export it again")
        }
    }

    private func fill(_ location: DatabaseLocation, _ manifest: BackupManifest) async throws {
        let target = try await RestoreTarget.prepare(
            location, version: manifest.schema, beginsAgain: true, registry: MetricRegistry(), clock: clock)
        if target.beganAgain {
            logger.notice(
                "an import or a restore that did not finish is begun again", metadata: ["code": "records_import_again"])
        }
        do {
            try await TableLoading(source: source, key: key, progress: RowProgress("import", logger))
                .run(manifest.tables, into: target)
            try await target.finish { database in
                let found = TableTallies(progress: RowProgress("compare", logger))
                _ = try await database.dump(to: found) {}
                let problems = Self.differences(manifest.tables, found.tables)
                guard problems.isEmpty else {
                    throw CommandFailure(
                        "what was imported is not what was exported: \(problems.joined(separator: "; ")); the database "
                            + "stays closed until an import into it has finished")
                }
            }
        } catch {
            target.abandon()
            throw error
        }
    }

    /// A sentence for each table that is not as the list says.
    private static func differences(_ listed: [BackupManifest.Table], _ found: [TableTally]) -> [String] {
        var problems: [String] = []
        let byName = Dictionary(found.map { ($0.name, $0) }, uniquingKeysWith: { $1 })
        for table in listed {
            guard let own = byName[table.name] else {
                problems.append("the table \(table.name) is missing")
                continue
            }
            if own.columns != table.columns {
                problems.append("the table \(table.name) has other columns")
            } else if own.rows != table.rows {
                problems.append("the table \(table.name) has \(own.rows) rows, not \(table.rows)")
            } else if own.sha256 != table.rowsSHA256 {
                problems.append("the rows of the table \(table.name) have another hash")
            }
        }
        let unknown = Set(byName.keys).subtracting(listed.map(\.name))
        return problems + unknown.sorted().map { "the table \($0) is not in the export" }
    }
}
