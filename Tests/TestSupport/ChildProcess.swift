internal import AurumCore
internal import Foundation
internal import Synchronization

/// A program run by a test: its lines of output, its end, and signals to it alone.
package final class ChildProcess: Sendable {
    package struct Failure: Error, CustomStringConvertible {
        package let description: String
        package init(description: String) { self.description = description }
    }

    private struct State: Sendable {
        var text = ""
        var ended = false
    }

    private let process: Process
    private let state = Mutex(State())

    /// Starts `path`; standard output and error are read together, or the output alone and errors are shown with the
    /// test's own.
    package init(
        _ path: String, _ arguments: [String] = [], environment: [String: String] = [:], directory: String? = nil,
        readsErrors: Bool = true
    ) throws {
        process = Process()
        process.executableURL = URL(fileURLWithPath: path)
        process.arguments = arguments
        process.environment = ProcessInfo.processInfo.environment.merging(environment) { $1 }
        if let directory { process.currentDirectoryURL = URL(fileURLWithPath: directory) }
        let pipe = Pipe()
        process.standardOutput = pipe
        if readsErrors { process.standardError = pipe }
        process.standardInput = FileHandle.nullDevice
        try process.run()
        PipeReader.start(pipe) { [weak self] data in
            self?.state.withLock { state in
                state.text += String(decoding: data, as: UTF8.self)
                state.ended = data.isEmpty
            }
        }
    }

    package var pid: Int32 { process.processIdentifier }
    package var output: String { state.withLock { $0.text } }

    /// The first line that contains `text`.
    package func line(containing text: String, within: Duration) async throws -> String {
        let deadline = ContinuousClock.now + within
        while true {
            let (all, ended) = state.withLock { ($0.text, $0.ended) }
            if let line = all.split(separator: "\n").first(where: { $0.contains(text) }) { return String(line) }
            guard !ended, ContinuousClock.now < deadline else {
                throw Failure(description: "no line with “\(text)” in: \(all.suffix(2000))")
            }
            try await Task.sleep(for: .milliseconds(10))
        }
    }

    /// Waits for the end and answers the exit status.
    package func exit(within: Duration = .seconds(60)) async throws -> Int32 {
        let deadline = ContinuousClock.now + within
        while process.isRunning {
            guard ContinuousClock.now < deadline else {
                kill()
                throw Failure(description: "still running after \(within): \(output.suffix(2000))")
            }
            try await Task.sleep(for: .milliseconds(10))
        }
        // Another child may have inherited the pipe and hold it open: what this one wrote is there within moments.
        let drained = ContinuousClock.now + .milliseconds(500)
        while !state.withLock({ $0.ended }), ContinuousClock.now < drained {
            try await Task.sleep(for: .milliseconds(5))
        }
        return process.terminationStatus
    }

    package func terminate() { if process.isRunning { process.terminate() } }

    package func kill() { if process.isRunning { Foundation.kill(process.processIdentifier, SIGKILL) } }

    deinit { if process.isRunning { process.terminate() } }
}

/// The binary under test: built beside the test bundle.
package enum AurumBinary {
    package static var path: String {
        let bundle = URL(fileURLWithPath: CommandLine.arguments[0]).deletingLastPathComponent()
        for candidate in [
            bundle.appendingPathComponent("aurum"), bundle.deletingLastPathComponent().appendingPathComponent("aurum"),
        ]
        where FileManager.default.isExecutableFile(atPath: candidate.path) {
            return candidate.path
        }
        return root + "/.build/release/aurum"
    }

    /// The repository.
    package static var root: String {
        URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
            .deletingLastPathComponent().path
    }

    /// Runs a command to its end. Output that is asked for as JSON is read without the log lines beside it.
    package static func run(
        _ arguments: [String], environment: [String: String] = [:], directory: String? = nil,
        within: Duration = .seconds(60)
    ) async throws -> (status: Int32, output: String) {
        let process = try ChildProcess(
            path, arguments, environment: environment, directory: directory,
            readsErrors: !arguments.contains("--json"))
        let status = try await process.exit(within: within)
        return (status, process.output)
    }
}
