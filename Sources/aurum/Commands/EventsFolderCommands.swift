internal import ArgumentParser
internal import AurumCore
internal import Events
internal import Foundation

extension EventsCommand {
    /// `aurum events verify DIR`.
    struct Verify: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Check every byte of a log's segment files; exit 1 when something is damaged.",
            discussion: """
                Reads only, so it may run beside the server. With --rebuild the text of every event is put together as \
                well, which is slower.
                Example: aurum events verify aurum-data/events
                """)

        @OptionGroup var options: ConfigurationOptions
        @Argument(help: "The folder of the segments, or the data folder around it; else that of the settings.")
        var folder: String?
        @Flag(name: .long, help: "Put every event together again.")
        var rebuild = false
        @Flag(name: .long, help: "Print JSON.")
        var json = false

        func run() async throws {
            let reader = try await EventsCommand.reader(folder, options)
            var findings: [SegmentFinding] = []
            do {
                try reader.verify(rebuilding: rebuild) { finding in
                    findings.append(finding)
                    if !json { EventsCommand.print(finding) }
                }
            } catch { throw CommandFailure(error.sentence) }
            if json { try Output.json(findings) } else { EventsCommand.printSum(findings) }
            if findings.contains(where: { !$0.isWhole }) { throw ExitCode(1) }
        }
    }

    /// `aurum events inspect DIR`.
    struct Inspect: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Print one event of a log's folder, or what its columns take.",
            discussion: "Example: aurum events inspect aurum-data/events --position 00000001-00000040-0")

        @OptionGroup var options: ConfigurationOptions
        @Argument(help: "The folder of the segments, or the data folder around it; else that of the settings.")
        var folder: String?
        @Option(name: .long, help: "Where the event stands: its `position` in answers.")
        var position: String?
        @Flag(name: .long, help: "Print JSON.")
        var json = false

        func run() async throws {
            let reader = try await EventsCommand.reader(folder, options)
            guard let position else { return try printColumns(reader) }
            guard let place = LogPosition(position) else {
                throw ValidationError("--position looks like 00000001-00000040-0: segment, offset, row")
            }
            guard let found = try? reader.event(at: place) else {
                throw CommandFailure("no event stands at \(position)")
            }
            if let event = found.event {
                Output.line(event.json.canonical)
            } else {
                Output.line("\(found.outcome.name): \(found.raw)")
            }
        }

        private func printColumns(_ reader: LogReader) throws {
            let sizes: [ColumnSize]
            do { sizes = try reader.columnSizes() } catch {
                throw CommandFailure("the log cannot be read: \(error)")
            }
            if json { return try Output.json(sizes) }
            let all = sizes.reduce(0) { $0 + $1.bytes }
            for size in sizes {
                let share = String(format: "%5.1f %%", 100 * Double(size.bytes) / Double(max(1, all)))
                Output.line("\(share)  \(size.bytes)\t\(size.path)\(size.kind.isEmpty ? "" : "  \(size.kind)")")
            }
        }
    }

    /// The log of a folder, or that of the settings when none is given.
    static func reader(_ given: String?, _ options: ConfigurationOptions) async throws -> LogReader {
        var folder = given ?? ""
        if given == nil { folder = try await options.read().dataDirectory }
        var isFolder: ObjCBool = false
        guard FileManager.default.fileExists(atPath: folder, isDirectory: &isFolder) else {
            throw CommandFailure("there is no folder \(folder)")
        }
        guard isFolder.boolValue else { throw CommandFailure("\(folder) is a file; give the folder it is in") }
        do throws(EventLogError) { return try LogReader(folder: folder) } catch {
            throw CommandFailure(error.sentence)
        }
    }

    static func print(_ finding: SegmentFinding) {
        let ratio = Double(finding.rawBytes) / Double(max(1, finding.bytes))
        var line = "\(finding.segment)  \(finding.blocks) blocks, \(finding.rows) rows, \(finding.bytes) bytes"
        line += String(format: ", %.2f : 1", ratio)
        if finding.tornBytes > 0 { line += ", \(finding.tornBytes) bytes behind the last whole block" }
        Output.line(line)
        for range in finding.damaged { Output.line("  damaged: \(range.sentence)") }
        if finding.unreadableRows > 0 { Output.line("  unreadable: \(finding.unreadableRows) rows") }
        if let problem = finding.problem { Output.line("  \(problem)") }
    }

    static func printSum(_ findings: [SegmentFinding]) {
        let rows = findings.reduce(0) { $0 + $1.rows }
        let bytes = findings.reduce(0) { $0 + $1.bytes }
        let raw = findings.reduce(0) { $0 + $1.rawBytes }
        let damaged = findings.reduce(0) { $0 + $1.damaged.count }
        Output.line(
            "\(findings.count) segments, \(rows) rows, \(raw) bytes in \(bytes)"
                + String(format: " (%.2f : 1)", Double(raw) / Double(max(1, bytes))) + ", \(damaged) damaged ranges")
    }
}
