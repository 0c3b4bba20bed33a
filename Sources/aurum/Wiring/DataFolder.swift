internal import AurumCore
internal import Foundation

#if canImport(Glibc)
    internal import Glibc
#endif

/// Why the data folder cannot be used. Each is a sentence that says what to do.
enum DataFolderError: Error, CustomStringConvertible {
    case cannotCreate(String, String)
    case notWritable(String)
    case inUse(String, pid: String)

    var description: String {
        switch self {
        case .cannotCreate(let path, let reason): "the data folder \(path) cannot be made: \(reason)"
        case .notWritable(let path): "the data folder \(path) is not writable; set AURUM_DATA_DIR to one that is"
        case .inUse(let path, let pid):
            "another aurum (process \(pid)) uses the data folder \(path); "
                + "stop it, or set AURUM_DATA_DIR to another folder"
        }
    }
}

/// The folder of everything a server stores, held by one process at a time.
final class DataFolder: Sendable {
    let path: String
    private let lockDescriptor: Int32

    var databasePath: String { path + "/aurum.db" }
    var logPath: String { path + "/events" }
    var signingKeyPath: String { path + "/certificate-signing.key" }
    /// Networks of data centres, where the operator put a list.
    var datacentrePath: String { path + "/datacentre-ranges.txt" }
    var personalKeyPath: String { path + "/personal-fields.key" }
    var exportsPath: String { path + "/exports" }
    var siteKeyPath: String { path + "/site.key" }
    var contactPath: String { DataFolder.contactPath(in: path) }

    static func contactPath(in folder: String) -> String { folder + "/server.json" }

    /// Makes the folder where it is missing and takes its lock, which the kernel frees when the process ends.
    init(path: String) throws(DataFolderError) {
        self.path = path
        do {
            try FileManager.default.createDirectory(
                atPath: path, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
        } catch { throw .cannotCreate(path, error.localizedDescription) }
        let descriptor = open(path + "/lock", O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
        guard descriptor >= 0 else { throw .notWritable(path) }
        guard flock(descriptor, LOCK_EX | LOCK_NB) == 0 else {
            let pid = (try? String(contentsOfFile: path + "/lock", encoding: .utf8)) ?? ""
            close(descriptor)
            throw .inUse(path, pid: pid.isEmpty ? "unknown" : pid)
        }
        lockDescriptor = descriptor
        ftruncate(descriptor, 0)
        let pid = String(getpid())
        guard write(descriptor, pid, pid.utf8.count) == pid.utf8.count else { throw .notWritable(path) }
    }

    deinit { close(lockDescriptor) }
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
