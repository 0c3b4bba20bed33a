internal import Database

/// One configuration value: what it is called everywhere, its kind, its default and its bounds.
struct Setting: Sendable {
    enum Kind: Sendable {
        case text
        case integer(ClosedRange<Int>)
        case flag
        case choice([String])
    }

    /// `["http", "port"]`: `http.port` in the file, `AURUM_HTTP_PORT` in the environment.
    let key: [String]
    let kind: Kind
    let standard: String
    let help: String
    /// Never printed.
    var isSecret = false

    var name: String { key.joined(separator: ".") }

    /// What is wrong with `text`, or nil.
    func problem(with text: String) -> String? {
        switch kind {
        case .text: text.isEmpty ? "must not be empty" : nil
        case .integer(let range):
            Int(text).map(range.contains) == true
                ? nil : "must be a whole number from \(range.lowerBound) to \(range.upperBound)"
        case .flag: ["true", "false"].contains(text) ? nil : "must be true or false"
        case .choice(let words): words.contains(text) ? nil : "must be one of \(words.joined(separator: ", "))"
        }
    }
}

extension Setting {
    static let dataDirectory = Setting(
        key: ["data", "dir"], kind: .text, standard: "aurum-data", help: "Folder of everything Aurum stores.")
    static let httpHost = Setting(
        key: ["http", "host"], kind: .text, standard: "127.0.0.1", help: "Address to listen on.")
    static let httpPort = Setting(
        key: ["http", "port"], kind: .integer(0...65_535), standard: "8080",
        help: "Port to listen on; 0 takes a free one.")
    static let metricsAddress = Setting(
        key: ["metrics", "address"], kind: .text, standard: "127.0.0.1:9464",
        help: "HOST:PORT of the Prometheus listener, or off.")
    static let egressAllowLoopback = Setting(
        key: ["egress", "allowLoopback"], kind: .flag, standard: "false",
        help: "Lets buyers live on this machine. For demo and tests only; shown in health.")
    static let logFormat = Setting(
        key: ["log", "format"], kind: .choice(["json", "pretty"]), standard: "json", help: "How log lines look.")
    static let logLevel = Setting(
        key: ["log", "level"], kind: .choice(["trace", "debug", "info", "notice", "warning", "error", "critical"]),
        standard: "info", help: "Least severe level that is written.")
    static let commitDelay = Setting(
        key: ["events", "commitDelayMilliseconds"], kind: .integer(0...50), standard: "8",
        help: "Longest wait of a request for others to share its commit.")
    static let eventsBodyBytesMax = Setting(
        key: ["events", "bodyBytesMax"], kind: .integer(65_536...67_108_864), standard: "4194304",
        help: "Decoded bytes of one body of events; PostHog's routes take at least 6291456.")
    static let eventsBatchMax = Setting(
        key: ["events", "batchEventsMax"], kind: .integer(1...50_000), standard: "2500",
        help: "Events of one request.")
    static let dedupIdentifiersMax = Setting(
        key: ["events", "dedupIdentifiersMax"], kind: .integer(1000...4_000_000_000), standard: "50000000",
        help: "Newest ids of events that de-duplication remembers, at 1.25 bytes of memory and 20 of disk each.")
    static let dedupWindowSeconds = Setting(
        key: ["events", "dedupWindowSeconds"], kind: .integer(3600...34_560_000), standard: "604800",
        help: "How long it remembers them, where they are not more.")
    static let diskWarnPercent = Setting(
        key: ["events", "diskWarnPercent"], kind: .integer(1...99), standard: "85",
        help: "Share of a disk in use above which health warns.")
    static let diskResumePercent = Setting(
        key: ["events", "diskResumePercent"], kind: .integer(1...99), standard: "93",
        help: "Share of the event log's disk below which events are taken again after they were refused.")
    static let diskRefusePercent = Setting(
        key: ["events", "diskRefusePercent"], kind: .integer(2...100), standard: "95",
        help: "Share of the event log's disk above which events are refused, and exports, imports and replays.")
    static let operatorName = Setting(
        key: ["chat", "operatorName"], kind: .text, standard: "Aurum Solar Advice",
        help: "Who runs the chat; named in its first sentence.")
    static let chatsPerAddressHour = Setting(
        key: ["chat", "conversationsPerAddressHour"], kind: .integer(1...1_000_000), standard: "30",
        help: "New conversations an address may start in an hour.")
    static let chatMessagesPer10Seconds = Setting(
        key: ["chat", "messagesPerTenSeconds"], kind: .integer(1...1000), standard: "10",
        help: "Messages a visitor may send in ten seconds.")
    static let eventBytesInFlight = Setting(
        key: ["events", "bytesInFlightMax"], kind: .integer(65_536...1 << 40), standard: "\(64 << 20)",
        help: "Bytes of request bodies held at once; above it new bodies are refused with 503.")
    static let eventsPerKeySecond = Setting(
        key: ["events", "perKeySecond"], kind: .integer(1...10_000_000), standard: "50000",
        help: "Events a publishable key may send a second; twice that in a burst.")
    static let exportsDirectory = Setting(
        key: ["exports", "directory"], kind: .text, standard: "off",
        help: "Folder that exports with the target directory are copied to, or off.")

    static let backupDirectory = Setting(
        key: ["backup", "directory"], kind: .text, standard: "off",
        help: "Folder in which the server makes backups by itself, of its own for each server; or off.")
    static let backupEveryMinutes = Setting(
        key: ["backup", "everyMinutes"], kind: .integer(5...10_080), standard: "15",
        help: "How often it makes one; all of a day are kept, and the last of each day for 30 days.")
    static let logBytesMax = Setting(
        key: ["events", "logBytesMax"], kind: .integer(0...1 << 50), standard: "0",
        help: "Bytes of the event log beyond which the oldest events are removed; 0 for no bound.")

    static let databaseURL = Setting(
        key: ["database", "url"], kind: .text, standard: "sqlite",
        help: "Home of the records: sqlite (aurum.db in the data folder), sqlite:///PATH or postgres://…",
        isSecret: true)
    static let databaseTLS = Setting(
        key: ["database", "tls"], kind: .choice(["verify-full", "prefer"]), standard: "verify-full",
        help: "Encryption to a PostgreSQL server on another machine; prefer takes what the URL asks for.")
    static let databaseConnectionsMax = Setting(
        key: ["database", "connectionsMax"], kind: .integer(PostgresPoolSettings.connectionsRange), standard: "20",
        help: "Connections to PostgreSQL at once.")
    static let databaseSlow = Setting(
        key: ["database", "slowMs"], kind: .integer(1...600_000), standard: "100",
        help: "Reads and writes of the database that take longer, in milliseconds, are logged with their plan.")
    static let redisURL = Setting(
        key: ["redis", "url"], kind: .text, standard: "off",
        help: "redis://[user:password@]host:port of the Redis or Valkey that nodes share, rediss:// for TLS, hosts "
            + "separated by commas for a cluster; off keeps limits, locks and caches in this process.",
        isSecret: true)

    static let profile = Setting(
        key: ["profile"], kind: .choice(["production", "development", "test"]), standard: "production",
        help: "What the server is for; only one that is not for production may be given faults.")
    static let faultsEnabled = Setting(
        key: ["faults", "enabled"], kind: .flag, standard: "false",
        help: "Lets an administrator inject faults into calls of outside systems; never in production.")
    static let faults = Setting(
        key: ["faults", "plan"], kind: .text, standard: "off",
        help: "Faults from the start on, for example seed=7; buyer:* latency 0.2 300; redis drop 0.01; or off.")

    static let all: [Setting] = [
        dataDirectory, databaseURL, databaseTLS, databaseConnectionsMax, databaseSlow, httpHost, httpPort,
        metricsAddress, egressAllowLoopback, logFormat, logLevel, commitDelay,
        eventBytesInFlight, eventsPerKeySecond, eventsBodyBytesMax, eventsBatchMax, dedupIdentifiersMax,
        dedupWindowSeconds, diskWarnPercent, diskResumePercent, diskRefusePercent, operatorName, chatsPerAddressHour,
        chatMessagesPer10Seconds, exportsDirectory,
        backupDirectory, backupEveryMinutes,
        logBytesMax,
        redisURL, profile, faultsEnabled, faults,
    ]
}
