internal import ArgumentParser
internal import Attribution
internal import AurumCore
internal import Foundation

/// Callbacks by which a running server tells networks of installs, conversions and sales.
struct CallbacksCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "callbacks",
        abstract:
            "Tell networks of installs, conversions and sales by their own addresses, and see what became of each.",
        subcommands: [
            List.self, Add.self, Change.self, Remove.self, Test.self, Deliveries.self, Show.self, Redrive.self,
        ])

    private static let root = "/v1/callbacks"
    private static let macros = CallbackMacro.allCases.map { "{\($0.rawValue)}" }.joined(separator: " ")

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Every callback, one a line.")

        @OptionGroup var target: ServerTarget
        @Flag(name: .long, help: "Print the answer as JSON.")
        var json = false

        func run() async throws {
            let answer = try await target.client().call("GET", CallbacksCommand.root)
            if json { return try Output.json(answer) }
            for one in answer["callbacks"]?.array ?? [] { Output.line(CallbacksCommand.line(one)) }
        }
    }

    /// Members of a callback; those that are not given stay as they are.
    struct Members: ParsableArguments {
        @Option(name: .long, help: "GET or POST; GET unless told.")
        var method: String?
        @Option(name: .long, help: "A file with the JSON body of a POST, - for standard input; macros in its texts.")
        var body: String?
        @Option(name: .long, help: "A file that only you can read, - for standard input: requests are signed with it.")
        var secret: String?
        @Option(name: .long, help: "false tells nothing.")
        var enabled: Bool?

        func members() throws -> [String: JSONValue] {
            var members: [String: JSONValue] = [:]
            members["method"] = method.map(JSONValue.string)
            members["enabled"] = enabled.map(JSONValue.bool)
            if let body {
                let data = try InputFile.content(body, bytesMax: 16_384)
                guard let json = try? JSONDecoder().decode(JSONValue.self, from: data) else {
                    throw CommandFailure("\(body) holds no JSON")
                }
                members["body"] = json
            }
            if let secret {
                let text = String(decoding: try InputFile.content(secret, bytesMax: 4096), as: UTF8.self)
                members["secret"] = .string(text.trimmingCharacters(in: .whitespacesAndNewlines))
            }
            return members
        }
    }

    struct Add: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Make a callback; what comes in from now on is told.",
            discussion: """
                Macros, in the query of the address and in texts of the body: \(CallbacksCommand.macros).
                Example: aurum callbacks add everflow install 'https://postback.example/?tid={click_id}' --secret FILE
                """)

        @OptionGroup var target: ServerTarget
        @Argument(help: "The network, as clicks name it.")
        var network: String
        @Argument(help: "install, sale or the name of a conversion.")
        var event: String
        @Argument(help: "Its address.")
        var url: String
        @OptionGroup var members: Members

        func run() async throws {
            var body = try members.members()
            (body["network"], body["event"], body["url"]) = (.string(network), .string(event), .string(url))
            let answer = try await target.client().call("POST", CallbacksCommand.root, body: .object(body))
            Output.line(CallbacksCommand.line(answer))
        }
    }

    struct Change: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Change a callback; what is not given stays.",
            discussion: "Example: aurum callbacks change 0193… --enabled false")

        @OptionGroup var target: ServerTarget
        @Argument(help: "Its id.")
        var id: String
        @Option(name: .long, help: "Its address.")
        var url: String?
        @OptionGroup var members: Members

        func run() async throws {
            var body = try members.members()
            body["url"] = url.map(JSONValue.string)
            guard !body.isEmpty else { throw ValidationError("say what to change; see --help") }
            let path = "\(CallbacksCommand.root)/\(id.percentEncoded)"
            Output.line(CallbacksCommand.line(try await target.client().call("PATCH", path, body: .object(body))))
        }
    }

    struct Remove: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Tell nothing more and forget the secret.")

        @OptionGroup var target: ServerTarget
        @Argument(help: "Its id.")
        var id: String

        func run() async throws {
            _ = try await target.client().call("DELETE", "\(CallbacksCommand.root)/\(id.percentEncoded)")
            Output.line("removed")
        }
    }

    struct Test: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Show a callback filled with an example; with --send send it. Exit 1 when it is not taken.")

        @OptionGroup var target: ServerTarget
        @Argument(help: "Its id.")
        var id: String
        @Flag(name: .long, help: "Send it, signed and without a record.")
        var send = false

        func run() async throws {
            let path = "\(CallbacksCommand.root)/\(id.percentEncoded)/test"
            let answer = try await target.client().call("POST", path, body: ["send": .bool(send)])
            let request = answer["request"]
            Output.line("\(request?["method"]?.string ?? "") \(request?["url"]?.string ?? "")")
            if let body = request?["body"]?.string { Output.line(body) }
            guard send else { return }
            guard answer["outcome"] == "delivered" else {
                throw CommandFailure("it was not taken: \(answer["reason"]?.string ?? "")")
            }
            Output.line("delivered: \(answer["status"]?.integer ?? 0)")
        }
    }

    struct Deliveries: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "What was told, newest first, one a line.")

        @OptionGroup var target: ServerTarget
        @Option(name: .long, help: "\(CallbackState.allCases.map(\.rawValue).joined(separator: ", ")).")
        var state: String?
        @Option(name: .long, help: "A callback's id.")
        var callback: String?
        @Option(name: .long, help: "A network's name.")
        var network: String?
        @Option(name: .long, help: "Deliveries older than this one: the last id of the page before.")
        var before: String?
        @Option(name: .long, help: "At most this many, 1 to \(CallbackFilter.listMax).")
        var limit = 20
        @Flag(name: .long, help: "The whole delivery as JSON, one a line.")
        var json = false

        func run() async throws {
            let query = ServerClient.query([
                ("limit", "\(limit)"), ("state", state), ("callback", callback), ("network", network),
                ("before", before),
            ])
            let answer = try await target.client().call("GET", CallbacksCommand.root + "/deliveries" + query)
            for one in answer["deliveries"]?.array ?? [] {
                Output.line(json ? one.canonical : CallbacksCommand.deliveryLine(one))
            }
        }
    }

    struct Show: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "One delivery with every attempt, as JSON.")

        @OptionGroup var target: ServerTarget
        @Argument(help: "Its id.")
        var id: String

        func run() async throws {
            let path = "\(CallbacksCommand.root)/deliveries/\(id.percentEncoded)"
            try Output.json(try await target.client().call("GET", path))
        }
    }

    struct Redrive: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Send a delivery again that was given up or refused, under the same id.")

        @OptionGroup var target: ServerTarget
        @Argument(help: "Its id.")
        var id: String

        func run() async throws {
            let path = "\(CallbacksCommand.root)/deliveries/\(id.percentEncoded)/redrive"
            Output.line(CallbacksCommand.deliveryLine(try await target.client().call("POST", path)))
        }
    }

    private static func line(_ one: JSONValue) -> String {
        [
            one["id"]?.string ?? "", one["network"]?.string ?? "", one["event"]?.string ?? "",
            one["enabled"]?.bool == true ? "enabled" : "disabled",
            one["secret_set"]?.bool == true ? "signed" : "unsigned", one["method"]?.string ?? "",
            one["url"]?.string ?? "",
        ].joined(separator: "  ")
    }

    private static func deliveryLine(_ one: JSONValue) -> String {
        [
            one["id"]?.string ?? "", one["occurred_at"]?.string ?? "", one["network"]?.string ?? "",
            one["event"]?.string ?? "", one["state"]?.string ?? "", "\(one["attempts"]?.integer ?? 0)",
            one["reason"]?.string ?? "",
        ].joined(separator: "  ")
    }
}
