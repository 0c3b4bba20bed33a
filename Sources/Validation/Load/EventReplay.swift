internal import AurumCore
internal import Foundation
package import Logging
internal import NIOCore

/// Sends every NDJSON file of a folder once, as it is: to fill a server with known data and to compare it with other
/// stores on the same bytes. A closed loop, so its latency passes no bar.
package struct EventReplay: Sendable {
    /// `http://host:port` of Aurum.
    package var target: String
    /// File k goes out with key k mod count.
    package var keys: [String]
    package var folder: String
    package var connections = 32
    package var threads = 1
    package var secondsMax = 3600.0
    package var metricsURL: String?
    package var targetPID: Int32?

    package init(target: String, keys: [String], folder: String) {
        self.target = target
        self.keys = keys
        self.folder = folder
    }

    package func run(logger: Logger = Logger(label: "aurum.replay")) async throws -> ReplayReport {
        guard !keys.isEmpty else { throw LoadError.noKeys }
        let endpoint = try HTTPEndpoint(target)
        let files = try Self.files(folder)
        let threads = max(1, min(threads, files.count))
        let sources = (0..<threads).map { thread in
            ReplayBodies(
                files: stride(from: thread, to: files.count, by: threads).map { (files[$0], keys[$0 % keys.count]) },
                authority: endpoint.authority)
        }
        let meter = TargetMeter(metricsURL: metricsURL, pid: targetPID)
        let cpuStart = await meter.cpuSeconds()
        let tally = try await LoadRunner.run(
            executor: .sharedIterations(
                count: files.count, virtualUsers: min(connections, files.count), secondsMax: secondsMax),
            endpoint: endpoint, settings: LoadSettings(readsReceipts: true), sources: sources)
        let cpuEnd = await meter.cpuSeconds()
        var report = ReplayReport(tally, files: files.count, bytes: sources.reduce(0) { $0 + $1.bytes })
        if let cpuStart, let cpuEnd { report.targetCPUSeconds = cpuEnd - cpuStart }
        return report
    }

    private static func files(_ folder: String) throws -> [URL] {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: folder)) ?? []
        let files = names.filter { $0.hasSuffix(".ndjson") }.sorted()
        guard !files.isEmpty else { throw LoadError.noData(folder) }
        return files.map { URL(fileURLWithPath: folder).appendingPathComponent($0) }
    }
}

/// What a replay did.
package struct ReplayReport: Sendable, Codable {
    package var files: Int
    package var bytes: Int
    package var events: Int
    package var outcomes: OutcomeCounts
    package var statuses: [String: Int]
    package var unanswered: Int
    /// From the first send to the last answer.
    package var seconds: Double
    package var eventsPerSecond: Double
    package var targetCPUSeconds: Double?
    package var machine: MachineFacts

    init(_ tally: LoadTally, files: Int, bytes: Int) {
        self.files = files
        self.bytes = bytes
        events = tally.itemsSent
        outcomes = tally.outcomes
        statuses = Dictionary(uniqueKeysWithValues: tally.statuses.map { ("\($0.key)", $0.value) })
        unanswered = tally.unanswered
        seconds = Double(tally.lastAnswerNanoseconds) / 1e9
        eventsPerSecond = seconds > 0 ? Double(tally.outcomes.total) / seconds : 0
        machine = .current
    }

    /// 0 when every file was answered 2xx.
    package var exitCode: Int32 {
        unanswered == 0 && statuses.keys.allSatisfy { $0.hasPrefix("2") } && outcomes.total == events ? 0 : 1
    }

    package var json: String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        return (try? encoder.encode(self)).map { String(decoding: $0, as: UTF8.self) } ?? "{}"
    }

    package var table: String {
        """
        replayed      \(files) files, \(events) events, \(bytes) bytes in \(decimal(seconds, 2)) s
        rate          \(decimal(eventsPerSecond, 0)) events/s (closed loop)
        outcomes      \(outcomes.stored) stored, \(outcomes.duplicate) duplicate, \
        \(outcomes.quarantined) quarantined, \(outcomes.bot) bot, \(outcomes.late) late
        statuses      \(statuses.sorted { $0.key < $1.key }.map { "\($0.key): \($0.value)" }.joined(separator: ", "))
        """
    }
}

/// Files as requests, each once, in order.
struct ReplayBodies: RequestSource, Sendable {
    private var requests: [ByteBuffer] = []
    private var lines: [Int] = []
    private var next = 0
    private(set) var bytes = 0

    init(files: [(url: URL, key: String)], authority: String) {
        for file in files {
            guard let data = try? Data(contentsOf: file.url) else { continue }
            var count = data.withUnsafeBytes { bytes in bytes.count { $0 == 0x0a } }
            if data.last != 0x0a, !data.isEmpty { count += 1 }
            var buffer = ByteBuffer(
                string: "POST /v1/events HTTP/1.1\r\nHost: \(authority)\r\nAuthorization: Bearer \(file.key)\r\n"
                    + "Content-Type: application/x-ndjson\r\nContent-Length: \(data.count)\r\n\r\n")
            _ = data.withUnsafeBytes { buffer.writeBytes($0) }
            requests.append(buffer)
            lines.append(count)
            bytes += data.count
        }
    }

    mutating func next(nowMilliseconds: Int64) -> LoadRequest? {
        guard next < requests.count else { return nil }
        defer { next += 1 }
        return LoadRequest(buffer: requests[next], items: lines[next], slot: next, sequence: UInt64(next))
    }

    /// What was answered need not be kept.
    mutating func recycle(slot: Int) { requests[slot] = ByteBuffer() }
}
