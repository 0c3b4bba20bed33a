internal import ArgumentParser
internal import AurumCore
internal import Database
internal import Events
internal import Telemetry

extension EventsCommand {
    /// `aurum events compact`.
    struct Compact: AsyncParsableCommand {
        static let configuration = CommandConfiguration(
            abstract: "Write sealed segments again as archives, and take out what has expired or was erased.",
            discussion: """
                A running server does so by itself; this asks it to do so now. Without one the folder's log is opened. \
                Prints what was done. A stop at any moment leaves the log as it was before or as it is after.
                Example: aurum events compact --data-dir aurum-data
                """)

        @OptionGroup var options: ConfigurationOptions

        func run() async throws {
            let configuration = try await options.read()
            if let contact = ServerContact.read(folder: configuration.dataDirectory) {
                return Output.line(
                    try await ServerClient(contact: contact).call("POST", "/v1/log/compact", body: [:]).canonical)
            }
            try await EventsCommand.withGovernedLog(configuration) { log, _, _ in
                do throws(UpkeepError) {
                    Output.line(try log.upkeep.run(all: true, isPaced: false).json.canonical)
                } catch { throw CommandFailure(error.sentence) }
            }
        }
    }
}
