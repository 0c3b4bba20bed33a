internal import ArgumentParser
internal import AurumCore
internal import Benchmarks
internal import Database
internal import Foundation
internal import Validation

/// Figures of the engine itself, each against its bar.
struct BenchCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "bench", abstract: "Measure an area and compare with its bars; exit 1 on a miss.",
        discussion: """
            Areas: events, dedup (a part of events), ingest (files of --data into a log), \
            conversation, attribution, its parts paths, log, campaigns, installs and live, database (SQLite, and the \
            PostgreSQL of AURUM_DATABASE_URL in a schema of its own, or one that it starts), runtime, its parts redis, \
            roles (caches, locks and limits) and jobs (starts a redis-server unless --redis-url is given, and a \
            PostgreSQL), all (of these but ingest), questions (fills a server of its own and asks it the \
            dashboard's questions).
            Machines are noisy: trust ratios taken in one run, and --gate, which compares CPU per event with the \
            baseline of the repository. docs/benchmarks.md and docs/runtime.md explain the rows.
            """)

    private static let attributionParts = ["paths", "log", "campaigns", "installs", "live"]
    private static let runtimeParts = ["redis", "roles", "jobs"]
    private static let areas =
        ["events", "dedup", "ingest", "conversation", "attribution"] + attributionParts
        + ["database", "runtime"] + runtimeParts + ["questions", "all"]

    @Argument(help: "One of: \(areas.joined(separator: ", ")).")
    var area: String
    @Option(name: .long, help: "Folder with NDJSON files (ingest), to use instead of the standard data (events).")
    var data: String?
    @Option(name: .long, help: "Events to measure with (events, questions).")
    var events: Int?
    @Option(name: .long, help: "Ids in the de-duplication window (events, dedup); 50 million, or 50 an event.")
    var identifiers: Int?
    @Option(name: .long, help: "Paths to measure with (attribution, paths).")
    var paths: Int?
    @Option(name: .long, help: "Touchpoints of the log to credit (attribution, log); 2 million unless told.")
    var touchpoints: Int?
    @Option(name: .long, help: "Touches that installs are matched with (attribution, installs); 1 million unless told.")
    var candidates: Int?
    @Option(name: .long, help: "Seconds for which 1,000 conversions a second are offered (attribution, live); else 30.")
    var seconds: Int?
    @Option(name: .long, help: "Write the data into this folder (events) or file (attribution), and end.")
    var write: String?
    @Option(name: .long, help: "standard or harsh, for --write.")
    var profile = "standard"
    @Option(name: .long, help: "Seed of the data.")
    var seed: UInt64 = 7
    @Option(name: .long, help: "Events a second that come in meanwhile (questions).")
    var rate = 100_000.0
    @Option(name: .long, help: "A folder that an earlier run filled, or one to fill and keep (questions).")
    var dataDir: String?
    @Option(name: .long, help: "How often each question is asked after the first time (questions).")
    var asks = 84
    @Option(name: .customLong("redis-url"), help: "redis:// or rediss:// URL of the server to measure with (runtime).")
    var redisURL: String?
    @Option(name: .long, help: .hidden)
    var cacheWorker: String?
    @Flag(name: .long, help: "Hold the cost of one event to the baseline: +10 % fails (events).")
    var gate = false
    @Flag(name: .long, help: "Measure like --gate and write the result into the baseline file (events).")
    var updateBaseline = false
    @Option(name: .long, help: "The baseline file.")
    var baseline = "Benchmarks/baseline.json"
    @Option(name: .long, help: .hidden)
    var passes: Int?
    @Option(name: .long, help: .hidden)
    var jobsWorker: String?
    @Option(name: .long, help: .hidden)
    var lockHolder: String?
    @Flag(name: .long, help: "Run every body once, tiny: proves that it works, measures nothing.")
    var tiny = false
    @Flag(name: .long, help: "Print JSON.")
    var json = false

    func validate() throws {
        guard Self.areas.contains(area) else {
            throw ValidationError("unknown area \(area); areas are \(Self.areas.joined(separator: ", "))")
        }
        if let paths, paths < 1 { throw ValidationError("--paths must be at least 1") }
        if let touchpoints, touchpoints < 1 { throw ValidationError("--touchpoints must be at least 1") }
        if let candidates, candidates < 1000 { throw ValidationError("--candidates must be at least 1,000") }
        if let seconds, !(1...86_400).contains(seconds) { throw ValidationError("--seconds is 1 to 86,400") }
        try belongs("--candidates", candidates, to: ["installs", "attribution", "all"])
        try belongs("--seconds", seconds, to: ["live", "attribution", "all"])
        if let identifiers, identifiers < 1 { throw ValidationError("--identifiers must be at least 1") }
        if let events, events < 1 { throw ValidationError("--events must be at least 1") }
        guard EventProfile(rawValue: profile) != nil else { throw ValidationError("--profile is standard or harsh") }
        if area != "questions", dataDir != nil { throw ValidationError("--data-dir belongs to questions") }
        if asks < 0 || !rate.isFinite || rate < 0 { throw ValidationError("--asks and --rate are 0 or more") }
        if !(["runtime", "all"] + Self.runtimeParts).contains(area), redisURL != nil {
            throw ValidationError("--redis-url belongs to runtime")
        }
        if area == "ingest", data == nil || write != nil || gate || updateBaseline {
            throw ValidationError("ingest needs --data, a folder of *.ndjson files, and takes no other data")
        }
        if area == "attribution", data != nil || gate || updateBaseline {
            throw ValidationError("--data, --gate and --update-baseline belong to events")
        }
        let others = ["conversation", "database", "dedup", "runtime", "questions"]
        if (others + Self.attributionParts + Self.runtimeParts).contains(area),
            data != nil || write != nil || gate || updateBaseline
        {
            throw ValidationError("--data, --write, --gate and --update-baseline belong to events")
        }
    }

    private func belongs(_ option: String, _ value: Int?, to areas: [String]) throws {
        guard value != nil, !areas.contains(area) else { return }
        throw ValidationError("\(option) belongs to \(areas.joined(separator: ", "))")
    }

    func run() async throws {
        do {
            if let write, area == "attribution" { return try writePaths(to: write) }
            if let write { return try writeData(to: write) }
            if let cacheWorker { return Output.line(try await Benchmarks.cacheWorker(cacheWorker)) }
            if let jobsWorker { return try await JobCrash.work(jobsWorker) }
            if let lockHolder { return try await LockHold.work(lockHolder) { Output.line($0) } }
            if let passes { return try await CostGate.passesOnly(passes, events: events ?? 80_000, seed: seed) }
            if gate || updateBaseline { return try await holdToBaseline() }
            try await measure()
        } catch let failure as BenchFailure {
            throw CommandFailure("\(failure)")
        } catch let failure as QuestionFailure { throw CommandFailure("\(failure)") }
    }

    private func measure() async throws {
        var report = BenchReport(seed: seed, tiny: tiny)
        let identifiers = identifiers ?? min(events ?? 1_000_000, 1_000_000) * 50
        if area == "dedup" { report.rows += try deduplicationBench(identifiers: identifiers, tiny: tiny, seed: seed) }
        if area == "ingest", let data { report.rows += try await FileIngestBench(directory: data).rows() }
        if area == "events" || area == "all" {
            var options = EventsBenchOptions()
            options.directory = data
            options.events = events ?? options.events
            options.identifiers = identifiers
            options.tiny = tiny
            options.seed = seed
            let result = try await eventsBench(options)
            report.rows += result.rows
            report.data = result.data
            report.totals = result.totals
        }
        if area == "conversation" || area == "all" {
            report.rows += try await conversationBench(tiny: tiny, seed: seed)
        }
        if isWanted("paths", of: "attribution") { report.rows += try attribution.run() }
        if isWanted("log", of: "attribution") { report.rows += try await logAttribution.run() }
        if isWanted("campaigns", of: "attribution") { report.rows += try await campaigns.run() }
        if isWanted("installs", of: "attribution") { report.rows += try await installs.run() }
        if isWanted("live", of: "attribution") { report.rows += try await live.run() }
        if area == "database" || area == "all" { report.rows += try await database() }
        let roles = rolesOptions
        if isWanted("redis", of: "runtime") { report.rows += try await redisBench(roles) }
        if isWanted("roles", of: "runtime") { report.rows += try await rolesBench(roles) }
        if isWanted("jobs", of: "runtime") { report.rows += try await jobs() }
        if area == "questions" { report.rows += try await questions() }
        try report.print(json: json)
        if !tiny, report.rows.contains(where: { $0.met == false }) { throw ExitCode(1) }
    }

    private func isWanted(_ part: String, of whole: String) -> Bool { ["all", whole, part].contains(area) }

    private var rolesOptions: RuntimeBenchOptions {
        var options = RuntimeBenchOptions()
        options.redisURL = redisURL
        options.tiny = tiny
        options.program = Bundle.main.executablePath
        return options
    }

    private func jobs() async throws -> [BenchRow] {
        var crash = JobCrash()
        crash.seed = seed
        if tiny { (crash.jobs, crash.kills) = (300, 2) }
        return try await jobBench(tiny: tiny, seed: seed, redisURL: redisURL) + crash.rows()
    }

    private func database() async throws -> [BenchRow] {
        var servers: [PostgresAddress] = []
        let location = try await ConfigurationOptions.parse([]).read().databaseLocation()
        if case .postgres(let address) = location { servers.append(address) }
        return try await Openings.databaseErrors(location) {
            try await databaseBench(servers: servers, tiny: tiny, seed: seed)
        }
    }

    private func questions() async throws -> [BenchRow] {
        var bench = QuestionBench()
        bench.events = tiny ? 4000 : events ?? bench.events
        bench.rate = tiny ? min(rate, 4000) : rate
        bench.asks = tiny ? 1 : asks
        bench.seed = seed
        bench.dataDirectory = dataDir
        if !json { bench.progress = { Output.error($0) } }
        return try await bench.run().rows(rate: bench.rate)
    }

    private var attribution: AttributionBench {
        var bench = AttributionBench()
        bench.rows = paths ?? bench.rows
        (bench.tiny, bench.seed) = (tiny, seed)
        return bench
    }

    private var logAttribution: LogAttributionBench {
        var bench = LogAttributionBench()
        bench.touchpoints = touchpoints ?? bench.touchpoints
        (bench.tiny, bench.seed) = (tiny, seed)
        if !json { bench.progress = { Output.error($0) } }
        return bench
    }

    private var installs: InstallBench {
        var bench = InstallBench()
        bench.candidates = candidates ?? bench.candidates
        (bench.tiny, bench.seed) = (tiny, seed)
        return bench
    }

    private var live: LiveBench {
        var bench = LiveBench()
        bench.seconds = seconds ?? bench.seconds
        (bench.tiny, bench.seed) = (tiny, seed)
        return bench
    }

    private var campaigns: CampaignBench {
        var bench = CampaignBench()
        (bench.tiny, bench.seed) = (tiny, seed)
        return bench
    }

    private func writePaths(to file: String) throws {
        do { try Data(attribution.csv()).write(to: URL(fileURLWithPath: file)) } catch {
            throw CommandFailure("\(file) cannot be written: \(error.localizedDescription)")
        }
    }

    private func writeData(to folder: String) throws {
        let totals = try EventFiles.write(
            to: folder, events: events ?? 1_000_000, profile: EventProfile(rawValue: profile) ?? .standard, seed: seed,
            endingAt: SystemWallClock().now)
        if json { return try Output.json(totals) }
        Output.line(BenchReport.text(totals))
    }

    /// Instructions where the machine counts them, CPU time elsewhere.
    private func holdToBaseline() async throws {
        let count = events ?? 80_000
        let rounds = tiny ? 1 : 9
        var cost: EventCost?
        if let perf = Self.perf {
            cost = try CostGate.measureInstructions(
                executable: "/proc/self/exe", perf: perf, passes: rounds, events: count, seed: seed,
                processor: Machine.processor)
        }
        let measured: EventCost
        if let cost {
            measured = cost
        } else {
            measured = try await CostGate.measureCPU(
                passes: rounds, events: count, seed: seed, processor: Machine.processor)
        }
        let kept = try BaselineFile.read(baseline)
        if updateBaseline {
            try BaselineFile.write(baseline, kept.filter { $0.method != measured.method } + [measured])
            Output.line("\(baseline) now says \(measured.relative) by \(measured.method)")
            return
        }
        var report = BenchReport(seed: seed, tiny: tiny)
        report.rows = [CostGate.row(measured, against: kept.first { $0.method == measured.method })]
        try report.print(json: json)
        if !tiny, report.rows.contains(where: { $0.met == false }) { throw ExitCode(1) }
    }

    private static var perf: String? {
        ["/usr/bin/perf", "/usr/local/bin/perf"].first { FileManager.default.isExecutableFile(atPath: $0) }
    }
}

/// The costs that the repository holds us to.
private enum BaselineFile {
    static func read(_ path: String) throws -> [EventCost] {
        guard let data = FileManager.default.contents(atPath: path) else { return [] }
        do { return try JSONDecoder().decode([EventCost].self, from: data) } catch {
            throw CommandFailure("\(path) is no baseline file: \(error)")
        }
    }

    static func write(_ path: String, _ costs: [EventCost]) throws {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
        do {
            let url = URL(fileURLWithPath: path)
            try FileManager.default.createDirectory(
                at: url.deletingLastPathComponent(), withIntermediateDirectories: true)
            try (encoder.encode(costs) + Data("\n".utf8)).write(to: url, options: .atomic)
        } catch { throw CommandFailure("\(path) cannot be written: \(error)") }
    }
}

/// What `aurum bench` prints, as JSON or as a table.
private struct BenchReport: Encodable {
    var rows: [BenchRow] = []
    var data: String?
    var totals: StandardTotals?
    let seed: UInt64
    let tiny: Bool

    init(seed: UInt64, tiny: Bool) {
        self.seed = seed
        self.tiny = tiny
    }

    private enum Key: String, CodingKey { case machine, commit, mode, seed, tiny, data, totals, valueSum, rows }

    private struct Row: Encodable {
        let name: String
        let value: Double
        let unit: String
        let bar: Double?
        let pass: Bool?
        let samples: Int
        let note: String
    }

    func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: Key.self)
        try container.encode(Machine.name, forKey: .machine)
        try container.encode(Release.commit, forKey: .commit)
        try container.encode(Release.mode, forKey: .mode)
        try container.encode(seed, forKey: .seed)
        try container.encode(tiny, forKey: .tiny)
        try container.encodeIfPresent(data, forKey: .data)
        try container.encodeIfPresent(totals, forKey: .totals)
        try container.encodeIfPresent(totals?.valueSum, forKey: .valueSum)
        let shown = rows.map { row in
            let note = [row.notJudged.map { "not judged: \($0)" }, row.note].compactMap { $0 }.filter { !$0.isEmpty }
            return Row(
                name: row.name, value: row.value, unit: row.unit, bar: row.bar, pass: row.met, samples: row.n,
                note: note.joined(separator: "; "))
        }
        try container.encode(shown, forKey: .rows)
    }

    func print(json: Bool) throws { if json { try Output.json(self) } else { Output.line(table) } }

    private var table: String {
        let width = rows.map(\.name.count).max() ?? 0
        var text =
            "machine \(Machine.name), commit \(Release.commit), \(Release.mode), seed \(seed)"
            + (tiny ? ", tiny: no measurement\n" : "\n")
        if let data { text += "data    \(data)\n" }
        if let totals { text += Self.text(totals) + "\n" }
        for row in rows {
            let verdict = row.met.map { $0 ? "met" : "MISSED" } ?? (row.notJudged == nil ? "" : "not judged")
            let bar = row.bar.map { "bar " + Self.number($0) } ?? ""
            text += row.name.padding(toLength: width, withPad: " ", startingAt: 0)
            text += "  \(Self.number(row.value)) \(row.unit)  \(bar) \(verdict)  n=\(row.n)\n"
            for note in [row.notJudged, row.note].compactMap({ $0 }) where !note.isEmpty { text += "    \(note)\n" }
        }
        return text
    }

    static func text(_ totals: StandardTotals) -> String {
        let mean = String(format: "%.1f", Double(totals.bytes) / Double(max(1, totals.events)))
        var text = "\(totals.events) events, \(totals.bytes) bytes, \(mean) bytes an event\n"
        for (name, count) in totals.names.sorted(by: { $0.value > $1.value }) { text += "    \(name): \(count)\n" }
        for (currency, cents) in totals.cents.sorted(by: { $0.key < $1.key }) {
            text += "    value \(currency): \(EventPopulation.decimal(cents: cents))\n"
        }
        return text + "    value of all \(totals.withValue) events with one: \(totals.valueSum)"
    }

    private static func number(_ value: Double) -> String {
        String(format: value.magnitude >= 1000 ? "%.0f" : value.magnitude >= 10 ? "%.1f" : "%.3f", value)
    }
}

/// What the figures were measured on.
enum Machine {
    static var processor: String {
        let info = (try? String(contentsOfFile: "/proc/cpuinfo", encoding: .utf8)) ?? ""
        let model = info.split(separator: "\n").first { $0.hasPrefix("model name") }?
            .split(separator: ":").last?.trimmingCharacters(in: .whitespaces)
        return model ?? "unknown processor"
    }

    static var name: String { "\(processor), \(ProcessInfo.processInfo.activeProcessorCount) cores" }
}
