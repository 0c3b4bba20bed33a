internal import ArgumentParser
internal import Attribution
internal import AurumCore
internal import Foundation

/// Conversions that a running server sends to advertising networks.
struct UploadsCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "uploads", abstract: "Send conversions to advertising networks, and see what became of each.",
        subcommands: [
            Destinations.self, Add.self, Change.self, Remove.self, Test.self, Items.self, Show.self, Restate.self,
        ])

    private static let root = "/v1/uploads/destinations"

    struct Destinations: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Where conversions are sent, one a line.")

        @OptionGroup var target: ServerTarget
        @Flag(name: .long, help: "Print the answer as JSON.")
        var json = false

        func run() async throws {
            let answer = try await target.client().call("GET", UploadsCommand.root)
            if json { return try Output.json(answer) }
            for one in answer["destinations"]?.array ?? [] { Output.line(UploadsCommand.line(one)) }
        }
    }

    /// Members of a destination; those that are not given stay as they are, or as they are at first.
    struct Members: ParsableArguments {
        @Option(name: .long, help: "Such as \"Solar, Meta\".")
        var name: String?
        @Option(name: .long, help: "Meta: an event's name for sold leads. Google: the id of a conversion action.")
        var sale: String?
        @Option(name: .long, help: "The same for leads that may be sold.")
        var lead: String?
        @Option(name: .long, help: "sale or recognised: when a sale is told.")
        var moment: String?
        @Option(name: .long, help: "true keeps what would be sent and sends nothing.")
        var dryRun: Bool?
        @Option(name: .long, help: "true sends only persons who allowed advertising in words.")
        var requiresConsent: Bool?
        @Option(
            name: .long,
            help: """
                A file that only you can read, - for standard input: the access token, or a JSON object with \
                client_id, client_secret and refresh_token.
                """)
        var credentials: String?
        @Option(name: .long, help: "Base of the network's addresses, for tests.")
        var endpoint: String?

        func body() throws -> [String: JSONValue] {
            var members: [String: JSONValue] = [:]
            members["name"] = name.map(JSONValue.string)
            members["moment"] = moment.map(JSONValue.string)
            members["dry_run"] = dryRun.map(JSONValue.bool)
            members["requires_consent"] = requiresConsent.map(JSONValue.bool)
            members["endpoint"] = endpoint.map(JSONValue.string)
            var conversions: [String: JSONValue] = [:]
            conversions["sale"] = sale.map(JSONValue.string)
            conversions["lead"] = lead.map(JSONValue.string)
            if !conversions.isEmpty { members["conversions"] = .object(conversions) }
            if let credentials { members["credentials"] = try Self.secret(credentials) }
            return members
        }

        private static func secret(_ file: String) throws -> JSONValue {
            let data = try InputFile.content(file, bytesMax: 16_384)
            if let object = try? JSONDecoder().decode(JSONValue.self, from: data), object.object != nil {
                return object
            }
            let token = String(decoding: data, as: UTF8.self).trimmingCharacters(in: .whitespacesAndNewlines)
            return ["access_token": .string(token)]
        }
    }

    struct Add: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Make a destination; it sends nothing until --dry-run false.",
            discussion: """
                Example: aurum uploads add meta 123456789012345 --name "Solar, Meta" --sale Purchase --credentials token
                """)

        @OptionGroup var target: ServerTarget
        @Argument(help: "meta or google.")
        var network: String
        @Argument(help: "Meta: the pixel's id. Google: the id of the account.")
        var account: String
        @Option(name: .long, help: "Google: the account whose credentials these are, where it is another.")
        var loginAccount: String?
        @OptionGroup var members: Members

        func run() async throws {
            var body = try members.body()
            (body["network"], body["account"]) = (.string(network), .string(account))
            body["login_account"] = loginAccount.map(JSONValue.string)
            let answer = try await target.client().call("POST", UploadsCommand.root, body: .object(body))
            Output.line(UploadsCommand.line(answer))
        }
    }

    struct Change: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Change a destination; what is not given stays.",
            discussion: "Example: aurum uploads change 0193… --dry-run false")

        @OptionGroup var target: ServerTarget
        @Argument(help: "Its id.")
        var id: String
        @Option(name: .long, help: "active or paused.")
        var state: String?
        @OptionGroup var members: Members

        func run() async throws {
            var body = try members.body()
            body["state"] = state.map(JSONValue.string)
            guard !body.isEmpty else { throw ValidationError("say what to change; see --help") }
            let path = "\(UploadsCommand.root)/\(id.percentEncoded)"
            Output.line(UploadsCommand.line(try await target.client().call("PATCH", path, body: .object(body))))
        }
    }

    struct Remove: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Send nothing more to a destination and forget its credentials.")

        @OptionGroup var target: ServerTarget
        @Argument(help: "Its id.")
        var id: String

        func run() async throws {
            _ = try await target.client().call("DELETE", "\(UploadsCommand.root)/\(id.percentEncoded)")
            Output.line("removed")
        }
    }

    struct Test: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Ask the network whether it takes the credentials; no conversion is counted. Exit 1 when not.")

        @OptionGroup var target: ServerTarget
        @Argument(help: "Its id.")
        var id: String

        func run() async throws {
            let path = "\(UploadsCommand.root)/\(id.percentEncoded)/test"
            let answer = try await target.client().call("POST", path)
            guard answer["works"]?.bool == true else {
                throw CommandFailure("it does not work: \(answer["reason"]?.string ?? "")")
            }
            Output.line("works")
        }
    }

    struct Items: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Conversions, newest first, one a line.")

        @OptionGroup var target: ServerTarget
        @Option(name: .long, help: "\(UploadState.allCases.map(\.rawValue).joined(separator: ", ")).")
        var state: String?
        @Option(name: .long, help: "A destination's id.")
        var destination: String?
        @Option(name: .long, help: "RFC 3339: conversions that happened at this time or later.")
        var from: String?
        @Option(name: .long, help: "RFC 3339: before this time.")
        var to: String?
        @Option(name: .long, help: "At most this many, 1 to \(UploadFilter.listMax).")
        var limit = 20
        @Flag(name: .long, help: "The whole item as JSON, one a line.")
        var json = false

        func run() async throws {
            let query = ServerClient.query([
                ("limit", "\(limit)"), ("state", state), ("destination", destination), ("from", from), ("to", to),
            ])
            for item in try await target.client().call("GET", "/v1/uploads/items" + query)["items"]?.array ?? [] {
                Output.line(json ? item.canonical : UploadsCommand.itemLine(item))
            }
        }
    }

    struct Show: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "One conversion with every attempt, as JSON.")

        @OptionGroup var target: ServerTarget
        @Argument(help: "Its id.")
        var id: String

        func run() async throws {
            try Output.json(try await target.client().call("GET", "/v1/uploads/items/\(id.percentEncoded)"))
        }
    }

    struct Restate: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Tell the network that a sale is worth something else.",
            discussion: "Example: aurum uploads restate 0193… --value-minor 9000")

        @OptionGroup var target: ServerTarget
        @Argument(help: "The item's id.")
        var id: String
        @Option(name: .long, help: "What it is worth now, in minor units.")
        var valueMinor: Int64

        func run() async throws {
            let path = "/v1/uploads/items/\(id.percentEncoded)/restate"
            let answer = try await target.client().call("POST", path, body: ["value_minor": .integer(valueMinor)])
            Output.line(UploadsCommand.itemLine(answer))
        }
    }

    private static func line(_ one: JSONValue) -> String {
        var words = [
            one["id"]?.string ?? "", one["network"]?.string ?? "", one["state"]?.string ?? "",
            one["dry_run"]?.bool == true ? "dry run" : "live", one["name"]?.string ?? "",
        ]
        for (state, count) in (one["items"]?.object ?? [:]).sorted(by: { $0.key < $1.key }) {
            words.append("\(state) \(count.integer ?? 0)")
        }
        if one["failing"]?.bool == true { words.append("failing: \(one["failure"]?.string ?? "")") }
        return words.joined(separator: "  ")
    }

    private static func itemLine(_ item: JSONValue) -> String {
        let money = item["currency"]?.string.flatMap { Currency($0) }.map {
            Money(minorUnits: item["wanted_minor"]?.integer ?? 0, currency: $0).description
        }
        return [
            item["id"]?.string ?? "", item["occurred_at"]?.string ?? "", item["kind"]?.string ?? "",
            item["state"]?.string ?? "", money ?? "", item["reason"]?.string ?? "",
        ].joined(separator: "  ")
    }
}
