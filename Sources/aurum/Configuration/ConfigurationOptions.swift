internal import ArgumentParser
internal import Foundation

/// The flags of every command that looks after a data folder. They win over the environment, which wins over the file.
struct ConfigurationOptions: ParsableArguments {
    @Option(name: .long, help: "A JSON file with settings, for example {\"http\":{\"port\":8080}}.")
    var config: String?

    @Option(name: .long, help: "Folder of everything Aurum stores (AURUM_DATA_DIR).")
    var dataDir: String?

    /// Reads the configuration.
    /// - Parameters:
    ///   - more: flags beside those of the folder, by setting name.
    ///   - standards: what the command takes instead of the settings' own defaults.
    func read(_ more: [String: String] = [:], standards: [String: String] = [:]) async throws -> AurumConfiguration {
        var flags = more
        flags["data.dir"] = dataDir
        let environment = ProcessInfo.processInfo.environment
        return try await AurumConfiguration.read(
            file: config ?? environment["AURUM_CONFIG"], environment: environment, flags: flags, standards: standards)
    }
}

/// The flags of a command that runs a server.
struct ServerOptions: ParsableArguments {
    @OptionGroup var folder: ConfigurationOptions

    @Option(name: .long, help: "Address to listen on (AURUM_HTTP_HOST).")
    var host: String?

    @Option(name: .long, help: "Port to listen on; 0 takes a free one (AURUM_HTTP_PORT).")
    var port: Int?

    @Option(name: .long, help: "HOST:PORT of the Prometheus listener, or off (AURUM_METRICS_ADDRESS).")
    var metrics: String?

    @Option(name: .long, help: "json or pretty (AURUM_LOG_FORMAT).")
    var logFormat: String?

    @Option(name: .long, help: "trace, debug, info, notice, warning, error or critical (AURUM_LOG_LEVEL).")
    var logLevel: String?

    /// Reads the configuration; `standards` stand in for the settings' own defaults.
    func read(standards: [String: String] = [:]) async throws -> AurumConfiguration {
        var flags: [String: String] = [:]
        flags["http.host"] = host
        flags["http.port"] = port.map(String.init)
        flags["metrics.address"] = metrics
        flags["log.format"] = logFormat
        flags["log.level"] = logLevel
        return try await folder.read(flags, standards: standards)
    }
}
