internal import ArgumentParser
internal import AurumCore
internal import Foundation

/// Shows, sets and ends the faults of a server that was started for tests.
struct FaultsCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "faults", abstract: "Strike calls of outside systems on purpose, in a server for tests.",
        discussion: """
            The server must run with AURUM_FAULTS_ENABLED=true and AURUM_PROFILE=test or development. A plan is a list \
            of rules NAME KIND RATE [MILLISECONDS] separated by semicolons, and seed=N: names are those of `aurum \
            breakers list` and redis, * at the end stands for all that begin so. Kinds: latency, error, drop, \
            duplicate, and for a share of the time, in stretches, partition and pause.

              aurum faults set "seed=7; buyer:* latency 0.2 300; network:* drop 0.1"
            """,
        subcommands: [Show.self, Set.self, Off.self], defaultSubcommand: Show.self)

    struct Show: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "The faults that are injected now.")
        @OptionGroup var options: ConfigurationOptions
        @Flag(name: .long, help: "Print JSON.")
        var json = false

        func run() async throws {
            let answer = try await FaultsCommand.call("GET", options)
            if json { return Output.line(answer.canonical) }
            Output.line(FaultsCommand.sentence(answer))
        }
    }

    struct Set: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "Strike by a plan from now on.")
        @OptionGroup var options: ConfigurationOptions
        @Argument(help: "The plan, as one word of the shell.")
        var plan: String

        func run() async throws {
            Output.line(FaultsCommand.sentence(try await FaultsCommand.call("PUT", options, ["plan": .string(plan)])))
        }
    }

    struct Off: AsyncParsableCommand {
        static let configuration = CommandConfiguration(abstract: "End all faults.")
        @OptionGroup var options: ConfigurationOptions

        func run() async throws {
            _ = try await FaultsCommand.call("DELETE", options)
            Output.line("no faults are injected")
        }
    }

    private static func sentence(_ answer: JSONValue) -> String {
        answer["plan"]?.string.map { "faults are injected: \($0)" } ?? "no faults are injected"
    }

    private static func call(
        _ method: String, _ options: ConfigurationOptions, _ body: JSONValue? = nil
    ) async throws -> JSONValue {
        let configuration = try await options.read()
        guard let contact = ServerContact.read(folder: configuration.dataDirectory) else {
            throw CommandFailure("no server runs on \(configuration.dataDirectory)")
        }
        return try await ServerClient(contact: contact).call(method, "/v1/faults", body: body)
    }
}
