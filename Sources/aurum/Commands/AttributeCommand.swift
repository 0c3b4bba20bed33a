internal import ArgumentParser
internal import Attribution
internal import Foundation
internal import Synchronization

#if canImport(Glibc)
    internal import Glibc
#endif

/// Credit for channels from a file of paths or touches.
struct AttributeCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "attribute",
        abstract: "Credit channels for conversions: path files or touch files, all models.",
        discussion: """
            Paths: path,total_conversions,total_conversion_value,total_null in any order, the last two optional.
            Touches: person_id,timestamp,channel,conversion[,value[,milestone]]. FILE may be - for standard input.
            Models: all, first, last, lastNonDirect, linear, timeDecay, position, wShaped, wShaped30303010, custom, \
            markov1, markov2, markov3, shapley, shapleyRate. Exit 0 done, 2 bad input, 3 no conversions.
            Example: aurum attribute paths.csv --models all --half-life-steps 3 --format json
            """)

    @Argument(help: "The file, or - for standard input.")
    var file: String
    @Option(name: .long, help: "all, or a list of models.")
    var models = "all"
    @Option(name: .long, help: "Orders of the Markov model that all and markov mean.")
    var order = "1,2,3"
    @Option(name: .long, help: "Separates the channels of a path; its first character counts.")
    var sep = ">"
    @Option(name: .long, help: "auto, tab, or the character between columns.")
    var delimiter = "auto"
    @Option(name: .long, help: "Column names: path,conversions,value,nulls or person,time,channel,conversion,value.")
    var columns: String?
    @Option(name: .long, help: "Touches to the last after which half the credit is gone, for paths without times.")
    var halfLifeSteps: Double?
    @Option(name: .long, help: "Days after which half the credit is gone, for touches with times.")
    var halfLifeDays = 7.0
    @Option(name: .long, help: "Days a touch may be older than the conversion; none sets no bound (touches only).")
    var lookbackDays: Double?
    @Option(
        name: .long, help: "Weights such as first=0.4,middle=0.2,last=0.4 (also milestone), or w_shaped_30_30_30_10.")
    var custom: String?
    @Option(name: .long, help: "What a channel counts under custom weights: NAME=NUMBER; * is every other channel.")
    var channelFactor: [String] = []
    @Option(name: .long, help: "The channel that lastNonDirect passes over.")
    var direct = "direct"
    @Option(name: .long, help: "table, csv, json or html.")
    var format = Format.table
    @Option(name: .long, help: "Also say why this channel gets what it gets.")
    var explain: String?
    @Flag(name: .long, help: "Keep repeated states apart in Markov models; credits do not depend on it.")
    var keepSelfLoops = false
    @Flag(name: .long, help: "Stop at the first bad row.")
    var strict = false

    enum Format: String, ExpressibleByArgument, CaseIterable { case table, csv, json, html }

    func validate() throws {
        _ = try choices()
        _ = try reading()
        _ = try weights()
        if let halfLifeSteps, !(halfLifeSteps > 0 && halfLifeSteps.isFinite) {
            throw ValidationError("--half-life-steps must be above 0")
        }
        guard halfLifeDays > 0, halfLifeDays.isFinite else { throw ValidationError("--half-life-days must be above 0") }
        if let lookbackDays, !(lookbackDays >= 0 && lookbackDays < 100_000) {
            throw ValidationError("--lookback-days must be 0 or more")
        }
    }

    func run() throws {
        let progress = SlowProgress()
        let input: PathInput
        do {
            let (source, reading) = (try Self.source(file), try reading())
            input = try PathFile.read(DelimitedReader(source: source), reading) { bytes in
                progress.say { "read \(bytes / 1_000_000) MB" }
            }
        } catch let error as InputError { throw Self.end(error.sentence, 2) }
        for row in input.bad { Output.error("left out: \(row.sentence)") }
        if input.badCount > input.bad.count {
            Output.error("left out: \(input.badCount - input.bad.count) more bad rows")
        }
        var request = AttributionRequest(models: try choices())
        request.isExplicit = !ModelChoice.namesAll(models)
        request.halfLifeSteps = halfLifeSteps
        request.halfLifeSeconds = halfLifeDays * 86_400
        request.directChannel = direct
        request.custom = try weights()
        // Weights are given to be used.
        if request.custom != nil, !request.models.contains(.custom) { request.models.append(.custom) }
        request.collapse = !keepSelfLoops
        let run: AttributionRun
        do {
            run = try AttributionRun(input.table, request) { text in progress.say { text } }
        } catch { throw Self.end(error.sentence, error == .noConversions ? 3 : 2) }
        var explanation: ChannelExplanation?
        if let explain {
            explanation = ChannelExplanation(explain, input.table, run)
            guard explanation != nil else { throw Self.end("No path knows the channel \(explain).", 2) }
        }
        print(AttributionReport(input, run, explanation: explanation))
        for note in run.notes where format != .table { Output.error("note: \(note)") }
    }

    private func print(_ report: AttributionReport) {
        let text =
            switch format {
            case .table: report.text
            case .csv: report.csv
            case .json: report.json
            case .html: report.html
            }
        Output.line(text.hasSuffix("\n") ? String(text.dropLast()) : text)
    }

    private func choices() throws -> [ModelChoice] {
        let orders = try order.split(separator: ",").map { text in
            guard let order = Int(text.filter { $0 != " " }), (1...3).contains(order) else {
                throw ValidationError("--order takes 1, 2 and 3")
            }
            return order
        }
        guard !orders.isEmpty else { throw ValidationError("--order takes 1, 2 and 3") }
        do { return try ModelChoice.list(models, orders: Array(Set(orders)).sorted()) } catch {
            throw ValidationError(error.sentence)
        }
    }

    private func reading() throws -> PathReading {
        var reading = PathReading()
        reading.strict = strict
        guard let first = sep.first else { throw ValidationError("--sep is empty") }
        guard let separator = first.asciiValue else {
            throw ValidationError("--sep takes an ASCII character, such as > or |; “\(first)” is none")
        }
        reading.separator = separator
        switch delimiter {
        case "auto": reading.delimiter = nil
        case "tab", "\\t": reading.delimiter = UInt8(ascii: "\t")
        default:
            guard delimiter.utf8.count == 1, let byte = delimiter.utf8.first, !"\"\r\n".utf8.contains(byte) else {
                throw ValidationError("--delimiter takes auto, tab or one ASCII character that is no quote or line end")
            }
            reading.delimiter = byte
        }
        reading.columns = columns.map { text in
            text.split(separator: ",", omittingEmptySubsequences: false).map {
                $0.trimmingCharacters(in: .whitespaces)
            }
        }
        reading.lookback = lookbackDays.map { .seconds($0 * 86_400) }
        return reading
    }

    /// The custom weights, or nil when none are given.
    private func weights() throws -> CustomWeights? {
        if custom == nil, channelFactor.isEmpty { return nil }
        if custom == CreditModel.wShaped30303010.rawValue, channelFactor.isEmpty { return .example }
        var parts: [String: Double] = [:]
        let given =
            custom == CreditModel.wShaped30303010.rawValue
            ? "first=0.3,middle=0.1,milestone=0.3,last=0.3" : custom ?? "first=1,middle=1,milestone=0,last=1"
        for pair in given.split(separator: ",") {
            let (name, value) = try Self.pair(String(pair), "--custom")
            guard ["first", "middle", "milestone", "last"].contains(name) else {
                throw ValidationError("--custom knows first, middle, milestone and last, not \(name)")
            }
            parts[name] = value
        }
        var factors: [String: Double] = [:]
        for text in channelFactor {
            let (name, value) = try Self.pair(text, "--channel-factor")
            factors[name] = value
        }
        do {
            return try CustomWeights(
                first: parts["first"] ?? 0, middle: parts["middle"] ?? 0, milestone: parts["milestone"] ?? 0,
                last: parts["last"] ?? 0, channelFactors: factors)
        } catch { throw ValidationError(error.sentence) }
    }

    private static func pair(_ text: String, _ option: String) throws -> (String, Double) {
        guard let equals = text.lastIndex(of: "="), let value = Double(text[text.index(after: equals)...]) else {
            throw ValidationError("\(option) takes NAME=NUMBER, not \(text)")
        }
        return (text[..<equals].trimmingCharacters(in: .whitespaces), value)
    }

    private static func end(_ sentence: String, _ status: Int32) -> ExitCode {
        Output.error(sentence)
        return ExitCode(status)
    }

    /// Bytes of a file or of standard input, as they are asked for.
    static func source(_ path: String) throws(InputError) -> DelimitedReader.Source {
        var descriptor: Int32 = 0
        if path != "-" {
            descriptor = open(path, O_RDONLY | O_CLOEXEC)
            guard descriptor >= 0 else {
                throw .unreadable("\(path) cannot be opened: \(String(cString: strerror(errno)))")
            }
            var facts = stat()
            if fstat(descriptor, &facts) == 0, facts.st_mode & S_IFMT == S_IFDIR {
                throw .unreadable("\(path) is a folder; name a file")
            }
        }
        return { (target: UnsafeMutableRawBufferPointer) throws(InputError) in
            while true {
                let count = read(descriptor, target.baseAddress, target.count)
                if count >= 0 { return count }
                if errno != EINTR { throw .unreadable("\(path) cannot be read: \(String(cString: strerror(errno)))") }
            }
        }
    }
}

/// Says on standard error what long work is at: not before two seconds, then about once a second.
private final class SlowProgress: Sendable {
    private let last = Mutex(ContinuousClock.now + .seconds(1))

    func say(_ text: () -> String) {
        let now = ContinuousClock.now
        let isDue = last.withLock { last in
            guard now - last > .seconds(1) else { return false }
            last = now
            return true
        }
        if isDue { Output.error(text()) }
    }
}
