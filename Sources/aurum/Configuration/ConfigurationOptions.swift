internal import ArgumentParser
internal import Foundation

/// The flags that every command with a server takes. They win over the environment, which wins over the file.
struct ConfigurationOptions: ParsableArguments {
    @Option(name: .long, help: "A JSON file with settings, for example {\"http\":{\"port\":8080}}.")
    var config: String?

    @Option(name: .long, help: "Folder of everything Aurum stores (AURUM_DATA_DIR).")
    var dataDir: String?

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

    /// Reads the configuration; `overrides` act like flags.
    func read(overrides: [String: String] = [:]) async throws -> AurumConfiguration {
        var flags: [String: String] = overrides
        flags["data.dir"] = dataDir ?? flags["data.dir"]
        flags["http.host"] = host ?? flags["http.host"]
        flags["http.port"] = port.map(String.init) ?? flags["http.port"]
        flags["metrics.address"] = metrics ?? flags["metrics.address"]
        flags["log.format"] = logFormat ?? flags["log.format"]
        flags["log.level"] = logLevel ?? flags["log.level"]
        let environment = ProcessInfo.processInfo.environment
        return try await AurumConfiguration.read(
            file: config ?? environment["AURUM_CONFIG"], environment: environment, flags: flags)
    }
}
