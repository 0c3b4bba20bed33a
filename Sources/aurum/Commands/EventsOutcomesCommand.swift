internal import ArgumentParser
internal import AurumCore
internal import Events
internal import Foundation

extension OutcomeQuestion.Group: ExpressibleByArgument {}

extension EventsCommand {
    /// `aurum events outcomes`.
    struct Outcomes: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "How many events were stored, duplicates, refused, bots or late.",
            discussion: """
                Everything that was received has exactly one outcome, so the counts add up to what capture answered.
                Example: aurum events outcomes --by reason --last 7d
                """)

        @OptionGroup var options: ConfigurationOptions
        @Option(name: .long, help: "Told apart further by \(OutcomeQuestion.Group.names).")
        var by: OutcomeQuestion.Group?
        @Option(name: .long, help: "First moment: a date, or RFC 3339.")
        var from: String?
        @Option(name: .long, help: "The moment after the last: a date, or RFC 3339.")
        var to: String?
        @Option(name: .long, help: "The last so many hours or days, for example 24h or 7d; without a range everything.")
        var last: String?
        @Option(name: .long, help: "Only this app.")
        var app: String?
        @Option(name: .long, help: "Organisation (without a running server).")
        var org = "default"
        @Flag(name: .long, help: "Print the answer as JSON.")
        var json = false

        func run() async throws {
            let document = OutcomeQuestion.document(
                by: by, range: ["from": from, "to": to, "last": last], app: app)
            let configuration = try await options.read()
            let answer =
                if let contact = ServerContact.read(folder: configuration.dataDirectory) {
                    try await ServerClient(contact: contact).call("POST", "/v1/query", body: document)
                } else { try await EventsQueryCommand.read(document, configuration, org: org) }
            if json { try Output.json(answer) } else { Output.line(AnswerTable(answer).text) }
        }
    }
}
