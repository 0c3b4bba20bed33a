internal import AurumCore
internal import Events
internal import Foundation
internal import Logging
internal import Telemetry

/// What one event costs: the figure that every test run can hold to a baseline, since it does not depend on how much of
/// the machine is free.
package struct EventCost: Sendable, Codable, Equatable {
    /// `instructions` (user space, from the processor's counters) or `cpu` (user and system time).
    package var method: String
    /// Instructions or nanoseconds an event: capture, commit and answer in this process, all threads.
    package var perEvent: Double
    /// The same in units of a fixed piece of work done between the passes, which takes out the clock rate and most of
    /// what neighbours do. For instructions the same as `perEvent`.
    package var relative: Double
    package var processor: String
    package var passes: Int
    package var eventsPerPass: Int

    package init(
        method: String, perEvent: Double, relative: Double, processor: String, passes: Int, eventsPerPass: Int
    ) {
        self.method = method
        self.perEvent = perEvent
        self.relative = relative
        self.processor = processor
        self.passes = passes
        self.eventsPerPass = eventsPerPass
    }
}

/// Measures `EventCost` and compares it with the one kept in the repository.
package enum CostGate {
    /// How much more than the baseline is let through on the same processor, and on another one.
    package static let tolerance = 0.10
    package static let toleranceElsewhere = 0.50

    /// The verdict, as a row: times the baseline.
    ///
    /// CPU time is held to the baseline both as it is and in units of the reference work, and fails only when both are
    /// over: a busy machine makes the first larger and the second smaller, a dearer event makes both larger.
    package static func row(_ cost: EventCost, against baseline: EventCost?) -> BenchRow {
        let measured =
            cost.method == "cpu"
            ? "CPU time, median of \(cost.passes) passes: \(rounded(cost.perEvent, 0)) ns an event, "
                + "\(rounded(cost.relative, 3)) reference units"
            : "user-space instructions: \(rounded(cost.perEvent, 0)) an event"
        guard let baseline, baseline.method == cost.method, baseline.perEvent > 0, baseline.relative > 0 else {
            return BenchRow(
                name: "events.cost", value: cost.perEvent, unit: cost.method == "cpu" ? "ns/event" : "instructions",
                n: cost.passes, note: measured, notJudged: "the baseline holds no figure by \(cost.method)")
        }
        let isSame = baseline.processor == cost.processor
        let relative = cost.relative / baseline.relative
        let value = isSame ? min(cost.perEvent / baseline.perEvent, relative) : relative
        let allowed = isSame || cost.method == "instructions" ? tolerance : toleranceElsewhere
        return BenchRow(
            name: "events.cost", value: value, unit: "× baseline", bar: 1 + allowed, n: cost.passes,
            note: measured + "; baseline \(rounded(baseline.perEvent, 0)) and \(rounded(baseline.relative, 3)) on "
                + (isSame ? "this processor" : baseline.processor))
    }

    private static func rounded(_ value: Double, _ digits: Int) -> String { String(format: "%.\(digits)f", value) }

    /// CPU time an event, by passes of ingest with pieces of reference work between them.
    package static func measureCPU(passes: Int, events: Int, seed: UInt64, processor: String) async throws -> EventCost
    {
        let bodies = EventBodies.generate(.standard, events: events, seed: seed)
        let reference = ReferenceWork()
        _ = try await pass(bodies)
        var costs: [Double] = []
        var ratios: [Double] = []
        for _ in 0..<max(1, passes) {
            let before = reference.nanoseconds()
            let cost = try await pass(bodies)
            let after = reference.nanoseconds()
            costs.append(cost)
            ratios.append(cost / ((before + after) / 2))
        }
        return EventCost(
            method: "cpu", perEvent: costs.median, relative: ratios.median, processor: processor, passes: passes,
            eventsPerPass: events)
    }

    /// What a child process does for `measureInstructions`: nothing but data and passes.
    package static func passesOnly(_ passes: Int, events: Int, seed: UInt64) async throws {
        let bodies = EventBodies.generate(.standard, events: events, seed: seed)
        for _ in 0..<passes { _ = try await pass(bodies) }
    }

    /// User-space instructions an event by `perf stat` around two runs of `executable bench events --passes P`, whose
    /// difference is passes alone. nil where the machine does not count instructions.
    package static func measureInstructions(
        executable: String, perf: String, passes: Int, events: Int, seed: UInt64, processor: String
    ) throws -> EventCost? {
        func count(_ passes: Int) throws -> Double? {
            let output = FileManager.default.temporaryDirectory.appendingPathComponent("perf-\(UUID().uuidString)")
            defer { try? FileManager.default.removeItem(at: output) }
            let process = Process()
            process.executableURL = URL(fileURLWithPath: perf)
            process.arguments = [
                "stat", "-x", ",", "-e", "instructions:u", "-o", output.path, "--", executable, "bench", "events",
                "--passes", "\(passes)", "--events", "\(events)", "--seed", "\(seed)",
            ]
            process.standardOutput = FileHandle.nullDevice
            process.standardError = FileHandle.nullDevice
            do { try process.run() } catch { return nil }
            process.waitUntilExit()
            guard process.terminationStatus == 0, let text = try? String(contentsOf: output, encoding: .utf8) else {
                return nil
            }
            return instructions(in: text)
        }
        guard let few = try count(1), let many = try count(1 + passes), many > few else { return nil }
        let value = (many - few) / Double(passes * events)
        return EventCost(
            method: "instructions", perEvent: value, relative: value, processor: processor, passes: passes,
            eventsPerPass: events)
    }

    /// The count in the text of `perf stat -x ,`; nil where it was not counted.
    package static func instructions(in text: String) -> Double? {
        for line in text.split(separator: "\n") where line.contains("instructions") {
            return line.split(separator: ",").first.flatMap { Double($0) }
        }
        return nil
    }

    /// One log, all bodies, until the last answer: nanoseconds of CPU time an event.
    private static func pass(_ bodies: EventBodies) async throws -> Double {
        let ingest = try await LogBench(bodies: bodies, name: "gate", ratioBar: nil).ingestOnly()
        guard ingest.kept == bodies.events else { throw BenchFailure("\(ingest.kept) of \(bodies.events) stored") }
        return ingest.cost.cpuSeconds * 1e9 / Double(bodies.events)
    }
}

/// A fixed piece of work with the same mix as capture, byte by byte and at random places of a table, that no change of
/// ours makes faster or slower.
struct ReferenceWork {
    private let bytes: [UInt8]
    private static let rounds = 3
    private static let tableMask = 0xF_FFFF

    init() {
        var random = SeededRandom(seed: 1)
        bytes = (0..<4_000_000).map { _ in UInt8(truncatingIfNeeded: random.next()) }
    }

    /// CPU time of the median round, in nanoseconds for each thousand bytes.
    func nanoseconds() -> Double {
        var table = [UInt32](repeating: 0, count: Self.tableMask + 1)
        var sum: UInt64 = 0
        let times = (0..<Self.rounds).map { _ in
            let began = ProcessCost.threadNanoseconds
            sum &+= work(&table)
            return ProcessCost.threadNanoseconds - began
        }
        return withExtendedLifetime(sum) { times.median } * 1000 / Double(bytes.count)
    }

    @inline(never)
    private func work(_ table: inout [UInt32]) -> UInt64 {
        var hash: UInt64 = 0xcbf2_9ce4_8422_2325
        bytes.withUnsafeBufferPointer { bytes in
            table.withUnsafeMutableBufferPointer { table in
                for index in bytes.indices {
                    hash = (hash ^ UInt64(bytes[index])) &* 0x100_0000_01b3
                    if index & 63 == 63 { table[Int(truncatingIfNeeded: hash) & Self.tableMask] &+= 1 }
                }
            }
        }
        return hash
    }
}
