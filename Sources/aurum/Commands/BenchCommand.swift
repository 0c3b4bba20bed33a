internal import ArgumentParser
internal import Benchmarks
internal import Foundation

/// Figures of the engine itself, each against its bar.
struct BenchCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "bench", abstract: "Measure an area and compare with its bars; exit 1 on a miss.",
        discussion: "Areas: events, conversation, all. Machines are noisy: trust ratios taken in one run.")

    @Argument(help: "events, conversation or all.")
    var area: String
    @Option(name: .long, help: "Folder with NDJSON bodies to use instead of the generated ones (events).")
    var data: String?
    @Option(name: .long, help: "Seed of the data.")
    var seed: UInt64 = 7
    @Flag(name: .long, help: "Run every body once, tiny: proves that it works, measures nothing.")
    var tiny = false
    @Flag(name: .long, help: "Print JSON.")
    var json = false

    func run() async throws {
        guard ["events", "conversation", "all"].contains(area) else {
            throw ValidationError("unknown area \(area); areas are events, conversation, all")
        }
        var rows: [BenchRow] = []
        if area != "conversation" { rows += try await eventsBench(directory: data, tiny: tiny, seed: seed) }
        if area != "events" { rows += try await conversationBench(tiny: tiny, seed: seed) }
        let report = Report(
            rows: rows, machine: Machine.name, commit: Release.commit, mode: Release.mode, seed: seed, tiny: tiny)
        if json { try Output.json(report) } else { Output.line(report.table) }
        if !tiny, rows.contains(where: { $0.met == false }) { throw ExitCode(1) }
    }

    private struct Report: Encodable {
        let rows: [Row]
        let machine: String
        let commit: String
        let mode: String
        let seed: UInt64
        let tiny: Bool

        struct Row: Encodable {
            let name: String
            let value: Double
            let unit: String
            let bar: Double?
            let met: Bool?
            let n: Int
        }

        init(rows: [BenchRow], machine: String, commit: String, mode: String, seed: UInt64, tiny: Bool) {
            self.rows = rows.map {
                Row(name: $0.name, value: $0.value, unit: $0.unit, bar: $0.bar, met: $0.met, n: $0.n)
            }
            self.machine = machine
            self.commit = commit
            self.mode = mode
            self.seed = seed
            self.tiny = tiny
        }

        var table: String {
            let width = rows.map(\.name.count).max() ?? 0
            var text =
                "machine \(machine), commit \(commit), \(mode), seed \(seed)"
                + (tiny ? ", tiny: no measurement\n" : "\n")
            for row in rows {
                let verdict = row.met.map { $0 ? "met" : "MISSED" } ?? ""
                let bar = row.bar.map { String(format: "bar %.0f", $0) } ?? ""
                text += row.name.padding(toLength: width, withPad: " ", startingAt: 0)
                text += String(format: "  %14.1f %@  %@ %@  n=%d\n", row.value, row.unit, bar, verdict, row.n)
            }
            return text
        }
    }
}

/// What the figures were measured on.
enum Machine {
    static var name: String {
        let info = (try? String(contentsOfFile: "/proc/cpuinfo", encoding: .utf8)) ?? ""
        let model = info.split(separator: "\n").first { $0.hasPrefix("model name") }?
            .split(separator: ":").last?.trimmingCharacters(in: .whitespaces)
        return "\(model ?? "unknown CPU"), \(ProcessInfo.processInfo.activeProcessorCount) cores"
    }
}
