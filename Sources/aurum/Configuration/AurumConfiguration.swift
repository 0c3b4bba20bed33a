internal import Configuration
internal import Database
internal import Events
internal import Foundation
internal import Logging
internal import Runtime
internal import SystemPackage
internal import Telemetry

/// The configuration of a server, read once, in one place: defaults, then a JSON file, then the environment, then
/// flags.
struct AurumConfiguration: Sendable {
    /// A value and where it came from, for `--print-config`.
    struct Resolved: Sendable {
        let setting: Setting
        let value: String
        let source: String
    }

    let values: [Resolved]

    var dataDirectory: String { self[.dataDirectory] }
    var httpHost: String { self[.httpHost] }
    var httpPort: Int { integer(.httpPort) }
    var egressAllowLoopback: Bool { self[.egressAllowLoopback] == "true" }
    var logFormat: LogFormat { LogFormat(rawValue: self[.logFormat]) ?? .json }
    var logLevel: Logger.Level { Logger.Level(rawValue: self[.logLevel]) ?? .info }
    var commitDelay: Duration { .milliseconds(integer(.commitDelay)) }
    var operatorName: String { self[.operatorName] }

    /// Capture and the log, the same for the server and for commands that open the folder of one that is stopped.
    var events: EventsConfiguration {
        var events = EventsConfiguration()
        events.commitDelay = commitDelay
        events.limits.bytesInFlightMax = integer(.eventBytesInFlight)
        events.limits.bodyBytesMax = integer(.eventsBodyBytesMax)
        events.limits.batchEventsMax = integer(.eventsBatchMax)
        events.limits.dedupIdentifiersMax = integer(.dedupIdentifiersMax)
        events.limits.dedupWindowSeconds = Int64(integer(.dedupWindowSeconds))
        events.limits.freePercentWarn = 100 - integer(.diskWarnPercent)
        events.limits.freePercentAgain = 100 - integer(.diskResumePercent)
        events.limits.freePercentMin = 100 - integer(.diskRefusePercent)
        events.upkeep.logBytesMax = integer(.logBytesMax)
        return events
    }

    /// nil when the metrics listener is off.
    var metricsAddress: (host: String, port: Int)? { Self.address(self[.metricsAddress]) }

    /// Where the records are: a file of the data folder unless the setting says otherwise.
    func databaseLocation() throws(DatabaseLocation.Failure) -> DatabaseLocation {
        let url = self[.databaseURL]
        if url == Setting.databaseURL.standard { return .sqlite(path: DataFolder.databasePath(in: dataDirectory)) }
        return try DatabaseLocation(url: url, requireTLS: self[.databaseTLS] != "prefer")
    }

    /// nil when limits, locks and caches stay in this process.
    var redis: RedisConfiguration? {
        get throws(RedisConfiguration.Problem) {
            if self[.redisURL] == "off" { return nil }
            return try RedisConfiguration(url: self[.redisURL])
        }
    }

    /// Whether this process may be given faults.
    var takesFaults: Bool { self[.faultsEnabled] == "true" }

    /// Faults from the start on; nil for none.
    var faults: FaultPlan? {
        get throws(FaultPlan.Problem) { self[.faults] == Setting.faults.standard ? nil : try FaultPlan(self[.faults]) }
    }

    /// What is wrong with the settings of faults.
    private var faultProblems: [String] {
        var problems: [String] = []
        if takesFaults, self[.profile] == "production" {
            problems.append("faults.enabled needs a profile other than production (AURUM_PROFILE)")
        }
        do throws(FaultPlan.Problem) {
            if try faults != nil, !takesFaults {
                problems.append("faults.plan needs faults.enabled (AURUM_FAULTS_ENABLED)")
            }
        } catch { problems.append("faults \(error)") }
        return problems
    }

    /// What is wrong with the order of the disk's bounds: one warns, one refuses above it, one between ends that.
    private var diskProblems: [String] {
        // One with a problem of its own is in no order with the others.
        func known(_ setting: Setting) -> Int? { setting.problem(with: self[setting]) == nil ? integer(setting) : nil }
        let (warn, resume, refuse) = (known(.diskWarnPercent), known(.diskResumePercent), known(.diskRefusePercent))
        var problems: [String] = []
        if let warn, let resume, warn > resume {
            problems.append("events.diskWarnPercent must be at most events.diskResumePercent")
        }
        if let resume, let refuse, resume >= refuse {
            problems.append("events.diskResumePercent must be less than events.diskRefusePercent")
        }
        return problems
    }

    func integer(_ setting: Setting) -> Int { Int(self[setting]) ?? 0 }

    subscript(setting: Setting) -> String {
        values.first { $0.setting.name == setting.name }?.value ?? setting.standard
    }

    /// Everything wrong with the configuration, in one answer.
    struct Problems: Error, CustomStringConvertible {
        let sentences: [String]
        var description: String {
            "the configuration has \(sentences.count) problem(s):\n"
                + sentences.map { "  - \($0)" }.joined(separator: "\n")
        }
    }

    /// Reads all settings.
    /// - Parameters:
    ///   - file: path of a JSON file; nil for none.
    ///   - flags: values given on the command line, by setting name.
    ///   - standards: defaults of the command where they are not those of the settings.
    /// - Throws: `Problems` with every problem there is.
    static func read(
        file: String?, environment: [String: String], flags: [String: String], standards: [String: String] = [:]
    ) async throws -> AurumConfiguration {
        var providers: [(source: String, prefix: [String], provider: any ConfigProvider)] = []
        providers.append(("flag", [], InMemoryProvider(values: Self.keyed(flags))))
        providers.append(("environment", ["aurum"], EnvironmentVariablesProvider(environmentVariables: environment)))
        if let file {
            do {
                let provider = try await FileProvider<JSONSnapshot>(filePath: FilePath(file))
                providers.append(("file \(file)", [], provider))
            } catch { throw Problems(sentences: ["the file \(file) cannot be read as JSON"]) }
        }
        let defaults = Dictionary(
            uniqueKeysWithValues: Setting.all.map { ($0.name, standards[$0.name] ?? $0.standard) })
        providers.append(("default", [], InMemoryProvider(values: Self.keyed(defaults))))

        var problems: [String] = []
        let values = Setting.all.map { setting in
            let (value, source) = look(setting, providers)
            if let problem = setting.problem(with: value) {
                problems.append("\(setting.name) (\(source)) \(problem)")
            }
            return Resolved(setting: setting, value: value, source: source)
        }
        let configuration = AurumConfiguration(values: values)
        if configuration[.metricsAddress] != "off", configuration.metricsAddress == nil {
            problems.append("metrics.address must be HOST:PORT or off")
        }
        do { _ = try configuration.databaseLocation() } catch { problems.append("database.url \(error)") }
        do throws(RedisConfiguration.Problem) { _ = try configuration.redis } catch {
            problems.append("redis.url: \(error)")
        }
        problems += configuration.faultProblems + configuration.diskProblems
        problems += unknownNames(environment: environment, flags: flags)
        guard problems.isEmpty else { throw Problems(sentences: problems) }
        return configuration
    }

    private static func look(
        _ setting: Setting, _ providers: [(source: String, prefix: [String], provider: any ConfigProvider)]
    ) -> (String, String) {
        for (source, prefix, provider) in providers {
            let key = AbsoluteConfigKey(prefix + setting.key)
            for type in [ConfigType.string, .int, .bool] {
                guard let found = try? provider.value(forKey: key, type: type), let value = found.value else {
                    continue
                }
                switch value.content {
                case .string(let text): return (text, source)
                case .int(let number): return (String(number), source)
                case .bool(let flag): return (flag ? "true" : "false", source)
                default: continue
                }
            }
        }
        return (setting.standard, "default")
    }

    private static func keyed(_ values: [String: String]) -> [AbsoluteConfigKey: ConfigValue] {
        Dictionary(
            uniqueKeysWithValues: values.map { name, value in
                (
                    AbsoluteConfigKey(name.split(separator: ".").map(String.init)),
                    ConfigValue(.string(value), isSecret: false)
                )
            })
    }

    /// A misspelt variable must not be silently ignored.
    private static func unknownNames(environment: [String: String], flags: [String: String]) -> [String] {
        let known = Set(Setting.all.map(\.environmentName)).union(["AURUM_CONFIG", "AURUM_KEY"])
        return environment.keys.filter { $0.hasPrefix("AURUM_") && !known.contains($0) }.sorted()
            .map { "\($0) is no setting of Aurum; see aurum serve --help" }
    }

    private static func address(_ text: String) -> (host: String, port: Int)? {
        guard let colon = text.lastIndex(of: ":"), let port = Int(text[text.index(after: colon)...]),
            (0...65_535).contains(port), colon > text.startIndex
        else { return nil }
        return (String(text[..<colon]), port)
    }
}

extension Setting {
    /// `http.port` → `AURUM_HTTP_PORT`, `egress.allowLoopback` → `AURUM_EGRESS_ALLOW_LOOPBACK`.
    var environmentName: String {
        var text = "AURUM"
        for part in key {
            text += "_"
            var previousIsLower = false
            for character in part {
                if character.isUppercase, previousIsLower { text += "_" }
                text += character.uppercased()
                previousIsLower = character.isLowercase || character.isNumber
            }
        }
        return text
    }
}
