internal import AurumCore
internal import Foundation
internal import Synchronization

/// A `redis-server` of this machine for one benchmark, in a folder of its own, without disk unless told.
final class LocalRedis: Sendable {
    let port: Int
    private let folder: String
    private let process: Process

    static let server = "/usr/bin/redis-server"

    static var isInstalled: Bool { FileManager.default.isExecutableFile(atPath: server) }
    static var hasBenchmark: Bool { FileManager.default.isExecutableFile(atPath: "/usr/bin/redis-benchmark") }

    var url: String { "redis://127.0.0.1:\(port)" }

    /// - Parameter sync: `appendfsync` of its append-only file: `always` or `everysec`; nil for none.
    init(sync: String? = nil) throws {
        do throws(FreePort.NoPort) { port = try FreePort.next() } catch { throw BenchFailure("no free port") }
        folder = NSTemporaryDirectory() + "aurum-bench-" + UUID().uuidString
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        process = Process()
        process.executableURL = URL(fileURLWithPath: Self.server)
        process.arguments = [
            "--port", "\(port)", "--bind", "127.0.0.1", "--save", "", "--appendonly", sync == nil ? "no" : "yes",
            "--appendfsync", sync ?? "no", "--dir", folder, "--daemonize", "no",
        ]
        process.standardOutput = FileHandle.nullDevice
        process.standardError = FileHandle.nullDevice
        process.standardInput = FileHandle.nullDevice
        do { try process.run() } catch { throw BenchFailure("redis-server cannot be started: \(error)") }
    }

    /// User and system time of the server; 0 where /proc does not say.
    var cpuSeconds: Double {
        let path = "/proc/\(process.processIdentifier)/stat"
        guard let data = FileManager.default.contents(atPath: path),
            let fields = String(decoding: data, as: UTF8.self).split(separator: ")").last?.split(separator: " "),
            fields.count > 12, let user = Double(fields[11]), let system = Double(fields[12])
        else { return 0 }
        return (user + system) / 100
    }

    func end() {
        // A child inherits the signal mask of the thread that started it, and threads of the pool block SIGTERM.
        kill(process.processIdentifier, SIGKILL)
        process.waitUntilExit()
        try? FileManager.default.removeItem(atPath: folder)
    }

    /// Runs a program to its end and answers what it printed.
    static func output(_ path: String, _ arguments: [String]) async throws -> String {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: path)
        process.arguments = arguments
        let pipe = Pipe()
        process.standardOutput = pipe
        process.standardError = pipe
        process.standardInput = FileHandle.nullDevice
        do { try process.run() } catch { throw BenchFailure("\(path) cannot be started: \(error)") }
        return await withCheckedContinuation { continuation in
            let reading = Reading()
            PipeReader.start(pipe) { data in
                if data.isEmpty {
                    continuation.resume(returning: reading.text.withLock { $0 })
                } else {
                    reading.text.withLock { $0 += String(decoding: data, as: UTF8.self) }
                }
            }
        }
    }

    private final class Reading: Sendable {
        let text = Mutex("")
    }
}
