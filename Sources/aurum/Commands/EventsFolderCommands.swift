internal import ArgumentParser
internal import AsyncHTTPClient
internal import AurumCore
internal import Events
internal import Foundation
internal import NIOCore
internal import NIOHTTP1

extension EventsCommand {
    /// `aurum events verify DIR`.
    struct Verify: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Check every byte of a log's segment files; exit 1 when something is damaged.",
            discussion: """
                Reads only, so it may run beside the server. With --rebuild the text of every event is put together as
                well, which is slower.
                Example: aurum events verify aurum-data/events
                """)

        @Argument(help: "The folder of the segments, or the data folder around it.")
        var folder = "aurum-data"
        @Flag(name: .long, help: "Put every event together again.")
        var rebuild = false
        @Flag(name: .long, help: "Print JSON.")
        var json = false

        func run() throws {
            let reader = try EventsCommand.reader(folder)
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
    struct Inspect: ParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Print one event of a log's folder, or what its columns take.",
            discussion: "Example: aurum events inspect aurum-data/events --position 00000001-00000040-0")

        @Argument(help: "The folder of the segments, or the data folder around it.")
        var folder = "aurum-data"
        @Option(name: .long, help: "Where the event stands: its `position` in answers.")
        var position: String?
        @Flag(name: .long, help: "Print JSON.")
        var json = false

        func run() throws {
            let reader = try EventsCommand.reader(folder)
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
                throw CommandFailure("the log in \(folder) cannot be read: \(error)")
            }
            if json { return try Output.json(sizes) }
            let all = sizes.reduce(0) { $0 + $1.bytes }
            for size in sizes {
                let share = String(format: "%5.1f %%", 100 * Double(size.bytes) / Double(max(1, all)))
                Output.line("\(share)  \(size.bytes)\t\(size.path)\(size.kind.isEmpty ? "" : "  \(size.kind)")")
            }
        }
    }

    /// `aurum events import FILE`.
    struct Import: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Send a file of events, one JSON object a line, to the running server.",
            discussion: """
                Events keep their ids, so that importing a file again stores nothing twice. Prints what became of them;
                exit 1 when some were quarantined.
                Example: aurum events import events.ndjson --key $KEY
                """)

        @OptionGroup var options: ConfigurationOptions
        @Argument(help: "A file of NDJSON, or - for standard input.")
        var file: String
        @Option(
            name: .long, help: "A key with events:write; without it the running server of the data folder is asked.")
        var key: String?
        @Option(name: .long, help: "URL of the server (with --key).")
        var target = "http://127.0.0.1:8080"

        private static let linesMax = 1000
        private static let bytesMax = 2 << 20

        func run() async throws {
            let contact = try await contact()
            guard let input = file == "-" ? FileHandle.standardInput : FileHandle(forReadingAtPath: file) else {
                throw CommandFailure("\(file) cannot be read")
            }
            var sum: [String: Int64] = [:]
            var rest: [UInt8] = []
            while let piece = try input.read(upToCount: 1 << 20), !piece.isEmpty {
                rest.append(contentsOf: piece)
                while let batch = Self.cut(&rest, isLast: false) { try await send(batch, contact, &sum) }
            }
            while let batch = Self.cut(&rest, isLast: true) { try await send(batch, contact, &sum) }
            let names = ["received", "stored", "duplicate", "quarantined", "bot", "late"]
            Output.line(names.map { "\(sum[$0] ?? 0) \($0)" }.joined(separator: ", "))
            if (sum["quarantined"] ?? 0) > 0 { throw ExitCode(1) }
        }

        private func contact() async throws -> (url: String, token: String) {
            if let key { return (target, key) }
            let configuration = try await options.read()
            guard let contact = ServerContact.read(folder: configuration.dataDirectory) else {
                throw CommandFailure(
                    "no server runs on \(configuration.dataDirectory); start it, or give --key and --target")
            }
            return (contact.url, contact.token)
        }

        /// The next whole lines, at most a batch of them.
        private static func cut(_ rest: inout [UInt8], isLast: Bool) -> [UInt8]? {
            var lines = 0
            var end = 0
            for (index, byte) in rest.enumerated() where byte == 0x0a {
                if index >= bytesMax, end > 0 { break }
                lines += 1
                end = index + 1
                if lines == linesMax { break }
            }
            if lines < linesMax, end < bytesMax, !isLast { return nil }
            if isLast, end == 0 { end = rest.count }
            guard end > 0 else { return nil }
            defer { rest.removeFirst(end) }
            return Array(rest.prefix(end))
        }

        private func send(
            _ batch: [UInt8], _ contact: (url: String, token: String), _ sum: inout [String: Int64]
        ) async throws {
            var request = HTTPClientRequest(url: contact.url + "/v1/events")
            request.method = .POST
            request.headers.add(name: "authorization", value: "Bearer \(contact.token)")
            request.headers.add(name: "content-type", value: "application/x-ndjson")
            request.headers.add(name: "accept-encoding", value: "identity")
            request.body = .bytes(ByteBuffer(bytes: batch))
            let response = try await HTTPClient.shared.execute(request, timeout: .seconds(60))
            let body = try await response.body.collect(upTo: 4 << 20)
            let answer = try? JSONDecoder().decode(JSONValue.self, from: Data(body.readableBytesView))
            guard response.status == .accepted, case .object(let members)? = answer else {
                throw CommandFailure(answer?["detail"]?.string ?? "the server answered \(response.status.code)")
            }
            for (name, value) in members { if let count = value.integer { sum[name, default: 0] += count } }
        }
    }

    static func reader(_ folder: String) throws -> LogReader {
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
