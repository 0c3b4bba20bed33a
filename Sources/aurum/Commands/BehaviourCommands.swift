internal import ArgumentParser
internal import AurumCore
internal import Events
internal import Foundation
internal import Telemetry

/// What the commands about behaviour have in common: a question from a file, an answer as a table or as JSON.
struct BehaviourOptions: ParsableArguments {
    @OptionGroup var options: ConfigurationOptions
    @Argument(help: "A file with the question as JSON, or - for standard input.")
    var file: String
    @Flag(name: .long, help: "Print the whole answer as JSON.")
    var json = false
    @Option(name: .long, help: "Organisation (without a running server).")
    var org = "default"

    /// Asks the server that runs, or the stopped server's log.
    func ask(_ kind: BehaviourKind) async throws -> JSONValue {
        let data = try InputFile.content(file)
        guard let body = try? JSONDecoder().decode(JSONValue.self, from: data), body.object != nil else {
            throw CommandFailure("\(file == "-" ? "standard input" : file) is not one JSON object")
        }
        let configuration = try await options.read()
        if let contact = ServerContact.read(folder: configuration.dataDirectory) {
            return try await ServerClient(contact: contact).call("POST", "/v1/query/\(kind.rawValue)", body: body)
        }
        var answer = JSONValue.null
        let org = org
        try await EventsCommand.withDesk(configuration) { log, desk in
            do {
                answer = try await BehaviourWiring.questions(log, desk.apps, registry: MetricRegistry())
                    .answer(kind, body, org: org)
            } catch let error as BehaviourError {
                throw CommandFailure(error)
            } catch let error as QueryError { throw CommandFailure(error.sentence) }
        }
        return answer
    }

    /// Prints the answer as a table, and what `more` makes of it as another behind it.
    func run(
        _ kind: BehaviourKind, table: (JSONValue) -> [[String]], more: (JSONValue) -> [[String]] = { _ in [] }
    ) async throws {
        let answer = try await ask(kind)
        if json { return try Output.json(answer) }
        for line in TextTable.lines(table(answer)) { Output.line(line) }
        let second = more(answer)
        if !second.isEmpty { Output.line("") }
        for line in TextTable.lines(second) { Output.line(line) }
        let rows = answer["rows_scanned"]?.integer ?? 0
        let milliseconds = answer["elapsed_ms"]?.double ?? 0
        Output.line("as of \(answer["as_of"]?.string ?? ""), \(rows) rows scanned in \(Int(milliseconds)) ms")
        if let damaged = answer["damaged_blocks"]?.integer {
            Output.line("left out \(damaged) damaged blocks; see aurum events verify")
        }
    }
}

extension CommandFailure {
    init(_ error: BehaviourError) {
        self.init("the question is wrong:" + error.problems.map { "\n  - \($0.field): \($0.detail)" }.joined())
    }
}

/// Columns of equal width.
enum TextTable {
    /// A line end or an escape sequence of somebody's event must not reach the terminal.
    static func plain(_ text: String) -> String {
        String(text.unicodeScalars.map { $0.value < 32 || (127..<160).contains($0.value) ? "·" : Character($0) })
    }

    static func lines(_ rows: [[String]]) -> [String] {
        let rows = rows.map { $0.map(plain) }
        var widths: [Int] = []
        for row in rows {
            for (index, cell) in row.enumerated() {
                if index == widths.count { widths.append(0) }
                widths[index] = max(widths[index], cell.count)
            }
        }
        return rows.map { row in
            let cells = row.enumerated().map { index, cell in
                cell + String(repeating: " ", count: widths[index] - cell.count)
            }
            let line = cells.joined(separator: "  ")
            return String(line.reversed().drop { $0 == " " }.reversed())
        }
    }

    /// A value as a cell; shares as per cent.
    static func cell(_ value: JSONValue?, percent: Bool = false) -> String {
        switch value {
        case nil, .null?: return "–"
        case .string(let text)?: return text
        case .object(let members)?:
            return members.sorted { $0.key < $1.key }.map { "\(cell($0.value)) \($0.key)" }.joined(separator: ", ")
        case .some(let value):
            if percent, let share = value.double { return "\((share * 1000).rounded() / 10) %" }
            return value.canonical
        }
    }
}

extension EventsCommand {
    struct Funnel: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "How many persons go through 2 to 10 steps.",
            discussion: #"{"last":"7d","steps":["…"],"window":"7d","order":"ordered","breakdown":"channel"}"#)
        @OptionGroup var question: BehaviourOptions

        func run() async throws {
            try await question.run(.funnel, table: Self.steps, more: Self.groups)
        }

        private static func steps(_ answer: JSONValue) -> [[String]] {
            [["step", "name", "persons", "of first", "of previous", "median s"]]
                + (answer["steps"]?.array ?? []).map { step in
                    [
                        TextTable.cell(step["step"]), TextTable.cell(step["name"]),
                        TextTable.cell(step["persons"]), TextTable.cell(step["conversion"], percent: true),
                        TextTable.cell(step["from_previous"], percent: true),
                        TextTable.cell(step["median_seconds"]),
                    ]
                }
        }

        /// Persons at each step by the value of the breakdown.
        private static func groups(_ answer: JSONValue) -> [[String]] {
            guard let breakdown = answer["breakdown"], let groups = answer["groups"]?.array else { return [] }
            let names = (answer["steps"]?.array ?? []).map { TextTable.cell($0["name"]) }
            var rows = [[TextTable.cell(breakdown)] + names + ["of first"]]
            for group in groups {
                let steps = group["steps"]?.array ?? []
                let value = group["value"]?.string ?? "(none)"
                rows.append(
                    [value] + steps.map { TextTable.cell($0["persons"]) }
                        + [TextTable.cell(steps.last?["conversion"], percent: true)])
            }
            if answer["truncated"]?.bool == true {
                rows.append(["(\((answer["group_count"]?.integer ?? 0) - Int64(groups.count)) more)"])
            }
            return rows
        }
    }

    struct Retention: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "How many persons come back on the days after their first event.",
            discussion: #"{"last":"30d","first":"name = signup","mode":"classic","days":[1,7,30]}"#)
        @OptionGroup var question: BehaviourOptions

        func run() async throws {
            try await question.run(.retention) { answer in
                [["day", "eligible", "returned", "rate"]]
                    + (answer["days"]?.array ?? []).map { day in
                        [
                            TextTable.cell(day["day"]), TextTable.cell(day["eligible"]),
                            TextTable.cell(day["returned"]), TextTable.cell(day["rate"], percent: true),
                        ]
                    }
            }
        }
    }

    struct Cohorts: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "What persons do in the periods after their first event.",
            discussion: #"{"last":"12w","first":"name = signup","event":"name = purchase","period":"week"}"#)
        @OptionGroup var question: BehaviourOptions

        func run() async throws {
            try await question.run(.cohorts) { answer in
                var rows = [["start", "persons", "after", "came", "share", "count", "value"]]
                for cohort in answer["cohorts"]?.array ?? [] {
                    for cell in cohort["periods"]?.array ?? [] {
                        rows.append([
                            TextTable.cell(cohort["start"]), TextTable.cell(cohort["persons"]),
                            TextTable.cell(cell["after"]), TextTable.cell(cell["persons"]),
                            TextTable.cell(cell["share"], percent: true), TextTable.cell(cell["count"]),
                            TextTable.cell(cell["value"]),
                        ])
                    }
                }
                return rows
            }
        }
    }

    struct Paths: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Where persons go from an event, or how they came to one.",
            discussion: #"{"last":"7d","start":"type = page","depth":4}"#)
        @OptionGroup var question: BehaviourOptions

        func run() async throws {
            try await question.run(.paths) { answer in
                [["persons", "share", "path"]]
                    + (answer["branches"]?.array ?? []).map { branch in
                        [
                            TextTable.cell(branch["persons"]), TextTable.cell(branch["share"], percent: true),
                            (branch["path"]?.array ?? []).compactMap(\.string).joined(separator: " → "),
                        ]
                    }
            }
        }
    }

    struct Sessions: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "The visits of a time: how many, how long, how many bounced.",
            discussion: #"{"last":"7d","bucket":"day","gap_minutes":30}"#)
        @OptionGroup var question: BehaviourOptions

        func run() async throws {
            try await question.run(.sessions) { answer in
                var total = answer["total"]?.object ?? [:]
                total["bucket"] = "total"
                return [["from", "sessions", "persons", "events", "bounced", "median s", "value"]]
                    + ((answer["buckets"]?.array ?? []) + [.object(total)]).map { row in
                        [
                            TextTable.cell(row["bucket"]), TextTable.cell(row["sessions"]),
                            TextTable.cell(row["persons"]), TextTable.cell(row["events"]),
                            TextTable.cell(row["bounce_rate"], percent: true),
                            TextTable.cell(row["median_seconds"]), TextTable.cell(row["value"]),
                        ]
                    }
            }
        }
    }
}
