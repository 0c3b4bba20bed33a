internal import AurumCore
internal import Database
internal import Foundation

#if canImport(Glibc)
    internal import Glibc
#endif

/// Why the data folder, or the file of the records, cannot be used. Each is a sentence that says what to do.
enum DataFolderError: Error, CustomStringConvertible {
    case cannotCreate(String, String)
    case notWritable(String)
    case inUse(String, pid: String)
    case recordsInUse(String, pid: String)
    case recordsNotWritable(String)
    case halfRestored(String)

    var description: String {
        switch self {
        case .cannotCreate(let path, let reason): "the data folder \(path) cannot be made: \(reason)"
        case .notWritable(let path): "the data folder \(path) is not writable; set AURUM_DATA_DIR to one that is"
        case .inUse(let path, let pid):
            "another aurum (process \(pid)) uses the data folder \(path); "
                + "stop it, or set AURUM_DATA_DIR to another folder"
        case .recordsInUse(let path, let pid):
            "another aurum (process \(pid)) uses the records in \(path), which one process at a time may do; "
                + "stop it, or name another file with AURUM_DATABASE_URL"
        case .recordsNotWritable(let path):
            "no lock can be made beside the records in \(path): make their folder, and let this user write there"
        case .halfRestored(let path):
            "a restore into the data folder \(path) did not finish; empty it, and its database where that is "
                + "elsewhere, and restore again"
        }
    }
}

/// The folder of everything a server stores, held by one process at a time; and with it the file of the records, which
/// may be elsewhere, where the processes of two folders would meet.
final class DataFolder: Sendable {
    let path: String
    private let locks: [ProcessLock]

    var logPath: String { path + "/events" }
    var signingKeyPath: String { path + "/" + Self.keyNames[0] }
    /// Networks of data centres, where the operator put a list.
    var datacentrePath: String { path + "/" + Self.keyNames[3] }
    var personalKeyPath: String { path + "/" + Self.keyNames[1] }
    var exportsPath: String { path + "/exports" }
    /// Temporary files of runs over the log.
    static func attributionPath(in folder: String) -> String { folder + "/attribution-runs" }
    var siteKeyPath: String { path + "/" + Self.keyNames[2] }
    var contactPath: String { DataFolder.contactPath(in: path) }

    static func databasePath(in folder: String) -> String { folder + "/aurum.db" }
    /// Files that a site cannot do without, beside tables and log: backups hold them.
    static let keyNames = ["certificate-signing.key", "personal-fields.key", "site.key", "datacentre-ranges.txt"]

    static func contactPath(in folder: String) -> String { folder + "/server.json" }
    static func backupKeyPath(in folder: String) -> String { folder + "/backup.key" }
    /// There while a restore is under way.
    static func unfinishedPath(in folder: String) -> String { folder + "/restore-unfinished" }

    /// Whether a file of the folder is there for who holds it, and no part of a site.
    static func isLock(_ name: String) -> Bool { name == "lock" || name.hasSuffix(".lock") }

    /// Takes the folder of a configuration and, where they are a file, its records: for all that writes to them.
    convenience init(_ configuration: AurumConfiguration) throws {
        try self.init(path: configuration.dataDirectory, records: try configuration.databaseLocation())
    }

    /// Makes the folder where it is missing and takes its lock, and that of the records where they are a file.
    init(path: String, records: DatabaseLocation? = nil) throws(DataFolderError) {
        self.path = path
        do {
            try FileManager.default.createDirectory(
                atPath: path, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
        } catch { throw .cannotCreate(path, error.localizedDescription) }
        guard !FileManager.default.fileExists(atPath: Self.unfinishedPath(in: path)) else { throw .halfRestored(path) }
        var locks: [ProcessLock] = []
        do throws(ProcessLock.Failure) { locks.append(try ProcessLock(path + "/lock")) } catch {
            switch error {
            case .held(let pid): throw .inUse(path, pid: pid)
            case .notMade: throw .notWritable(path)
            }
        }
        if case .sqlite(let file)? = records { locks.append(try Self.lock(file)) }
        self.locks = locks
    }

    /// The lock lies beside the file itself: two names of one file are one lock.
    private static func lock(_ file: String) throws(DataFolderError) -> ProcessLock {
        let real = URL(fileURLWithPath: file).resolvingSymlinksInPath().path
        do throws(ProcessLock.Failure) { return try ProcessLock(real + ".lock") } catch {
            switch error {
            case .held(let pid): throw .recordsInUse(file, pid: pid)
            case .notMade: throw .recordsNotWritable(file)
            }
        }
    }
}

/// How the data commands find a running server: its address and a token made for this run, readable by its owner only.
struct ServerContact: Codable {
    var url: String
    var token: String
    var pid: Int32

    func write(to path: String) throws {
        let data = try JSONEncoder().encode(self)
        guard FileManager.default.createFile(atPath: path, contents: data, attributes: [.posixPermissions: 0o600])
        else {
            throw DataFolderError.notWritable((path as NSString).deletingLastPathComponent)
        }
    }

    /// nil when there is none, or its process is gone.
    static func read(folder: String) -> ServerContact? {
        guard let data = FileManager.default.contents(atPath: DataFolder.contactPath(in: folder)),
            let contact = try? JSONDecoder().decode(ServerContact.self, from: data), kill(contact.pid, 0) == 0
        else { return nil }
        return contact
    }
}
