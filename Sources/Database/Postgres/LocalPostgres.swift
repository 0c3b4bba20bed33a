internal import Foundation
internal import Synchronization

#if canImport(Glibc)
    internal import Glibc
#endif

/// A PostgreSQL server of this process's own, for benchmarks and tests: on a Unix socket in a temporary folder, with
/// the programs of this machine, ended with the process whatever ends that.
package final class LocalPostgres: Sendable {
    package struct Failure: Error, CustomStringConvertible {
        package let description: String
        package init(description: String) { self.description = description }
    }

    /// Holds socket, data, log and process id; owned by whoever runs the server.
    package let folder: String
    private let watchdog: Process
    private let life: Pipe
    private let programs: String

    /// Whether the server's programs are on this machine.
    package static var isInstalled: Bool { findPrograms() != nil }

    /// Makes a cluster and starts its server; blocks until it answers, some seconds.
    /// - Parameter isDurable: whether a commit waits for the disk, as it does for a server that holds anything.
    /// - Throws: `Failure` when the programs are missing or the server does not start.
    package init(isDurable: Bool) throws {
        guard let programs = Self.findPrograms() else {
            throw Failure(description: "PostgreSQL is not installed; make test-dependencies installs it")
        }
        self.programs = programs
        folder = NSTemporaryDirectory() + "aurum-pg-" + UUID().uuidString.prefix(8)
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
        let server =
            asUser + [
                programs + "/postgres", "-D", "\(folder)/data", "-k", folder, "-c", "listen_addresses=",
                "-c", "max_connections=300", "-c", "shared_buffers=\(isDurable ? 128 : 32)MB",
                "-c", "fsync=\(isDurable ? "on" : "off")",
            ]
        (watchdog, life) = (Process(), Pipe())
        // The shell ends the server when its own standard input ends: with this process.
        watchdog.executableURL = URL(fileURLWithPath: "/bin/sh")
        watchdog.arguments = ["-c", Self.watch, "sh", folder] + server
        watchdog.standardInput = life
        watchdog.standardOutput = FileHandle.nullDevice
        watchdog.standardError = FileHandle.nullDevice
        try watchdog.run()
        try awaitAnswer()
    }

    /// The same without holding a thread of the caller.
    package static func start(isDurable: Bool) async throws -> LocalPostgres {
        try await OwnThread.run { try LocalPostgres(isDurable: isDurable) }
    }

    /// The address of a new schema.
    package func newSchema(_ name: String) async throws -> DatabaseLocation {
        _ = try await OwnThread.run { try self.psql("CREATE SCHEMA \(name)") }
        return try DatabaseLocation(url: url(schema: name), requireTLS: true)
    }

    /// `$1` is the folder, the rest the server. A file `stopped` in the folder keeps a server that ended away.
    private static let watch = """
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
        """

    deinit { try? life.fileHandleForWriting.close() }

    /// Ends the server and takes its folder away; returns when both are done.
    package func end() {
        try? life.fileHandleForWriting.close()
        watchdog.waitUntilExit()
    }

    /// The same without holding a thread of the caller.
    package func endApart() async { _ = try? await OwnThread.run { self.end() } }

    /// SIGKILL for the server and all its children, at any moment. It stays away until `comeBack`.
    package func kill() async throws { try await OwnThread.run { try self.killNow() } }

    /// Lets the server come back after `kill`, and waits until it answers; at once when it was never killed.
    package func comeBack() async throws { try await OwnThread.run { try self.comeBackNow() } }

    /// As `kill`, on the thread of the caller.
    package func killNow() throws {
        _ = FileManager.default.createFile(atPath: folder + "/stopped", contents: nil)
        guard let id = serverID else { throw Failure(description: "no server") }
        let children = (try? String(contentsOfFile: "/proc/\(id)/task/\(id)/children", encoding: .utf8)) ?? ""
        signal(id)
        for child in children.split(separator: " ") { _ = Int32(child).map { signal($0) } }
    }

    /// As `comeBack`, on the thread of the caller.
    package func comeBackNow() throws {
        // A postmaster that was killed leaves its lock behind; its children are gone before a new one may come.
        try? FileManager.default.removeItem(atPath: folder + "/stopped")
        try awaitAnswer()
    }

    private func signal(_ process: Int32) { Foundation.kill(process, SIGKILL) }

    /// Of a schema in the server's database, which must exist.
    package func url(schema: String) -> String {
        let host = folder.addingPercentEncoding(withAllowedCharacters: .alphanumerics) ?? folder
        return "postgres:///postgres?host=\(host)&user=aurum&options=-csearch_path%3D\(schema)"
    }

    /// Runs one statement as an administrator and answers its rows as text.
    @discardableResult
    package func psql(_ sql: String) throws -> String {
        let answer = try Self.run([
            programs + "/psql", "-X", "-q", "-t", "-A", "-h", folder, "-U", "aurum", "-d", "postgres",
            "-v", "ON_ERROR_STOP=1", "-c", sql,
        ])
        guard answer.status == 0 else { throw Failure(description: "psql: \(answer.output)") }
        return answer.output.trimmingCharacters(in: .whitespacesAndNewlines)
    }

    /// The process id of the server that was started last.
    package var serverID: Int32? {
        (try? String(contentsOfFile: folder + "/pid", encoding: .utf8))
            .flatMap { Int32($0.trimmingCharacters(in: .whitespacesAndNewlines)) }
    }

    /// Returns when the server takes connections.
    /// - Throws: `Failure` with the end of its log after a minute.
    package func awaitAnswer() throws {
        let deadline = ContinuousClock.now + .seconds(60)
        while (try? psql("SELECT 1")) != "1" {
            guard ContinuousClock.now < deadline else {
                let log = (try? String(contentsOfFile: folder + "/log", encoding: .utf8)) ?? ""
                throw Failure(description: "PostgreSQL does not answer: \(log.suffix(1000))")
            }
            OwnThread.pause(.milliseconds(20))
        }
    }

    // MARK: The machine

    /// Debian keeps the server's programs apart from the path, by version.
    private static func findPrograms() -> String? {
        let versions = (try? FileManager.default.contentsOfDirectory(atPath: "/usr/lib/postgresql")) ?? []
        let newest = versions.compactMap { Int($0) }.sorted().reversed().map { "/usr/lib/postgresql/\($0)/bin" }
        let others = ["/usr/local/bin", "/usr/local/pgsql/bin", "/opt/homebrew/bin", "/usr/bin"]
        return (newest + others).first { folder in
            ["initdb", "postgres", "psql"].allSatisfy {
                FileManager.default.isExecutableFile(atPath: "\(folder)/\($0)")
            }
        }
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
