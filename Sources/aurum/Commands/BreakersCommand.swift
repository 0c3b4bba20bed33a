internal import ArgumentParser
internal import AurumCore
internal import Foundation

/// Shows which outside systems are given up, and stops or allows calls to one.
struct BreakersCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "breakers", abstract: "Show the breakers before outside systems; isolate, observe or release one.",
        discussion: """
            A breaker opens by itself when a system fails half of its calls, and tries again after a while. isolate \
            holds it open until release, observe keeps it from opening: on every server of the database, and through \
            restarts. Names are those of \
            `aurum breakers list`, for example buyer:acme.
            """,
        subcommands: [List.self, Isolate.self, Observe.self, Release.self], defaultSubcommand: List.self)

    struct List: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Every system that was called, and its breaker.")
        @OptionGroup var options: ConfigurationOptions
        @Flag(name: .long, help: "Print JSON.")
        var json = false

        func run() async throws {
            let answer = try await BreakersCommand.client(options).call("GET", "/v1/breakers")
            if json { return Output.line(answer.canonical) }
            let rows = answer["breakers"]?.array ?? []
            if rows.isEmpty { return Output.line("Nothing has been called since the start.") }
            for row in rows {
                let state = row["state"]?.string ?? ""
                let word = row["observed_at"] == nil ? "isolated" : "observed"
                let held = row[word + "_at"]?.string.map { "  since \($0) by \(row[word + "_by"]?.string ?? "")" } ?? ""
                let space = String(repeating: " ", count: max(1, 14 - state.count))
                Output.line(state + space + (row["name"]?.string ?? "") + held)
            }
        }
    }

    struct Isolate: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Stop calls to a system until it is released.")
        @OptionGroup var options: ConfigurationOptions
        @Argument(help: "A name of the list.")
        var name: String

        func run() async throws { try await BreakersCommand.turn("isolate", name, options) }
    }

    struct Observe: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Keep a breaker from opening until it is released: every call goes out.")
        @OptionGroup var options: ConfigurationOptions
        @Argument(help: "A name of the list.")
        var name: String

        func run() async throws { try await BreakersCommand.turn("observe", name, options) }
    }

    struct Release: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Let a breaker decide by itself again.")
        @OptionGroup var options: ConfigurationOptions
        @Argument(help: "A name of the list.")
        var name: String

        func run() async throws { try await BreakersCommand.turn("release", name, options) }
    }

    private static func client(_ options: ConfigurationOptions) async throws -> ServerClient {
        let configuration = try await options.read()
        guard let contact = ServerContact.read(folder: configuration.dataDirectory) else {
            throw CommandFailure("no server runs on \(configuration.dataDirectory)")
        }
        return ServerClient(contact: contact)
    }

    private static func turn(_ word: String, _ name: String, _ options: ConfigurationOptions) async throws {
        _ = try await client(options).call("POST", "/v1/breakers/\(name.percentEncoded)/\(word)")
        Output.line("\(name): \(word)d")
    }
}
