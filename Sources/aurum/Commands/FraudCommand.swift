internal import ArgumentParser
internal import AurumCore
internal import Foundation

/// Fraud rules of a running server: what they decided, what is set, and what a person decides.
struct FraudCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "fraud", abstract: "See what the fraud rules decided, change them, and decide on proposals.",
        subcommands: [
            Verdicts.self, Publishers.self, Proposals.self, Decide.self, Rules.self, Lists.self, Replay.self,
            Review.self, Audit.self,
        ])

    /// A question to a running server, as a table or as JSON.
    struct Question: ParsableArguments {
        @OptionGroup var target: ServerTarget
        @Flag(name: .long, help: "Print the answer as JSON.")
        var json = false

        func call(_ method: String, _ path: String, _ body: JSONValue? = nil) async throws -> JSONValue {
            try await target.client().call(method, "/v1/fraud/" + path, body: body)
        }

        func print(_ answer: JSONValue, _ text: (JSONValue) -> [String]) throws {
            if json { return try Output.json(answer) }
            for line in text(answer) { Output.line(line) }
        }
    }

    private static func codes(_ value: JSONValue?) -> String {
        (value?.array ?? []).compactMap(\.string).joined(separator: ", ")
    }

    /// The rows of an answer under titles.
    private static func table(
        _ answer: JSONValue, _ name: String, _ titles: [String], _ cells: (JSONValue) -> [String]
    ) -> [String] {
        TextTable.lines([titles] + (answer[name]?.array ?? []).map(cells))
    }

    private static func document(_ file: String) throws -> JSONValue {
        let data = try InputFile.content(file, bytesMax: 1 << 20)
        guard let value = try? JSONDecoder().decode(JSONValue.self, from: Data(data)) else {
            throw CommandFailure("\(file) is not JSON")
        }
        return value
    }

    struct Verdicts: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Verdicts of installs and their touches, newest installs first.",
            discussion: "Example: aurum fraud verdicts --outcome rejected --code ctit_impossible")

        @OptionGroup var question: Question
        @Option(name: .long, help: "The event id of an install or a touch.")
        var subject: String?
        @Option(name: .long, help: "For example ctit_fast.")
        var code: String?
        @Option(name: .long, help: "clean, suspect or rejected.")
        var outcome: String?
        @Option(name: .long, help: "A publisher's id.")
        var publisher: String?
        @Option(name: .long, help: "Installs of this date or RFC 3339 time, or later.")
        var from: String?
        @Option(name: .long, help: "Installs before it.")
        var to: String?
        @Flag(name: .long, help: "Replaced verdicts of the subject too.")
        var history = false
        @Option(name: .long, help: "At most this many, 1 to 1000.")
        var limit = 50

        func run() async throws {
            let query = ServerClient.query([
                ("limit", "\(limit)"), ("subject", subject), ("code", code), ("outcome", outcome),
                ("publisher", publisher), ("from", from), ("to", to), ("history", history ? "true" : nil),
            ])
            try question.print(try await question.call("GET", "verdicts" + query)) { answer in
                FraudCommand.table(
                    answer, "verdicts",
                    ["at", "subject", "install", "touch", "publisher", "outcome", "codes", "reason", "stage"]
                ) { row in
                    ["at", "subject", "install", "touch", "publisher", "outcome"].map { TextTable.cell(row[$0]) }
                        + [
                            FraudCommand.codes(row["codes"]), TextTable.cell(row["reason"]),
                            TextTable.cell(row["stage"]),
                        ]
                }
            }
        }
    }

    struct Publishers: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Installs that publishers claim, how many were rejected, and the patterns that stand.")

        @OptionGroup var question: Question
        @Option(name: .long, help: "At most this many, 1 to 1000.")
        var limit = 50

        func run() async throws {
            try question.print(try await question.call("GET", "publishers?limit=\(limit)")) { answer in
                FraudCommand.table(
                    answer, "publishers",
                    ["app", "network", "publisher", "installs", "suspect", "rejected", "share", "grade", "patterns"]
                ) { row in
                    ["app", "network", "publisher", "installs", "suspect", "rejected"].map { TextTable.cell(row[$0]) }
                        + [
                            TextTable.cell(row["share"], percent: true), TextTable.cell(row["grade"]),
                            FraudCommand.codes(.array((row["patterns"]?.array ?? []).compactMap { $0["code"] })),
                        ]
                }
            }
        }
    }

    struct Proposals: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "What the figures of publishers ask for.")

        @OptionGroup var question: Question
        @Option(name: .long, help: "open, confirmed, dismissed, undone or withdrawn; all unless told.")
        var state: String?
        @Option(name: .long, help: "At most this many, 1 to 1000.")
        var limit = 50

        func run() async throws {
            let query = ServerClient.query([("limit", "\(limit)"), ("state", state)])
            try question.print(try await question.call("GET", "proposals" + query)) { answer in
                FraudCommand.table(
                    answer, "proposals",
                    ["id", "state", "action", "app", "network", "publisher", "installs", "rejected", "share"]
                ) { row in
                    ["id", "state", "action", "app", "network", "publisher", "installs", "rejected"].map {
                        TextTable.cell(row[$0])
                    } + [TextTable.cell(row["share"], percent: true)]
                }
            }
        }
    }

    struct Decide: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Confirm or dismiss a proposal, or undo that.",
            discussion: "Example: aurum fraud decide 019ab2… confirm")

        enum Decision: String, ExpressibleByArgument, CaseIterable { case confirm, dismiss, undo }

        @OptionGroup var question: Question
        @Argument(help: "The proposal's id.")
        var id: String
        @Argument(help: "confirm, dismiss or undo.")
        var decision: Decision

        func run() async throws {
            let answer = try await question.call(
                "POST", "proposals/\(id.percentEncoded)", ["decision": .string(decision.rawValue)])
            try question.print(answer) { ["\(TextTable.cell($0["publisher"])): \(TextTable.cell($0["state"]))"] }
        }
    }

    struct Rules: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Show the rules, or save a new version from a file.",
            discussion: """
                A file holds {"limits": {"ctit_fast_seconds": 12}, "off": ["emulator"], "overrides": [{"network": …}], \
                "starts_at": "2026-11-01"}; what is left out is as the standard says.
                Example: aurum fraud rules --set rules.json
                """)

        @OptionGroup var question: Question
        @Option(name: .long, help: "A file with a set of rules, or - for standard input.")
        var set: String?

        func run() async throws {
            if let set {
                let saved = try await question.call("PUT", "rules", try FraudCommand.document(set))
                return try question.print(saved) { ["version \(TextTable.cell($0["version"])) is saved"] }
            }
            try question.print(try await question.call("GET", "rules")) { answer in
                let newest = answer["versions"]?.array?.first
                let title = newest.map {
                    "version \(TextTable.cell($0["version"])) from \(TextTable.cell($0["starts_at"]))"
                }
                let numbers = newest?["effective"] ?? answer["standard"]
                return [title ?? "standard rules"]
                    + TextTable.lines(
                        (numbers?.object ?? [:]).sorted { $0.key < $1.key }.map { [$0.key, TextTable.cell($0.value)] })
            }
        }
    }

    struct Lists: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Show the lists, add an entry or remove one.",
            discussion: "Example: aurum fraud lists --add deny publisher pub-17 --network acme-ads")

        @OptionGroup var question: Question
        @Option(
            name: .long, parsing: .upToNextOption,
            help: "allow, deny or suspend; network, publisher, address or device; and its value.")
        var add: [String] = []
        @Option(name: .long, help: "The network of a publisher.")
        var network: String?
        @Option(name: .long, help: "Why.")
        var note: String?
        @Option(name: .long, help: "The id of an entry to remove.")
        var remove: String?

        func validate() throws {
            guard add.isEmpty || add.count == 3 else { throw ValidationError("--add takes a list, a kind and a value") }
            guard add.isEmpty || remove == nil else { throw ValidationError("--add and --remove exclude each other") }
        }

        func run() async throws {
            if let remove {
                let answer = try await question.call("DELETE", "lists/\(remove.percentEncoded)")
                return try question.print(answer) { _ in ["removed"] }
            }
            if !add.isEmpty {
                var body: [String: JSONValue] = [
                    "list": .string(add[0]), "kind": .string(add[1]), "value": .string(add[2]),
                ]
                if let network { body["network"] = .string(network) }
                if let note { body["note"] = .string(note) }
                let answer = try await question.call("POST", "lists", .object(body))
                return try question.print(answer) { [TextTable.cell($0["id"])] }
            }
            try question.print(try await question.call("GET", "lists")) { answer in
                FraudCommand.table(answer, "entries", ["id", "list", "kind", "network", "value", "note", "added"]) {
                    row in
                    ["id", "list", "kind", "network", "value", "note", "added_at"].map { TextTable.cell(row[$0]) }
                }
            }
        }
    }

    struct Replay: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "What a set of rules would have decided, beside what holds. Nothing is stored.",
            discussion: "Example: aurum fraud replay rules.json --days 14")

        @OptionGroup var question: Question
        @Argument(help: "A file with a set of rules, or - for standard input.")
        var file: String
        @Option(name: .long, help: "Installs of so many days, 1 to 90.")
        var days = 30
        @Option(name: .long, help: "Only this app.")
        var app: String?

        func run() async throws {
            var body: [String: JSONValue] = [
                "rules": try FraudCommand.document(file), "days": .integer(Int64(days)),
            ]
            if let app { body["app"] = .string(app) }
            try question.print(try await question.call("POST", "replay", .object(body))) { answer in
                let changes = (answer["changes"]?.object ?? [:]).sorted { $0.key < $1.key }
                let before = answer["codes_before"]?.object ?? [:]
                let after = answer["codes_after"]?.object ?? [:]
                let codes = Set(before.keys).union(after.keys).sorted()
                return ["\(TextTable.cell(answer["installs"])) installs"]
                    + changes.map { "\($0.key): \(TextTable.cell($0.value))" }
                    + TextTable.lines(
                        [["code", "before", "after"]]
                            + codes.map {
                                [$0, TextTable.cell(before[$0] ?? 0), TextTable.cell(after[$0] ?? 0)]
                            })
            }
        }
    }

    struct Review: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Look at all installs of the last 30 days again, as a job.")

        @OptionGroup var question: Question

        func run() async throws {
            try question.print(try await question.call("POST", "review")) { ["job \(TextTable.cell($0["job"]))"] }
        }
    }

    struct Audit: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Who changed rules and lists and decided, newest first.")

        @OptionGroup var question: Question
        @Option(name: .long, help: "At most this many, 1 to 1000.")
        var limit = 50

        func run() async throws {
            try question.print(try await question.call("GET", "audit?limit=\(limit)")) { answer in
                FraudCommand.table(answer, "audit", ["at", "actor", "action", "detail"]) { row in
                    [
                        TextTable.cell(row["at"]), TextTable.cell(row["actor"]), TextTable.cell(row["action"]),
                        row["detail"]?.canonical ?? "",
                    ]
                }
            }
        }
    }
}
