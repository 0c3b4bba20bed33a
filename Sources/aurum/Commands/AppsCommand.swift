internal import ArgumentParser
internal import AurumCore
internal import Database
internal import Events
internal import Foundation
internal import Telemetry

/// Settings of apps: through the server when one runs, in its folder otherwise.
struct AppsCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "apps", abstract: "List, show and change what an organisation decides about an app's events.",
        discussion: """
            Example: aurum apps set shop lateness_hours=48 'own_hosts=["shop.example.com"]' plan_mode=warn
            """,
        subcommands: [List.self, Show.self, Set.self])

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Apps that have settings or a plan.")

        @OptionGroup var options: ConfigurationOptions
        @Option(name: .long, help: "Organisation (without a running server).")
        var org = "default"

        func run() async throws {
            let org = org
            let apps = try await AppsCommand.ask(options, "GET", "/v1/apps", nil) { book in
                ["apps": .array(book.list(org: org).map(\.json))]
            }
            let list = apps["apps"]?.array ?? []
            for app in list { Output.line(app.canonical) }
            if list.isEmpty { Output.line("No app has settings of its own. Set some: aurum apps set APP name=value") }
        }
    }

    struct Show: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Settings of one app as JSON.")

        @OptionGroup var options: ConfigurationOptions
        @Argument(help: "The app.")
        var app: String
        @Option(name: .long, help: "Organisation (without a running server).")
        var org = "default"

        func run() async throws {
            let (org, app) = (org, app)
            let state = try await AppsCommand.ask(options, "GET", AppsCommand.path(app), nil) { book in
                book.state(org: org, app: app).json
            }
            Output.line(state.canonical)
        }
    }

    struct Set: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Change settings of one app.")

        @OptionGroup var options: ConfigurationOptions
        @Argument(help: "The app.")
        var app: String
        @Argument(help: "name=value; values that are not JSON are text, and an empty one restores the default.")
        var settings: [String]
        @Option(name: .long, help: "Organisation (without a running server).")
        var org = "default"

        func run() async throws {
            var changes: [String: JSONValue] = [:]
            for setting in settings {
                let parts = setting.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
                guard parts.count == 2 else { throw ValidationError("\(setting) is not name=value") }
                let text = String(parts[1])
                let value = try? JSONDecoder().decode(JSONValue.self, from: Data(text.utf8))
                changes[String(parts[0])] = text.isEmpty ? .null : value ?? .string(text)
            }
            let (org, app, wanted) = (org, app, changes)
            let configuration = try await options.read()
            if let contact = ServerContact.read(folder: configuration.dataDirectory) {
                let client = ServerClient(contact: contact)
                var members = try await client.call("GET", AppsCommand.path(app)).object ?? [:]
                members.merge(wanted) { $1 }
                return Output.line(
                    try await client.call("PUT", AppsCommand.path(app), body: .object(members)).canonical)
            }
            let state = try await AppsCommand.withBook(configuration) { book in
                var members = book.state(org: org, app: app).settings.json.object ?? [:]
                members.merge(wanted) { $1 }
                return try await book.put(org: org, app: app, .object(members)).json
            }
            Output.line(state.canonical)
        }
    }

    static func path(_ app: String) -> String {
        "/v1/apps/\(app.percentEncoded)"
    }

    /// The server's answer, or that of the folder when no server runs.
    static func ask(
        _ options: ConfigurationOptions, _ method: String, _ path: String, _ body: JSONValue?,
        here: @Sendable (AppBook) async throws -> JSONValue
    ) async throws -> JSONValue {
        let configuration = try await options.read()
        if let contact = ServerContact.read(folder: configuration.dataDirectory) {
            return try await ServerClient(contact: contact).call(method, path, body: body)
        }
        return try await withBook(configuration, here)
    }

    /// Opens the settings of an unlocked folder.
    static func withBook(
        _ configuration: AurumConfiguration, _ body: @Sendable (AppBook) async throws -> JSONValue
    ) async throws -> JSONValue {
        let folder = try DataFolder(configuration)
        defer { withExtendedLifetime(folder) {} }
        let database = try await Openings.database(configuration, registry: MetricRegistry(), clock: SystemWallClock())
        do {
            let value = try await body(try await AppBook.open(database))
            try database.close()
            return value
        } catch let error as PolicyError {
            try database.close()
            throw CommandFailure(error.sentence)
        }
    }
}

extension PolicyError {
    var sentence: String {
        switch self {
        case .invalid(let problems):
            "the values are wrong:" + problems.map { "\n  - \($0.field): \($0.detail)" }.joined()
        case .unknownPlanVersion: "the app has no such version of a plan"
        case .tooManyApps: "there may be no more than \(AppBook.appsMax) apps"
        case .replayRunning: "another replay is running"
        }
    }
}
