internal import AurumCore
internal import Database
internal import Events
internal import Foundation
internal import Telemetry

/// Puts a backup back: into a data folder that holds nothing yet, and an empty database.
struct RestoreJob: Sendable {
    let source: String
    let key: BackupKey
    let clock: any WallClock

    struct Outcome: Sendable {
        var manifest: BackupManifest
        var erasures: CarriedErasures
    }

    /// - Parameters:
    ///   - location: where the tables go.
    ///   - erasuresFrom: the `events` folder of the site as it was last, for persons erased since the backup.
    func run(into folder: DataFolder, _ location: DatabaseLocation, erasuresFrom: String? = nil) async throws -> Outcome
    {
        let manifest = try BackupManifest.read(source, key: key)
        guard let log = manifest.log, let keys = manifest.keys else {
            throw CommandFailure(
                "\(source) is an export of the tables alone; put it into an empty database with aurum database import")
        }
        let found = try FileManager.default.contentsOfDirectory(atPath: folder.path).filter { !DataFolder.isLock($0) }
        guard found.isEmpty else {
            throw CommandFailure(
                "the data folder \(folder.path) is not empty (\(found.sorted().prefix(3).joined(separator: ", "))); "
                    + "a backup is put into an empty one: name it with --data-dir")
        }
        // While this file is there the folder is half a site, which nothing opens.
        let mark = DataFolder.unfinishedPath(in: folder.path)
        _ = try DurableFile.make(mark, Data())
        try restoreKeys(keys, folder)
        try restoreLog(log, folder)
        // Before the tables: a folder that is not the site's own is known before a database is filled.
        let erasures = try carryErasures(from: erasuresFrom, folder)
        try await restoreTables(manifest, location)
        try DurableFile.syncFolder(folder.logPath)
        try DurableFile.syncFolder(folder.path)
        try FileManager.default.removeItem(atPath: mark)
        try DurableFile.syncFolder(folder.path)
        return Outcome(manifest: manifest, erasures: erasures)
    }

    private func restoreKeys(_ keys: SealedFile.Summary, _ folder: DataFolder) throws {
        var bytes: [UInt8] = []
        try read(keys) { bytes += $0 }
        let contents = try JSONDecoder().decode([String: String].self, from: Data(bytes))
        for (name, text) in contents {
            guard DataFolder.keyNames.contains(name), let data = Hex.decode(text) else {
                throw CommandFailure("the backup has a key named \(name), which this release does not know")
            }
            _ = try DurableFile.make(folder.path + "/" + name, Data(data))
        }
        // The next backup is sealed with the same key, of which the operator has a copy.
        _ = try DurableFile.make(DataFolder.backupKeyPath(in: folder.path), key.fileContents)
    }

    private func restoreLog(_ log: BackupManifest.Log, _ folder: DataFolder) throws {
        try FileManager.default.createDirectory(
            atPath: folder.logPath, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
        for file in log.files {
            let name = (file.path as NSString).lastPathComponent
            let path = folder.logPath + "/" + name
            guard FileManager.default.createFile(atPath: path, contents: nil, attributes: [.posixPermissions: 0o600]),
                let handle = FileHandle(forWritingAtPath: path)
            else { throw DataFolderError.notWritable(folder.logPath) }
            try read(file) { try handle.write(contentsOf: $0) }
            try handle.synchronize()
            try handle.close()
        }
    }

    private func restoreTables(_ manifest: BackupManifest, _ location: DatabaseLocation) async throws {
        let target = try await RestoreTarget.prepare(
            location, version: manifest.schema, registry: MetricRegistry(), clock: clock)
        do {
            try await TableLoading(source: source, key: key).run(manifest.tables, into: target)
            try await target.finish()
        } catch {
            target.abandon()
            throw error
        }
    }

    private func carryErasures(from old: String?, _ folder: DataFolder) throws -> CarriedErasures {
        guard let old else { return CarriedErasures() }
        do {
            return try EventLog.carryErasures(from: old, to: folder.logPath)
        } catch { throw CommandFailure("the erasures of \(old) cannot be taken over: \(error.sentence)") }
    }

    /// Shows a file's content in pieces, then holds it to the list.
    private func read(_ file: SealedFile.Summary, _ show: ([UInt8]) throws -> Void) throws {
        let reader = try SealedReader(folder: source, name: file.path, key: key)
        while let bytes = try reader.next() { try show(bytes) }
        try reader.finish(file)
    }
}

/// Checks a backup: that every file is there and is what was written, and nothing else is.
struct BackupCheck: Sendable {
    let source: String
    let key: BackupKey

    /// - Returns: the list, and a sentence for everything that is wrong.
    func run() throws -> (manifest: BackupManifest, problems: [String]) {
        let manifest = try BackupManifest.read(source, key: key)
        var problems: [String] = []
        for file in manifest.files {
            do {
                let reader = try SealedReader(folder: source, name: file.path, key: key)
                while try reader.next() != nil {}
                try reader.finish(file)
            } catch let error as CommandFailure {
                problems.append(error.description)
            } catch { problems.append("\(file.path) cannot be read: \(error)") }
        }
        let known = Set(manifest.files.map(\.path) + [BackupManifest.fileName, BackupManifest.signatureName])
        for path in try FileManager.default.subpathsOfDirectory(atPath: source).sorted() {
            var isFolder: ObjCBool = false
            _ = FileManager.default.fileExists(atPath: source + "/" + path, isDirectory: &isFolder)
            if !isFolder.boolValue, !known.contains(path) { problems.append("\(path) is not on the list") }
        }
        return (manifest, problems)
    }
}
