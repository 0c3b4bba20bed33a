internal import Accounts
internal import AurumCore
internal import Foundation

#if canImport(Glibc)
    internal import Glibc
#endif

/// What an installation makes for itself when it starts for the first time.
enum FirstStart {
    /// The admin token of a new installation, to be shown once; nil when there is one already.
    static func adminToken(_ keys: KeyStore) async throws -> String? {
        guard keys.hasNoAdmin else { return nil }
        let made = try await keys.create(KeyRequest(name: "admin", kind: .admin, scopes: Set(Scope.allCases)))
        return made.text.exposed
    }

    /// The publishable key of the installation's own pages. It is public by nature, so it is kept as text, that open
    /// pages still know it after a restart.
    static func siteKey(_ keys: KeyStore, path: String) async throws -> String {
        if let text = try? String(contentsOfFile: path, encoding: .utf8), keys.principal(forKey: text) != nil {
            return text
        }
        let made = try await keys.create(KeyRequest(name: "own pages", kind: .publishable, scopes: [.eventsWrite]))
        guard
            FileManager.default.createFile(
                atPath: path, contents: Data(made.text.exposed.utf8), attributes: [.posixPermissions: 0o600])
        else { throw DataFolderError.notWritable((path as NSString).deletingLastPathComponent) }
        return made.text.exposed
    }
}

/// The file by which commands on this machine find the running server.
struct LocalContact: Sendable {
    let path: String
    let keys: KeyStore

    init(folder: DataFolder, keys: KeyStore) {
        path = folder.contactPath
        self.keys = keys
    }

    /// Makes a token for this run and writes it with the address, readable by the owner only.
    func write(url: String) {
        let token = KeyText(kind: .admin)
        keys.addForThisRun(
            token,
            principal: Principal(
                org: "default", app: "default", keyID: token.id, kind: .admin, scopes: Set(Scope.allCases)))
        do {
            try ServerContact(url: url, token: token.exposed, pid: getpid()).write(to: path)
        } catch { Output.error("cannot write \(path); commands on this machine will not find the server") }
    }

    func remove() { try? FileManager.default.removeItem(atPath: path) }
}

/// The number of files and sockets this process may hold.
enum FileLimit {
    /// Raises the soft limit to the hard one.
    static func raise() {
        var limit = rlimit()
        guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0, limit.rlim_cur < limit.rlim_max
        else { return }
        limit.rlim_cur = limit.rlim_max
        _ = setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
    }

    /// Connections that fit: what the process may open, less what database, log and outgoing calls need.
    static func connections(atMost bound: Int) -> Int {
        var limit = rlimit()
        guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else { return bound }
        return max(64, min(bound, Int(clamping: limit.rlim_cur) - reserved))
    }

    private static let reserved = 512
}
