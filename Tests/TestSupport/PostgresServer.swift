internal import Foundation
internal import Synchronization

#if canImport(Glibc)
    internal import Glibc
#endif

/// A PostgreSQL server of the test run's own: on a Unix socket in a temporary folder, started when first asked for,
/// ended with the test process whatever ends that.
package final class PostgresServer: Sendable {
    package struct Failure: Error, CustomStringConvertible {
        package let description: String
        package init(description: String) { self.description = description }
    }

    /// The one that all tests of a process share; each takes a schema of its own.
    package static func shared() throws -> PostgresServer {
        try common.withLock { server in
            if let server { return server }
            let made = try PostgresServer()
            server = made
            return made
        }
    }

    private static let common = Mutex<PostgresServer?>(nil)
    private static let schemas = Atomic<Int>(0)

    /// Holds socket and data; owned by whoever runs the server.
    package let folder: String
    private let watchdog: Process
    private let life: Pipe
    private let arguments: [String]

    /// Makes a cluster and starts its server.
    package init() throws {
        folder = NSTemporaryDirectory() + "aurum-pg-" + UUID().uuidString.prefix(8)
        let programs = try Self.programs()
        let user = getuid() == 0 ? try Self.unprivileged() : nil
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        if let user, chown(folder, user.id, user.group) != 0 {
            throw Failure(description: "cannot give \(folder) away")
        }
        let asUser = user.map { ["setpriv", "--reuid=\($0.id)", "--regid=\($0.group)", "--clear-groups"] } ?? []
        let initialise =
            asUser + [
                programs + "/initdb", "--pgdata=\(folder)/data", "--username=aurum", "--auth=trust", "--no-sync",
                "--encoding=UTF8", "--locale=C.UTF-8",
            ]
        let made = try Self.run(initialise)
        guard made.status == 0 else { throw Failure(description: "initdb: \(made.output.suffix(1000))") }
        arguments =
            asUser + [
                programs + "/postgres", "-D", "\(folder)/data", "-k", folder, "-c", "listen_addresses=",
                "-c", "max_connections=300", "-c", "shared_buffers=32MB", "-c", "fsync=off",
            ]
        (watchdog, life) = (Process(), Pipe())
        // The shell ends the server when its own standard input ends: with this process.
        watchdog.executableURL = URL(fileURLWithPath: "/bin/sh")
        watchdog.arguments =
            [
                "-c",
                """
                folder=$1; shift
                while true; do
                    "$@" >>"$folder/log" 2>&1 </dev/null & echo $! >"$folder/pid.part"; mv "$folder/pid.part" "$folder/pid"
                    wait $!
                    [ -e "$folder/stopped" ] && while [ -e "$folder/stopped" ]; do sleep 0.05; done
                    [ -d "$folder" ] || exit 0
                done & loop=$!
                cat >/dev/null
                kill $loop 2>/dev/null; kill -QUIT $(cat "$folder/pid") 2>/dev/null; sleep 0.3
                kill -9 $(cat "$folder/pid") 2>/dev/null; rm -rf "$folder"
                """, "sh", folder,
            ] + arguments
        watchdog.standardInput = life
        watchdog.standardOutput = FileHandle.nullDevice
        watchdog.standardError = FileHandle.nullDevice
        try watchdog.run()
        try awaitAnswer()
    }

    deinit { try? life.fileHandleForWriting.close() }

    /// Of the database, with a schema of its own that is made now.
    package func newURL() throws -> String {
        let schema = "t\(getpid())_\(Self.schemas.add(1, ordering: .relaxed).newValue)"
        try psql("CREATE SCHEMA \(schema)")
        return url(schema: schema)
    }

    package func url(schema: String) -> String {
        let host = folder.addingPercentEncoding(withAllowedCharacters: .alphanumerics) ?? folder
        return "postgres:///postgres?host=\(host)&user=aurum&options=-csearch_path%3D\(schema)"
    }

    /// Runs one statement as an administrator and answers its rows as text.
    @discardableResult
    package func psql(_ sql: String) throws -> String {
        let programs = try Self.programs()
        let answer = try Self.run([
            programs + "/psql", "-X", "-q", "-t", "-A", "-h", folder, "-U", "aurum", "-d", "postgres",
            "-v", "ON_ERROR_STOP=1", "-c", sql,
        ])
        guard answer.status == 0 else { throw Failure(description: "psql: \(answer.output)") }
        return answer.output.trimmingCharacters(in: .whitespacesAndNewlines)
    }

    private var serverID: Int32? {
        (try? String(contentsOfFile: folder + "/pid", encoding: .utf8))
            .flatMap { Int32($0.trimmingCharacters(in: .whitespacesAndNewlines)) }
    }

    /// SIGKILL for the server and all its children, at any moment. It stays away until `start`.
    package func kill() throws {
        _ = FileManager.default.createFile(atPath: folder + "/stopped", contents: nil)
        guard let id = serverID else { throw Failure(description: "no server") }
        let children = (try? String(contentsOfFile: "/proc/\(id)/task/\(id)/children", encoding: .utf8)) ?? ""
        Glibc.kill(id, SIGKILL)
        for child in children.split(separator: " ") { _ = Int32(child).map { Glibc.kill($0, SIGKILL) } }
    }

    /// Starts it again and waits until it answers.
    package func start() throws {
        // A postmaster that was killed leaves its lock behind; its children are gone before a new one may come.
        try FileManager.default.removeItem(atPath: folder + "/stopped")
        try awaitAnswer()
    }

    private func awaitAnswer() throws {
        let deadline = ContinuousClock.now + .seconds(60)
        while (try? psql("SELECT 1")) != "1" {
            guard ContinuousClock.now < deadline else {
                let log = (try? String(contentsOfFile: folder + "/log", encoding: .utf8)) ?? ""
                throw Failure(description: "PostgreSQL does not answer: \(log.suffix(1000))")
            }
            usleep(20_000)
        }
    }

    // MARK: The machine

    /// Debian keeps the server's programs apart from the path.
    private static func programs() throws -> String {
        let versions = (try? FileManager.default.contentsOfDirectory(atPath: "/usr/lib/postgresql")) ?? []
        let newest = versions.compactMap { Int($0) }.sorted().reversed().map { "/usr/lib/postgresql/\($0)/bin" }
        let path = ProcessInfo.processInfo.environment["PATH"] ?? ""
        for folder in newest + path.split(separator: ":").map(String.init)
        where FileManager.default.isExecutableFile(atPath: folder + "/initdb") { return folder }
        throw Failure(description: "PostgreSQL is not installed; make test-dependencies installs it")
    }

    /// The server refuses to run as root.
    private static func unprivileged() throws -> (id: UInt32, group: UInt32) {
        for name in ["postgres", "nobody"] {
            if let entry = getpwnam(name) { return (entry.pointee.pw_uid, entry.pointee.pw_gid) }
        }
        throw Failure(description: "there is no user postgres or nobody to run a server")
    }

    private static func run(_ words: [String]) throws -> (status: Int32, output: String) {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = words
        let pipe = Pipe()
        process.standardOutput = pipe
        process.standardError = pipe
        process.standardInput = FileHandle.nullDevice
        try process.run()
        let data = pipe.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        return (process.terminationStatus, String(decoding: data, as: UTF8.self))
    }
}
