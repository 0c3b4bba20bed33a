internal import ArgumentParser

/// What was built.
struct VersionCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "version", abstract: "Print the version and build mode.")

    @Flag(name: .long, help: "Print JSON.")
    var json = false

    func run() throws {
        if json { return try Output.json(["version": Release.version, "mode": Release.mode]) }
        Output.line("aurum \(Release.version) (\(Release.mode))")
    }
}
