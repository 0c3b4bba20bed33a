internal import ArgumentParser
internal import AurumCore
internal import Database
internal import Events
internal import Foundation
internal import Logging
internal import NIOCore
internal import Telemetry

/// Backups of a whole site: tables, event log and keys, sealed and signed.
struct BackupCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "backup", abstract: "Back up everything that a site stores, and check backups.",
        subcommands: [Create.self, Verify.self])

    struct Create: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Write a backup while the server runs, or of its folder when it does not.",
            discussion: """
                The folder must not exist; it appears once the backup is whole. Files are sealed with AES-256-GCM and \
                their list is signed, with keys derived from backup.key of the data folder, which the first backup \
                makes. Keep a copy of that file elsewhere: without it no backup can be read.
                Example: aurum backup create --to /mnt/backups/2026-11-21
                """)

        @OptionGroup var options: ConfigurationOptions
        @Option(name: .long, help: "The folder to write; on the machine of the server.")
        var to: String

        func run() async throws {
            let configuration = try await options.read()
            let target = URL(fileURLWithPath: to).standardizedFileURL.path
            if let contact = ServerContact.read(folder: configuration.dataDirectory) {
                let client = ServerClient(contact: contact, timeout: .hours(6))
                return Output.line(
                    try await client.call("POST", "/v1/backups", body: ["to": .string(target)]).canonical)
            }
            try await EventsCommand.withGovernedLog(configuration, logLevel: .warning) { log, _, database in
                let backups = Backups(
                    database: database, log: log, gate: RelayGate(), dataPath: configuration.dataDirectory,
                    clock: SystemWallClock())
                Output.line(try await backups.make(at: target).canonical)
            }
        }
    }

    struct Verify: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Check every byte of a backup; exit 1 when something is wrong.",
            discussion: """
                With --deep the backup is put back into a temporary folder as well, its log read to the end and its \
                ledger added up. That takes as much space as the site, in --work.
                Example: aurum backup verify /mnt/backups/2026-11-21 --deep
                """)

        @OptionGroup var options: ConfigurationOptions
        @OptionGroup var keyOption: BackupKeyOption
        @Argument(help: "The folder of the backup.")
        var folder: String
        @Flag(name: .long, help: "Put it back into a temporary folder and check what comes out.")
        var deep = false
        @Option(name: .long, help: "With --deep, where the temporary folder is made; else the system's.")
        var work: String?

        func run() async throws {
            let configuration = try await options.read()
            let key = try keyOption.key(configuration)
            let (manifest, problems) = try BackupCheck(source: folder, key: key).run()
            for problem in problems { Output.line(problem) }
            LastBackup(in: configuration.dataDirectory).checked(manifest, isWhole: problems.isEmpty)
            guard problems.isEmpty else { throw ExitCode(1) }
            var answer = Backups.summary(manifest)
            if deep {
                var check = DeepCheck(source: folder, key: key)
                check.work = work ?? check.work
                for problem in try await check.run() {
                    Output.line(problem)
                    answer = .null
                }
            }
            guard answer != .null else { throw ExitCode(1) }
            Output.line(answer.canonical)
        }
    }
}

/// Where the key of backups is.
struct BackupKeyOption: ParsableArguments {
    @Option(name: .long, help: "The backup key; else backup.key of the data folder.")
    var keyFile: String?

    func key(_ configuration: AurumConfiguration) throws -> BackupKey {
        try BackupKey.read(keyFile ?? DataFolder.backupKeyPath(in: configuration.dataDirectory))
    }
}

struct RestoreCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "restore", abstract: "Put a backup back into an empty data folder and an empty database.",
        discussion: """
            The tables go where AURUM_DATABASE_URL says, whichever engine they came from. Everything is checked on the \
            way; a restore that does not finish leaves a folder that no server opens. With --erasures-from, the events \
            folder of the site as it was last, persons who were erased after the backup stay erased; exit 1 when some \
            were erased too long ago for that.
            Example: aurum restore --from /mnt/backups/2026-11-21 --key-file backup.key --data-dir /var/lib/aurum
            """)

    @OptionGroup var options: ConfigurationOptions
    @Option(name: .long, help: "The folder of the backup.")
    var from: String
    @Option(name: .long, help: "The file with the backup's key.")
    var keyFile: String
    @Option(name: .long, help: "The events folder that knows of later erasures.")
    var erasuresFrom: String?

    func run() async throws {
        let configuration = try await options.read()
        let key = try BackupKey.read(keyFile)
        let folder = try DataFolder(configuration)
        let location = try configuration.databaseLocation()
        let job = RestoreJob(source: from, key: key, clock: SystemWallClock())
        let outcome = try await Openings.databaseErrors(location) {
            try await job.run(into: folder, location, erasuresFrom: erasuresFrom)
        }
        var answer = Backups.summary(outcome.manifest).object ?? [:]
        answer["database"] = .string(location.shown)
        answer["erasures_carried_over"] = .integer(Int64(outcome.erasures.carried))
        answer["erasures_too_old"] = .integer(Int64(outcome.erasures.tooOld))
        Output.line(JSONValue.object(answer).canonical)
        guard outcome.erasures.tooOld == 0 else {
            Output.error(
                "\(outcome.erasures.tooOld) persons were erased so long ago that nothing tells any more who they are; "
                    + "erase them again before anything is served, or restore a younger backup")
            throw ExitCode(1)
        }
    }
}
