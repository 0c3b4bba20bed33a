internal import ArgumentParser
internal import CProcessor
internal import Foundation

/// The one program: a server, its demo and fakes, and the commands that look after them.
@main
struct Aurum: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "aurum",
        abstract: "Capture events, talk with visitors, sell leads, attribute every dollar.",
        discussion: """
            Start with `aurum demo`: it runs a server with sample visitors and buyers and prints one URL.
            `aurum serve` runs the server alone, with its data in ./aurum-data unless AURUM_DATA_DIR says otherwise.
            """,
        version: Release.version,
        subcommands: [
            ServeCommand.self, DemoCommand.self, FakesCommand.self, KeysCommand.self, AppsCommand.self,
            DatabaseCommand.self, EventsCommand.self, ExportsCommand.self, QuarantineCommand.self, JobsCommand.self,
            IdentityCommand.self,
            SolarCommand.self, LoadCommand.self, AttributeCommand.self, AttributionCommand.self, SpendCommand.self,
            UploadsCommand.self, CallbacksCommand.self, LinksCommand.self, FraudCommand.self, BackupCommand.self,
            RestoreCommand.self, BenchCommand.self, ValidateCommand.self, BreakersCommand.self, FaultsCommand.self,
            VersionCommand.self,
        ])

    static func main() async {
        guard aurum_processor_suffices() != 0 else {
            exit(
                withError: CommandFailure("this processor lacks AVX2 and BMI2, which the event engine is built for"))
        }
        await main(nil)
    }
}

/// What was built.
enum Release {
    static let version = "0.1.0"

    /// The commit of the source tree the command runs in, or `unknown` outside one.
    static var commit: String {
        guard let head = try? String(contentsOfFile: ".git/HEAD", encoding: .utf8) else { return "unknown" }
        let text = head.trimmingCharacters(in: .whitespacesAndNewlines)
        guard text.hasPrefix("ref: ") else { return String(text.prefix(12)) }
        let hash = try? String(contentsOfFile: ".git/" + text.dropFirst(5), encoding: .utf8)
        return hash.map { String($0.prefix(12)) } ?? "unknown"
    }

    static var mode: String {
        #if DEBUG
            "debug"
        #else
            "release"
        #endif
    }
}
