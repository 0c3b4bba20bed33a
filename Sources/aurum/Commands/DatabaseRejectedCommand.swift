internal import ArgumentParser
internal import AurumCore

extension DatabaseCommand {
    /// Events of our own that the log refused.
    struct Rejected: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Events of leads, sales and the ledger that the event log refused.",
            discussion: """
                They keep no other event from the log, and health says outbox_rejected until none is left. --retry \
                gives them to the log again, --discard removes one for good.
                """)

        @OptionGroup var options: ConfigurationOptions
        @Flag(name: .long, help: "Give them to the log again, oldest first, at most 500 at once.")
        var retry = false
        @Option(name: .long, help: "Remove the one with this id for good.")
        var discard: String?
        @Flag(name: .long, help: "Print JSON.")
        var json = false

        func validate() throws {
            guard !(retry && discard != nil) else { throw ValidationError("--retry or --discard, not both") }
            if let discard, UID(discard) == nil { throw ValidationError("\(discard) is no id of an event") }
        }

        func run() async throws {
            let configuration = try await options.read()
            guard let contact = ServerContact.read(folder: configuration.dataDirectory) else {
                throw CommandFailure("no server runs on \(configuration.dataDirectory)")
            }
            let client = ServerClient(contact: contact)
            if retry {
                let answer = try await client.call("POST", "/v1/outbox/rejected/retry", body: .object([:]))
                return Output.line("retried \(answer["retried"]?.integer ?? 0)")
            }
            if let discard, let id = UID(discard) {
                _ = try await client.call("DELETE", "/v1/outbox/rejected/\(id.hex)")
                return Output.line("discarded \(id.hex)")
            }
            let answer = try await client.call("GET", "/v1/outbox/rejected?limit=\(Self.limit)")
            if json { return Output.line(answer.canonical) }
            let rows = answer["rejected"]?.array ?? []
            if rows.isEmpty { Output.line("The log refused nothing.") }
            for row in rows {
                let words = ["rejected_at", "id", "name", "key", "reason"].map { row[$0]?.string ?? "" }
                Output.line(words.joined(separator: "  "))
            }
        }

        private static let limit = 500
    }
}
