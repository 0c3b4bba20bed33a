internal import Accounts
internal import ArgumentParser
internal import AurumCore
internal import Database
internal import Foundation
internal import Telemetry

/// Makes, lists and ends keys: through the server when one runs, in its folder otherwise.
struct KeysCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "keys", abstract: "Make, list and revoke API keys and publishable keys.",
        discussion: """
            Beside a running server the command asks the server; without one it opens the data folder itself.
            Example: aurum keys create --scope events:write --scope events:read --json
            """,
        subcommands: [Create.self, List.self, Limit.self, Revoke.self])

    struct Create: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Make a key. It is printed once and stored only hashed.")

        @OptionGroup var options: ConfigurationOptions
        @Option(name: .long, help: "What the key may do; repeat for several. Scopes: \(Scope.names).")
        var scope: [String] = []
        @Option(name: .long, help: "Organisation the key belongs to.")
        var org = "default"
        @Option(name: .long, help: "App whose events the key writes.")
        var app = "default"
        @Option(name: .long, help: "A name to recognise it by.")
        var name = ""
        @Flag(name: .long, help: "A publishable key (wk_…): may stand in a web page, events:write only.")
        var publishable = false
        @Option(
            name: .long, help: "Origin a publishable key works from, for example https://www.example.com; repeatable.")
        var origin: [String] = []
        @Flag(name: .long, help: "Events sent with it may be older than 400 days.")
        var historical = false
        @Option(name: .long, help: "Events it may write a second, twice that in a burst.")
        var eventsPerSecond: Int?
        @Flag(name: .long, help: "Print {\"id\",\"key\",\"scopes\"} as JSON.")
        var json = false

        func validate() throws {
            guard publishable || origin.isEmpty else { throw ValidationError("--origin is for --publishable keys") }
        }

        func run() async throws {
            if publishable, origin.isEmpty {
                Output.error(
                    "without --origin the key works from no web page but this server's own, only from apps and "
                        + "programs; give --origin https://www.example.com for a page")
            }
            var scopes: Set<Scope> = []
            for name in scope.isEmpty && publishable ? ["events:write"] : scope {
                guard let known = Scope(rawValue: name) else {
                    throw ValidationError("unknown scope \(name); scopes are \(Scope.names)")
                }
                scopes.insert(known)
            }
            let request = KeyRequest(
                org: org, app: app, name: name, kind: publishable ? .publishable : .server, scopes: scopes,
                origins: Set(origin), historical: historical, eventsPerSecond: eventsPerSecond)
            let configuration = try await options.read()
            let made =
                if let contact = ServerContact.read(folder: configuration.dataDirectory) {
                    try await ask(ServerClient(contact: contact), request)
                } else { try await makeHere(request, configuration) }
            if json { return try Output.json(made) }
            let may = made.scopes.joined(separator: " ")
            Output.line("\(made.key)\n\nid \(made.id), scopes \(may). Keep it: it is not shown again.")
        }

        private func ask(_ client: ServerClient, _ request: KeyRequest) async throws -> Made {
            let answer = try await client.call(
                "POST", "/v1/keys",
                body: [
                    "org": .string(request.org), "app": .string(request.app), "name": .string(request.name),
                    "publishable": .bool(request.kind == .publishable), "historical": .bool(request.historical),
                    "scopes": .array(request.scopes.sorted().map { .string($0.rawValue) }),
                    "origins": .array(request.origins.sorted().map { .string($0) }),
                    "events_per_second": request.eventsPerSecond.map { .integer(Int64($0)) } ?? .null,
                ])
            return Made(
                id: answer["id"]?.string ?? "", key: answer["key"]?.string ?? "",
                scopes: (answer["scopes"]?.array ?? []).compactMap(\.string))
        }

        private func makeHere(_ request: KeyRequest, _ configuration: AurumConfiguration) async throws -> Made {
            try await KeysCommand.withStore(configuration) { store in
                let made = try await store.create(request)
                return Made(id: made.summary.id, key: made.text.exposed, scopes: made.summary.scopes.map(\.rawValue))
            }
        }

        private struct Made: Codable, Sendable {
            var id: String
            var key: String
            var scopes: [String]
        }
    }

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "List the keys of an organisation, without their secrets.")

        @OptionGroup var options: ConfigurationOptions
        @Option(name: .long, help: "Organisation.")
        var org = "default"
        @Flag(name: .long, help: "Print JSON.")
        var json = false

        func run() async throws {
            let configuration = try await options.read()
            let keys: [KeySummary]
            if let contact = ServerContact.read(folder: configuration.dataDirectory) {
                let answer = try await ServerClient(contact: contact).call(
                    "GET", "/v1/keys?org=\(org.percentEncoded)")
                let data = Data((answer["keys"] ?? .array([])).canonical.utf8)
                keys = try JSONDecoder().decode([KeySummary].self, from: data)
            } else {
                let org = org
                keys = try await KeysCommand.withStore(configuration) { $0.list(org: org) }
            }
            if json { return try Output.json(keys) }
            guard !keys.isEmpty else {
                return Output.line("No keys. Make one: aurum keys create --scope events:write")
            }
            let rows = keys.map { key in
                [
                    key.id, key.kind.rawValue, key.revokedAt.map { "revoked \($0.rfc3339)" } ?? "active", key.app,
                    key.scopes.map(\.rawValue).joined(separator: " "),
                    key.kind == .publishable && key.origins.isEmpty ? "none" : key.origins.joined(separator: " "),
                    key.eventsPerSecond.map(String.init) ?? "–", key.name,
                ]
            }
            for line in TextTable.lines(
                [["id", "kind", "state", "app", "scopes", "origins", "events/s", "name"]] + rows)
            {
                Output.line(line)
            }
        }
    }

    struct Limit: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Hold a key to so many events a second, from the next request on.",
            discussion: "Example: aurum keys limit AbCd1234 5000\nExample: aurum keys limit AbCd1234 none")

        @OptionGroup var options: ConfigurationOptions
        @Argument(help: "The key's id, its eight letters after sk_ or wk_.")
        var id: String
        @Argument(help: "Events a second, twice that in a burst; none for what holds for keys of its kind.")
        var rate: String
        @Option(name: .long, help: "Organisation.")
        var org = "default"

        func validate() throws {
            guard rate == "none" || Int(rate) != nil else { throw ValidationError("give a number, or none") }
        }

        func run() async throws {
            let configuration = try await options.read()
            let (id, org, rate) = (id, org, Int(rate))
            if let contact = ServerContact.read(folder: configuration.dataDirectory) {
                _ = try await ServerClient(contact: contact).call(
                    "PATCH", "/v1/keys/\(id.percentEncoded)" + ServerClient.query([("org", org)]),
                    body: ["events_per_second": rate.map { .integer(Int64($0)) } ?? .null])
            } else {
                _ = try await KeysCommand.withStore(configuration) { try await $0.setRate(rate, id: id, org: org) }
            }
            Output.line(rate.map { "\(id) may write \($0) events a second" } ?? "\(id) has no rate of its own")
        }
    }

    struct Revoke: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "End a key at once.")

        @OptionGroup var options: ConfigurationOptions
        @Argument(help: "The key's id, its eight letters after sk_ or wk_.")
        var id: String
        @Option(name: .long, help: "Organisation.")
        var org = "default"

        func run() async throws {
            let configuration = try await options.read()
            if let contact = ServerContact.read(folder: configuration.dataDirectory) {
                _ = try await ServerClient(contact: contact).call(
                    "DELETE", "/v1/keys/\(id.percentEncoded)" + ServerClient.query([("org", org)]))
            } else {
                let (id, org) = (id, org)
                try await KeysCommand.withStore(configuration) { try await $0.revoke(id: id, org: org) }
            }
            Output.line("revoked \(id)")
        }
    }

    /// Opens the key store of an unlocked folder.
    static func withStore<Value: Sendable>(
        _ configuration: AurumConfiguration, _ body: (KeyStore) async throws -> Value
    ) async throws -> Value {
        let folder = try DataFolder(configuration)
        defer { withExtendedLifetime(folder) {} }
        let clock = SystemWallClock()
        let database = try await Openings.database(configuration, registry: MetricRegistry(), clock: clock)
        let store = try await KeyStore(database: database, clock: clock)
        do {
            let value = try await body(store)
            try database.close()
            return value
        } catch let error as KeyError {
            try database.close()
            throw CommandFailure(error.sentence)
        }
    }
}

extension Scope {
    static var names: String { allCases.map(\.rawValue).joined(separator: ", ") }
}

extension KeyError {
    var sentence: String {
        switch self {
        case .noScope: "at least one --scope is needed; scopes are \(Scope.names)"
        case .scopeTooWide(let scope): "a publishable key may only write events, not \(scope.rawValue)"
        case .badName: "--org and --app are 1 to 64 letters, digits, - or _"
        case .badOrigin(let origin): "\(origin) is no origin; give scheme://host[:port] without a path"
        case .badRate:
            "events a second are \(KeyRequest.rates.lowerBound) to \(KeyRequest.rates.upperBound)"
        case .unknownKey: "there is no such key, or it was revoked before"
        }
    }
}
