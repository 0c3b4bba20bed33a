internal import ArgumentParser
internal import AurumCore
internal import Events
internal import Foundation
internal import Logging
internal import Telemetry

/// Questions about events: to a running server, or to the folder of a stopped one.
struct EventsQueryCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "query", abstract: "Count, sum and compare events by groups and time.",
        discussion: """
            The query is text, a file with its JSON form (FILE.json), or - for standard input. Beside a running server \
            the command asks the server; without one it reads the data folder itself.
            Example: aurum events query 'count, unique(person) where type = page by channel per day last 7d'
            """)

    @OptionGroup var options: ConfigurationOptions
    @Argument(help: "The query: text, FILE.json or -.")
    var query: String
    @Option(name: .long, help: "Server to ask, with a key in AURUM_KEY.")
    var url: String?
    @Option(name: .long, help: "Organisation (without a running server).")
    var org = "default"
    @Flag(name: .long, help: "Print the answer as JSON.")
    var json = false

    func run() async throws {
        let document = try document()
        try check(document)
        let answer: JSONValue
        if let url {
            guard let key = ProcessInfo.processInfo.environment["AURUM_KEY"], !key.isEmpty else {
                throw ValidationError("--url needs a key with analytics:read in AURUM_KEY")
            }
            let contact = ServerContact(url: url, token: key, pid: 0)
            answer = try await ServerClient(contact: contact).call("POST", "/v1/query", body: document)
        } else {
            let configuration = try await options.read()
            if let contact = ServerContact.read(folder: configuration.dataDirectory) {
                answer = try await ServerClient(contact: contact).call("POST", "/v1/query", body: document)
            } else {
                answer = try await Self.read(document, configuration, org: org)
            }
        }
        if json { try Output.json(answer) } else { Output.line(AnswerTable(answer).text) }
    }

    /// What is sent: the JSON form, or the text under `q`.
    private func document() throws -> JSONValue {
        guard query == "-" || query.hasSuffix(".json") else { return ["q": .string(query)] }
        let data = try InputFile.content(query)
        let text = String(decoding: data, as: UTF8.self).trimmingCharacters(in: .whitespacesAndNewlines)
        if !text.hasPrefix("{") { return ["q": .string(text)] }
        guard let document = try? JSONDecoder().decode(JSONValue.self, from: data) else {
            throw CommandFailure("\(query == "-" ? "standard input" : query) is not valid JSON")
        }
        return document
    }

    /// Says where a text is broken before anybody is asked.
    private func check(_ document: JSONValue) throws {
        do throws(QueryParseError) { _ = try QueryDocument.query(document, now: SystemWallClock().now) } catch {
            var sentence = error.sentence
            if case .byte(let offset) = error.place, let text = document["q"]?.string {
                let before = String(decoding: Array(text.utf8).prefix(offset), as: UTF8.self)
                sentence += "\n  \(text)\n  " + String(repeating: " ", count: before.count) + "^"
            }
            throw CommandFailure(sentence)
        }
    }

    /// Asks the log of a stopped server.
    static func read(
        _ document: JSONValue, _ configuration: AurumConfiguration, org: String
    ) async throws -> JSONValue {
        let clock = SystemWallClock()
        var text = ""
        try await EventsCommand.withDesk(configuration) { log, desk in
            var limits = QueryLimits()
            limits.duration = .seconds(600)
            let engine = QueryEngine(
                source: log.store, persons: { log.store.persons(org: $0) },
                replayed: { try await desk.replayed(org: $0) }, limits: limits, registry: MetricRegistry(),
                clock: clock, logger: Logger(label: "query"))
            do throws(QueryError) {
                text = try await engine.answer(try engine.query(document), org: org).json
            } catch { throw CommandFailure(error.sentence) }
        }
        return try JSONDecoder().decode(JSONValue.self, from: Data(text.utf8))
    }
}

/// An answer as a table for people.
struct AnswerTable {
    let text: String

    init(_ answer: JSONValue) {
        let columns = (answer["columns"]?.array ?? []).map { column in
            (name: column["name"]?.string ?? "", isNumber: !["bucket", "group"].contains(column["kind"]?.string))
        }
        let rows = (answer["rows"]?.array ?? []).map { row in columns.map { Self.cell(row[$0.name] ?? .null) } }
        let widths = columns.enumerated().map { index, column in
            ([column.name] + rows.map { $0[index] }).map(\.count).max() ?? 0
        }
        func line(_ cells: [String]) -> String {
            var text = ""
            for (index, cell) in cells.enumerated() {
                let space = String(repeating: " ", count: widths[index] - cell.count)
                text += (index == 0 ? "" : "  ") + (columns[index].isNumber ? space + cell : cell + space)
            }
            return String(text.reversed().drop { $0 == " " }.reversed())
        }
        var lines = [
            line(columns.map(\.name)), widths.map { String(repeating: "-", count: $0) }.joined(separator: "  "),
        ]
        lines += rows.map(line)
        text = (lines + ["", Self.facts(answer)]).joined(separator: "\n")
    }

    private static func cell(_ value: JSONValue) -> String {
        switch value {
        case .null: "–"
        case .string(let text): TextTable.plain(text)
        case .object(let amounts):
            amounts.isEmpty
                ? "–"
                : amounts.sorted { $0.key < $1.key }.map { "\($0.value.string ?? "") \($0.key)" }.joined(
                    separator: ", ")
        case .bool, .integer, .number, .array: value.canonical
        }
    }

    private static func facts(_ answer: JSONValue) -> String {
        let groups = answer["group_count"]?.integer ?? 0
        let rows = answer["row_count"]?.integer ?? 0
        var facts = ["\(rows) of \(groups) groups", "\(answer["rows_scanned"]?.integer ?? 0) rows read"]
        if let kept = answer["rows_kept"]?.integer, kept > 0 { facts.append("\(kept) known before") }
        facts.append("\(answer["elapsed_ms"]?.canonical ?? "0") ms")
        if answer["truncated"]?.bool == true { facts.append("cut at the limit") }
        if answer["approximate"]?.bool == true { facts.append("distinct counts are estimates") }
        return facts.joined(separator: ", ")
    }
}
