internal import AsyncHTTPClient
internal import Foundation
internal import NIOCore

/// What the server under load used, measured from outside.
package struct TargetReading: Sendable, Codable, Hashable {
    /// Seconds over which `cpuSeconds` were used.
    package var wallSeconds: Double = 0
    package var cpuSeconds: Double?
    package var residentBytesStart: Double?
    package var residentBytesMax: Double?
    /// One sample a second from the end of the warm-up.
    package var residentPerSecond: [Double] = []
    /// `metrics` or `proc`.
    package var source = "none"
    /// CPU cores that processes other than target and generator kept busy.
    package var otherCores: Double?

    package init() {}

    package var cores: Double? { cpuSeconds.map { wallSeconds > 0 ? $0 / wallSeconds : 0 } }
}

/// Reads CPU and memory of the target once a second, from its metrics listener or from /proc.
struct TargetMeter: Sendable {
    var metricsURL: String?
    var pid: Int32?

    private struct Sample {
        var at: ContinuousClock.Instant
        var cpu: Double?
        var resident: Double?
        var busy: Double?
        var own: Double
    }

    /// Runs `body` and measures the target from `skipping` seconds after its start to `seconds`.
    func during<Value: Sendable>(
        _ seconds: Double, skipping: Double, _ body: @Sendable @escaping () async throws -> Value
    ) async throws -> (value: Value, reading: TargetReading) {
        async let reading = watch(seconds: seconds, skipping: min(skipping, seconds / 2))
        let value = try await body()
        return (value, await reading)
    }

    /// CPU seconds that the target has used so far.
    func cpuSeconds() async -> Double? { await sample().cpu }

    /// Ends early when its task is cancelled.
    func watch(seconds: Double, skipping: Double = 0) async -> TargetReading {
        let clock = ContinuousClock()
        let begin = clock.now
        try? await clock.sleep(until: begin + .seconds(skipping))
        let first = await sample()
        var reading = TargetReading()
        reading.source = pid != nil ? "proc" : metricsURL != nil ? "metrics" : "none"
        reading.residentBytesStart = first.resident
        reading.residentBytesMax = first.resident
        var next = begin + .seconds(skipping + 1)
        while next < begin + .seconds(seconds), !Task.isCancelled {
            try? await clock.sleep(until: next)
            if let now = await sample().resident {
                reading.residentBytesMax = max(reading.residentBytesMax ?? 0, now)
                reading.residentPerSecond.append(now)
            }
            next = next + .seconds(1)
        }
        try? await clock.sleep(until: begin + .seconds(seconds))
        let last = await sample()
        reading.wallSeconds = (last.at - first.at) / .seconds(1)
        if let from = first.cpu, let to = last.cpu { reading.cpuSeconds = to - from }
        if let now = last.resident { reading.residentBytesMax = max(reading.residentBytesMax ?? 0, now) }
        if let from = first.busy, let to = last.busy, reading.wallSeconds > 0 {
            let known = last.own - first.own + (reading.cpuSeconds ?? 0)
            reading.otherCores = max(0, (to - from - known) / reading.wallSeconds)
        }
        return reading
    }

    private func sample() async -> Sample {
        var sample = Sample(
            at: ContinuousClock().now, busy: ProcFile.machineBusySeconds(), own: ProcFile.ownCPUSeconds())
        if let pid {
            sample.cpu = ProcFile.cpuSeconds(pid: pid)
            sample.resident = ProcFile.residentBytes(pid: pid)
        } else if let metricsURL {
            let text = (try? await MetricsText.fetch(metricsURL)) ?? MetricsText("")
            sample.cpu = text.sum("aurum_process_cpu_seconds_total")
            sample.resident = text.sum("aurum_process_resident_bytes")
        }
        return sample
    }
}

/// Prometheus text, read for single values.
package struct MetricsText: Sendable {
    private let lines: [Substring]

    package init(_ text: String) {
        lines = text.split(separator: "\n").filter { !$0.hasPrefix("#") }
    }

    package static func fetch(_ url: String) async throws -> MetricsText {
        let response = try await HTTPClient.shared.execute(HTTPClientRequest(url: url), timeout: .seconds(5))
        let body = try await response.body.collect(upTo: 8 << 20)
        return MetricsText(String(buffer: body))
    }

    /// All series of a family added up; nil when there is none.
    package func sum(_ name: String, where label: String? = nil) -> Double? {
        var found: Double?
        for line in lines where line.hasPrefix(name) {
            let rest = line.dropFirst(name.count)
            guard rest.first == " " || rest.first == "{" else { continue }
            if let label, !rest.contains(label) { continue }
            guard let value = rest.split(separator: " ").last.flatMap({ Double($0) }) else { continue }
            found = (found ?? 0) + value
        }
        return found
    }
}

/// Linux's own account of processes and machine.
enum ProcFile {
    private static let ticksPerSecond = 100.0

    static func cpuSeconds(pid: Int32) -> Double? {
        guard let text = read("/proc/\(pid)/stat"), let close = text.lastIndex(of: ")") else { return nil }
        let fields = text[text.index(after: close)...].split(separator: " ")
        guard fields.count > 12, let user = Double(fields[11]), let system = Double(fields[12]) else { return nil }
        return (user + system) / ticksPerSecond
    }

    static func residentBytes(pid: Int32) -> Double? {
        guard let text = read("/proc/\(pid)/status"),
            let line = text.split(separator: "\n").first(where: { $0.hasPrefix("VmRSS:") })
        else { return nil }
        return line.split(separator: " ").dropFirst().first.flatMap { Double($0) }.map { $0 * 1024 }
    }

    static func ownCPUSeconds() -> Double { cpuSeconds(pid: ProcessInfo.processInfo.processIdentifier) ?? 0 }

    /// Seconds that all cores together were not idle since boot.
    static func machineBusySeconds() -> Double? {
        guard let line = read("/proc/stat")?.split(separator: "\n").first else { return nil }
        let fields = line.split(separator: " ").dropFirst().compactMap { Double($0) }
        guard fields.count >= 8 else { return nil }
        return (fields[0] + fields[1] + fields[2] + fields[5] + fields[6]) / ticksPerSecond
    }

    static func read(_ path: String) -> String? {
        guard let data = FileManager.default.contents(atPath: path) else { return nil }
        return String(decoding: data, as: UTF8.self)
    }
}
