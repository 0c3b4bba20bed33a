internal import ArgumentParser
internal import Foundation
internal import Logging
internal import Telemetry

/// The server.
struct ServeCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "serve", abstract: "Run the server until SIGTERM.",
        discussion: """
            Settings come from defaults, a JSON file (--config or AURUM_CONFIG), the environment and flags; later win.
            \(Setting.all.map { "  \($0.environmentName): \($0.help) [\($0.standard)]" }.joined(separator: "\n"))
            """)

    @OptionGroup var options: ServerOptions
    @Flag(name: .long, help: "Print every setting with its value and where it came from, and stop.")
    var printConfig = false

    func run() async throws {
        let configuration = try await options.read()
        if printConfig { return Self.printConfiguration(configuration) }
        Self.bootstrapLogging(configuration)
        let server = try await RunningServer.open(configuration) { url in Output.line("Aurum is ready at \(url)") }
        if let token = server.newAdminToken { Output.line("Admin token (shown once): \(token)") }
        try await server.run()
    }

    static func bootstrapLogging(_ configuration: AurumConfiguration) {
        let (level, format) = (configuration.logLevel, configuration.logFormat)
        LoggingSystem.bootstrap { StructuredLogHandler(label: $0, level: level, format: format) }
    }

    private static func printConfiguration(_ configuration: AurumConfiguration) {
        for resolved in configuration.values {
            let isHidden = resolved.setting.isSecret && resolved.source != "default"
            Output.line("\(resolved.setting.name) = \(isHidden ? "***" : resolved.value)  (\(resolved.source))")
        }
    }
}
