internal import ArgumentParser
internal import AurumCore
internal import Foundation

/// Exports that a running server makes: copies for a folder or a webhook, and those that come by themselves.
struct ExportsCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "exports",
        abstract: "Export events to a folder or a webhook of the server, now or by a schedule.",
        discussion: """
            For a file of your own see aurum events export. Bodies are those of POST /v1/exports.
            Example: aurum exports make wish.json
            Example: aurum exports schedule orders wish.json --daily --timezone America/New_York --secret secret.txt
            """,
        subcommands: [List.self, Show.self, Make.self, Deliver.self, Schedules.self, Schedule.self, Unschedule.self])

    private static let root = "/v1/exports"
    private static let schedules = "/v1/export-schedules"

    /// What is exported.
    struct Wish: ParsableArguments {
        @Argument(help: "A file with the JSON body of POST /v1/exports, - for standard input.")
        var file: String
        @Option(name: .long, help: "A file that only you can read: what posts to a webhook are signed with.")
        var secret: String?

        func body() throws -> JSONValue {
            let data = try InputFile.content(file, bytesMax: 262_144)
            guard var members = (try? JSONDecoder().decode(JSONValue.self, from: data))?.object else {
                throw CommandFailure("\(file) holds no JSON object")
            }
            if let secret {
                let text = String(decoding: try InputFile.content(secret, bytesMax: 4096), as: UTF8.self)
                members["secret"] = .string(text.trimmingCharacters(in: .whitespacesAndNewlines))
            }
            return .object(members)
        }
    }

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Exports of the last seven days, newest first.")

        @OptionGroup var target: ServerTarget
        @Flag(name: .long, help: "Print the answer as JSON.")
        var json = false

        func run() async throws {
            let answer = try await target.client().call("GET", ExportsCommand.root)
            if json { return try Output.json(answer) }
            let rows = (answer["exports"]?.array ?? []).map { one in
                [
                    one["id"]?.string ?? "", one["state"]?.string ?? "", one["target"]?.string ?? "",
                    one["delivery"]?.string ?? "–", "\(one["rows"]?.integer ?? 0)", one["schedule"]?.string ?? "–",
                    one["created_at"]?.string ?? "", one["error"]?.string ?? "",
                ]
            }
            let head = ["id", "state", "target", "delivery", "rows", "schedule", "made", "error"]
            for line in TextTable.lines([head] + rows) { Output.line(line) }
        }
    }

    struct Show: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "One export as JSON, with every attempt to post it.")

        @OptionGroup var target: ServerTarget
        @Argument(help: "Its id.")
        var id: String

        func run() async throws {
            try Output.json(try await target.client().call("GET", "\(ExportsCommand.root)/\(id.percentEncoded)"))
        }
    }

    struct Make: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Ask for an export; its id is printed.")

        @OptionGroup var target: ServerTarget
        @OptionGroup var wish: Wish

        func run() async throws {
            let answer = try await target.client().call("POST", ExportsCommand.root, body: try wish.body())
            Output.line(answer["id"]?.string ?? "")
        }
    }

    struct Deliver: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Post an export anew whose webhook refused it or did not answer.")

        @OptionGroup var target: ServerTarget
        @Argument(help: "Its id.")
        var id: String

        func run() async throws {
            _ = try await target.client().call("POST", "\(ExportsCommand.root)/\(id.percentEncoded)/deliver")
            Output.line("\(id) is posted again")
        }
    }

    struct Schedules: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Exports that are made by themselves.")

        @OptionGroup var target: ServerTarget
        @Flag(name: .long, help: "Print the answer as JSON.")
        var json = false

        func run() async throws {
            let answer = try await target.client().call("GET", ExportsCommand.schedules)
            if json { return try Output.json(answer) }
            let rows = (answer["schedules"]?.array ?? []).map { one in
                [
                    one["name"]?.string ?? "", ExportsCommand.times(one), one["next"]?["due_at"]?.string ?? "",
                    one["export"]?["target"]?.string ?? "download", one["last_export"]?.string ?? "–",
                    one["error"]?.string ?? "",
                ]
            }
            for line in TextTable.lines([["name", "exports", "next", "target", "last", "error"]] + rows) {
                Output.line(line)
            }
        }
    }

    struct Schedule: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Export every hour, every few hours or every day once it is over.")

        @OptionGroup var target: ServerTarget
        @Argument(help: "Its name: small letters, digits, - or _.")
        var name: String
        @OptionGroup var wish: Wish
        @Option(name: .long, help: "Every so many hours, 1 to 168.")
        var everyHours: Int?
        @Flag(name: .long, help: "Every day.")
        var daily = false
        @Option(name: .long, help: "The time zone of --daily; UTC unless told.")
        var timezone: String?
        @Option(name: .long, help: "Minutes after the end of a period, so that what comes in late is in it; 15.")
        var delayMinutes: Int?

        func validate() throws {
            guard daily != (everyHours != nil) else { throw ValidationError("give one of --every-hours and --daily") }
            if timezone != nil, !daily { throw ValidationError("--timezone belongs to --daily") }
        }

        func run() async throws {
            var body: [String: JSONValue] = ["export": try wish.body()]
            if let everyHours { body["every_hours"] = .integer(Int64(everyHours)) }
            if daily { body["daily"] = .bool(true) }
            body["timezone"] = timezone.map(JSONValue.string)
            body["delay_minutes"] = delayMinutes.map { .integer(Int64($0)) }
            let answer = try await target.client().call(
                "PUT", "\(ExportsCommand.schedules)/\(name.percentEncoded)", body: .object(body))
            Output.line(
                "\(name) exports \(ExportsCommand.times(answer)), next at \(answer["next"]?["due_at"]?.string ?? "")")
        }
    }

    struct Unschedule: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Make no more exports by a schedule; those that it made stay.")

        @OptionGroup var target: ServerTarget
        @Argument(help: "Its name.")
        var name: String

        func run() async throws {
            _ = try await target.client().call("DELETE", "\(ExportsCommand.schedules)/\(name.percentEncoded)")
            Output.line("\(name) makes no more exports")
        }
    }

    private static func times(_ schedule: JSONValue) -> String {
        if let hours = schedule["every_hours"]?.integer { return "every \(hours) h" }
        return "daily \(schedule["timezone"]?.string ?? "")"
    }
}
