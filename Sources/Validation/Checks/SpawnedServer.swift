internal import AurumCore
internal import Foundation
internal import Synchronization

/// The own binary as a child process, with its own data folder and free ports: a server that may be killed.
package actor SpawnedServer {
    private let executable: String
    private let arguments: [String]
    private let environment: [String: String]
    private let folder: String
    private let ownsFolder: Bool
    private var process: Process?
    private var exited = OneTimeValue<Int32>()
    private var transcript = ProcessTranscript()
    private var httpPort = 0
    private var metricsPort = 0

    /// - Parameters:
    ///   - environment: added to the environment of this process, after the folder and the ports.
    ///   - dataDirectory: nil makes a temporary folder, which `stop()` removes.
    package init(
        executable: String = SpawnedServer.ownBinary, arguments: [String] = ["serve"],
        environment: [String: String] = [:], dataDirectory: String? = nil
    ) {
        self.executable = executable
        self.arguments = arguments
        self.environment = environment
        ownsFolder = dataDirectory == nil
        folder =
            dataDirectory
            ?? FileManager.default.temporaryDirectory
            .appendingPathComponent("aurum-validate-\(UUID().uuidString.lowercased())").path
    }

    /// Another server of the same program with settings of its own and a temporary folder.
    package func sibling(settings: [String: String]) -> SpawnedServer {
        SpawnedServer(
            executable: executable, arguments: arguments, environment: environment.merging(settings) { $1 })
    }

    /// The file this program was started from.
    package static var ownBinary: String {
        let link = (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")) ?? ""
        return FileManager.default.isExecutableFile(atPath: link) ? link : "/proc/self/exe"
    }

    package var pid: Int32? { process?.processIdentifier }
    package var dataDirectory: String { folder }
    package var isRunning: Bool { process?.isRunning ?? false }
    /// Everything it has printed so far.
    package var output: String { transcript.text }

    /// Starts it and waits for its ready line. The admin token comes from `server.json` in the data folder.
    package func start(within: Duration = .seconds(20)) async throws -> ValidationTarget {
        try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
        if httpPort == 0 {
            httpPort = try FreePort.next()
            metricsPort = try FreePort.next()
        }
        try launch()
        let deadline = ContinuousClock().now + within
        while transcript.readyURL == nil {
            guard let process, process.isRunning else { throw SpawnError.exited(transcript.text) }
            guard ContinuousClock().now < deadline else { throw SpawnError.notReady(transcript.text) }
            try await Task.sleep(for: .milliseconds(5))
        }
        return try currentTarget()
    }

    /// SIGKILL; returns when the process is gone.
    package func kill() async {
        guard let process else { return }
        Foundation.kill(process.processIdentifier, SIGKILL)
        _ = try? await exited.value()
        self.process = nil
    }

    /// Starts it again on the same folder and ports, after `kill()` or a crash.
    package func restart() async throws -> ValidationTarget {
        await kill()
        return try await start()
    }

    /// SIGTERM, then SIGKILL when it takes too long; a temporary folder is removed. Returns its exit status when it had
    /// one.
    @discardableResult package func stop(within: Duration = .seconds(10)) async -> Int32? {
        var status: Int32?
        if let process {
            let pid = process.processIdentifier
            Foundation.kill(pid, SIGTERM)
            let exit = exited
            status = await withTaskGroup(of: Int32?.self) { group in
                group.addTask { try? await exit.value() }
                group.addTask {
                    guard (try? await Task.sleep(for: within)) != nil else { return nil }
                    Foundation.kill(pid, SIGKILL)
                    return try? await exit.value()
                }
                let first = await group.next() ?? nil
                group.cancelAll()
                return first
            }
        }
        process = nil
        if ownsFolder { try? FileManager.default.removeItem(atPath: folder) }
        return status
    }

    private func launch() throws {
        let transcript = ProcessTranscript()
        let exited = OneTimeValue<Int32>()
        let process = Process()
        // `env` becomes the server by exec: one process id, our environment plus these settings.
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments =
            settings.sorted { $0.key < $1.key }.map { "\($0.key)=\($0.value)" } + [executable] + arguments
        process.standardInput = FileHandle.nullDevice
        let pipe = Pipe()
        process.standardOutput = pipe
        process.standardError = pipe
        process.terminationHandler = { exited.resolve($0.terminationStatus) }
        try process.run()
        PipeReader.start(pipe) { transcript.append($0) }
        self.process = process
        self.transcript = transcript
        self.exited = exited
    }

    private var settings: [String: String] {
        [
            "AURUM_DATA_DIR": folder, "AURUM_HTTP_HOST": "127.0.0.1", "AURUM_HTTP_PORT": "\(httpPort)",
            "AURUM_METRICS_ADDRESS": "127.0.0.1:\(metricsPort)", "AURUM_EGRESS_ALLOW_LOOPBACK": "true",
            "AURUM_LOG_FORMAT": "json", "AURUM_LOG_LEVEL": "warning",
            // Robots talk faster and come more often than people do.
            "AURUM_CHAT_CONVERSATIONS_PER_ADDRESS_HOUR": "100000", "AURUM_CHAT_MESSAGES_PER_TEN_SECONDS": "1000",
        ].merging(environment) { $1 }
    }

    /// Address and token of the server that runs now: each start has a token of its own.
    package func currentTarget() throws -> ValidationTarget {
        let path = folder + "/server.json"
        guard let data = FileManager.default.contents(atPath: path),
            let facts = try? JSONDecoder().decode(JSONValue.self, from: data), let token = facts["token"]?.string
        else { throw SpawnError.noToken(path) }
        return ValidationTarget(
            url: transcript.readyURL ?? facts["url"]?.string ?? "http://127.0.0.1:\(httpPort)", adminToken: token,
            metricsURL: "http://127.0.0.1:\(metricsPort)/metrics", pid: process?.processIdentifier)
    }
}

package enum SpawnError: Error, Equatable {
    /// It ended before it was ready; what it had printed.
    case exited(String)
    case notReady(String)
    case noToken(String)
}

/// What a child process prints: the last part of it, and the address of its ready line.
private final class ProcessTranscript: Sendable {
    private struct State {
        var bytes: [UInt8] = []
        var url: String?
    }

    private let state = Mutex(State())
    private static let bytesMax = 1 << 20

    var text: String { String(decoding: state.withLock { $0.bytes }, as: UTF8.self) }
    var readyURL: String? { state.withLock { $0.url } }

    func append(_ data: Data) {
        state.withLock { state in
            state.bytes.append(contentsOf: data)
            if state.url == nil {
                let text = String(decoding: state.bytes, as: UTF8.self)
                let mark = "Aurum is ready at "
                // Only whole lines: the port may still be on its way.
                if let line = text.split(separator: "\n", omittingEmptySubsequences: false).dropLast()
                    .first(where: { $0.contains(mark) }), let start = line.range(of: mark)?.upperBound
                {
                    state.url = String(line[start...].prefix { !$0.isWhitespace })
                }
            }
            if state.bytes.count > ProcessTranscript.bytesMax {
                state.bytes.removeFirst(state.bytes.count - ProcessTranscript.bytesMax / 2)
            }
        }
    }
}
