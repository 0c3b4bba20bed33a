internal import ArgumentParser
internal import AurumCore
internal import Foundation

extension DatabaseCommand {
    /// What the running server asks its database.
    struct Queries: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract:
                "Statements of the running server by total time, its slow calls, or what requests ask repeatedly.",
            discussion: """
                p50 and p95 are upper edges of a histogram. AURUM_DATABASE_SLOW_MS says what is slow. No value of a \
                parameter is kept anywhere: slow calls show types and lengths.
                """)

        @OptionGroup var options: ConfigurationOptions
        @Flag(name: .long, help: "Slow calls, newest first, with their plans.")
        var slow = false
        @Flag(name: .long, help: "Statements that single requests ran more than 20 times.")
        var repeated = false
        @Option(name: .long, help: "Order of statements: total, p95, calls or errors.")
        var sort = "total"
        @Option(name: .long, help: "At most this many.")
        var limit = 20
        @Flag(name: .long, help: "Print JSON.")
        var json = false

        func validate() throws {
            guard (1...1000).contains(limit) else { throw ValidationError("--limit is 1 to 1000") }
            guard !(slow && repeated) else { throw ValidationError("--slow or --repeated, not both") }
            guard ["total", "p95", "calls", "errors"].contains(sort) else {
                throw ValidationError("--sort is total, p95, calls or errors")
            }
        }

        func run() async throws {
            let configuration = try await options.read()
            guard let contact = ServerContact.read(folder: configuration.dataDirectory) else {
                throw CommandFailure("no server runs on \(configuration.dataDirectory)")
            }
            let path = "/v1/database?sort=\(sort)&limit=\(slow ? 1 : limit)&slow=\(slow ? limit : 0)"
            let answer = try await ServerClient(contact: contact).call("GET", path)
            let rows = answer[slow ? "slow" : "statements"]?.array ?? []
            if repeated { return Self.show(repeated: answer["n_plus_one"]?.array ?? [], json: json) }
            if json { return Output.line(slow ? JSONValue.array(rows).canonical : answer.canonical) }
            if slow {
                if rows.isEmpty { Output.line("Nothing was slow since the start.") }
                for row in rows { Self.print(slow: row) }
            } else {
                Output.line(Self.heading)
                for row in rows { Output.line(Self.line(row)) }
            }
        }

        private static func show(repeated rows: [JSONValue], json: Bool) {
            if json { return Output.line(JSONValue.array(rows).canonical) }
            if rows.isEmpty { Output.line("No request ran a statement more than 20 times since the start.") }
            for row in rows {
                let (route, name) = (row["route"]?.string ?? "", row["statement"]?.string ?? "")
                Output.line(
                    "\(route)  \(name)  \(number(row["requests"])) requests, up to \(number(row["runs_max"])) runs")
                Output.line("  \(row["sql"]?.string ?? "")")
            }
        }

        private static let widths = [10, 12, 10, 10, 10, 10, 8, 8]
        private static let heading =
            columns(["calls", "total ms", "p50 ms", "p95 ms", "max ms", "rows", "slow", "errors"]) + "  statement"

        private static func columns(_ texts: [String]) -> String {
            zip(texts, widths).map { text, width in
                String(repeating: " ", count: max(0, width - text.count)) + text
            }.joined(separator: " ")
        }

        private static func line(_ row: JSONValue) -> String {
            let names = ["calls", "total_ms", "p50_ms", "p95_ms", "max_ms", "rows", "slow", "error_count"]
            return columns(names.map { number(row[$0]) }) + "  " + (row["name"]?.string ?? "")
        }

        private static func number(_ value: JSONValue?) -> String {
            if let whole = value?.integer { return "\(whole)" }
            return String(format: "%.2f", value?.double ?? 0)
        }

        private static func print(slow row: JSONValue) {
            let parts = ["pool", "lock", "engine", "own", "commit"].map { $0 + " " + number(row[$0 + "_ms"]) }
            var head = "\(row["at"]?.string ?? "")  \(row["statement"]?.string ?? "")  "
            head += "\(number(row["duration_ms"])) ms  \(row["outcome"]?.string ?? "")  rows \(number(row["rows"]))"
            Output.line(head)
            Output.line("  ms: " + parts.joined(separator: "  "))
            if let sql = row["sql"]?.string { Output.line("  \(sql)") }
            let parameters = (row["parameters"]?.array ?? []).compactMap(\.string)
            if !parameters.isEmpty { Output.line("  parameters: " + parameters.joined(separator: ", ")) }
            if let plan = row["plan"]?.string {
                for step in plan.split(separator: "\n") { Output.line("    \(step)") }
            }
        }
    }
}
