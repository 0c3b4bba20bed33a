internal import AurumCore
internal import Foundation
internal import Synchronization

/// A server that Aurum leans on, started for one check, which may kill it and let it come back.
package protocol OutsideServer: Sendable {
    /// Settings with which Aurum uses it.
    var settings: [String: String] { get }
    /// SIGKILL; returns when it is gone.
    func kill() async throws
    /// Lets it come back, at the same address.
    func start() async throws
    /// Ends it for good and takes away what it left.
    func end() async
}

/// A `redis-server` of this machine without disk: what it knew is gone when it comes back.
final class KillableRedis: OutsideServer {
    static let program = "/usr/bin/redis-server"
    static var isInstalled: Bool { FileManager.default.isExecutableFile(atPath: program) }

    /// The shell ends the server when its own standard input ends: with this process, whatever ends that.
    private static let watch = """
        "$@" >/dev/null 2>&1 & pid=$!
        cat >/dev/null
        kill -9 $pid; wait $pid 2>/dev/null
        """

    private struct Running {
        let life: Pipe
        let exited: OneTimeValue<Int32>
    }

    let port: Int
    private let folder: String
    private let running = Mutex<Running?>(nil)

    init() throws {
        port = try FreePort.next()
        folder = NSTemporaryDirectory() + "aurum-validate-redis-" + UUID().uuidString
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    }

    var settings: [String: String] { ["AURUM_REDIS_URL": "redis://127.0.0.1:\(port)"] }

    func start() throws {
        let (shell, life) = (Process(), Pipe())
        shell.executableURL = URL(fileURLWithPath: "/bin/sh")
        shell.arguments = [
            "-c", Self.watch, "sh", Self.program, "--port", "\(port)", "--bind", "127.0.0.1", "--save", "",
            "--appendonly", "no", "--dir", folder, "--daemonize", "no",
        ]
        shell.standardInput = life
        shell.standardOutput = FileHandle.nullDevice
        shell.standardError = FileHandle.nullDevice
        let exited = OneTimeValue<Int32>()
        shell.terminationHandler = { exited.resolve($0.terminationStatus) }
        try shell.run()
        running.withLock { $0 = Running(life: life, exited: exited) }
    }

    func kill() async throws {
        let ended = running.withLock { running -> Running? in
            defer { running = nil }
            return running
        }
        guard let ended else { return }
        try ended.life.fileHandleForWriting.close()
        _ = try await ended.exited.value()
    }

    func end() async {
        try? await kill()
        try? FileManager.default.removeItem(atPath: folder)
    }
}
