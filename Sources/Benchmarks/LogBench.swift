internal import AurumCore
internal import Events
internal import Foundation
internal import Logging
internal import Telemetry

/// Durable ingest into a real log on disk, and what the log then holds: rate, CPU, ratio, round trip, read-back.
struct LogBench: Sendable {
    let bodies: EventBodies
    /// First part of the rows' names.
    let name: String
    let ratioBar: Double?

    /// Bodies on their way at once: enough to keep all cores busy.
    private static let senders = 24
    static let org = "bench"

    func rows() async throws -> [BenchRow] {
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent("aurum-bench-\(UUID().uuidString)")
        defer { try? FileManager.default.removeItem(at: folder) }
        var log = try Self.open(folder)
        let ingest = await ingest(log.capture)
        await log.close()
        let files = SegmentFiles(folder)
        log = try Self.open(folder)
        let back = try ReadBack.read(log.store)
        await log.close()
        let archive = try await ArchiveBench(folder: folder, name: name, org: Self.org).rows()
        return [ingest.rate(name), ingest.cpu(name), ratio(files, ingest), roundTrip(back, ingest), back.row(name)]
            + archive
    }

    /// Ingest alone, into a log that is thrown away.
    func ingestOnly() async throws -> Ingest {
        let folder = FileManager.default.temporaryDirectory.appendingPathComponent("aurum-bench-\(UUID().uuidString)")
        defer { try? FileManager.default.removeItem(at: folder) }
        let log = try Self.open(folder)
        let result = await ingest(log.capture)
        await log.close()
        return result
    }

    static func open(_ folder: URL) throws -> EventLog {
        let clock = SystemWallClock()
        var configuration = EventsConfiguration()
        configuration.limits.freeBytesMin = 256 << 20
        return try EventLog.open(
            directory: folder.path, configuration: configuration, registry: MetricRegistry(),
            health: HealthRegistry(clock: clock), clock: clock,
            logger: Logger.silent)
    }

    /// Every body once; body k is for app k mod 200.
    private func ingest(_ capture: EventCapture) async -> Ingest {
        var cost = ProcessCost()
        var sum = await withTaskGroup(of: Ingest.self) { group in
            for sender in 0..<Self.senders {
                group.addTask { await send(every: Self.senders, from: sender, to: capture) }
            }
            return await group.reduce(into: Ingest()) { $0.add($1) }
        }
        cost.stop()
        sum.cost = cost
        return sum
    }

    private func send(every step: Int, from first: Int, to capture: EventCapture) async -> Ingest {
        var sum = Ingest()
        for index in stride(from: first, to: bodies.bodies.count, by: step) {
            let body = bodies.bodies[index]
            let result: Result<Receipt, CaptureError>
            do throws(CaptureError) {
                result = .success(
                    try await capture.submit(
                        body, format: .ndjson,
                        source: CaptureSource(org: Self.org, app: "app-\(index % StandardEvents.apps)"),
                        receivedAt: bodies.receivedAt))
            } catch { result = .failure(error) }
            sum.add(result, bytes: body.count)
        }
        return sum
    }

    private func ratio(_ files: SegmentFiles, _ ingest: Ingest) -> BenchRow {
        BenchRow(
            name: "\(name).ratio", value: Double(ingest.bytes) / Double(max(1, files.bytes)), unit: ":1",
            bar: ratioBar, higherIsBetter: true, n: ingest.kept,
            note: "\(ingest.bytes) bytes of NDJSON accepted, \(files.bytes) bytes in \(files.count) segment files",
            notJudged: ingest.notJudged)
    }

    /// Every event that was kept must be read back byte for byte, and nothing else.
    private func roundTrip(_ back: ReadBack, _ ingest: Ingest) -> BenchRow {
        let sent = LineHashes.sorted(bodies.bodies)
        let unknown = LineHashes.missing(back.hashes, in: sent)
        let exact = back.hashes == sent
        let right = max(0, back.hashes.count - unknown)
        return BenchRow(
            name: "\(name).round_trip", value: Double(right) / Double(max(1, ingest.kept)), unit: "share", bar: 1,
            higherIsBetter: true, n: back.hashes.count,
            note: "\(back.hashes.count) of \(ingest.kept) events read back, \(unknown) altered"
                + (exact ? "; the hashes of all texts are equal" : ""),
            notJudged: ingest.kept == 0 ? "no event was accepted" : nil)
    }
}

/// What became of the bodies that were sent.
struct Ingest: Sendable {
    var stored = 0
    var late = 0
    var bot = 0
    var duplicate = 0
    var quarantined = 0
    /// NDJSON bytes of accepted bodies.
    var bytes = 0
    /// Bodies by the tag of their refusal.
    var refused: [String: Int] = [:]
    var cost = ProcessCost()

    /// Events that the views hold.
    var kept: Int { stored + late + bot }
    private var accepted: Int { kept + duplicate + quarantined }

    mutating func add(_ other: Ingest) {
        stored += other.stored
        late += other.late
        bot += other.bot
        duplicate += other.duplicate
        quarantined += other.quarantined
        bytes += other.bytes
        refused.merge(other.refused, uniquingKeysWith: +)
    }

    mutating func add(_ result: Result<Receipt, CaptureError>, bytes count: Int) {
        switch result {
        case .success(let receipt):
            stored += receipt.stored
            late += receipt.late
            bot += receipt.bot
            duplicate += receipt.duplicate
            quarantined += receipt.quarantined
            bytes += count
        case .failure(let error): refused[error.tag, default: 0] += 1
        }
    }

    var notJudged: String? {
        if kept == 0 { return "no event was accepted" }
        return accepted < EventsBenchOptions.eventsToJudge
            ? "fewer than \(EventsBenchOptions.eventsToJudge) events" : nil
    }

    private var note: String {
        var parts = ["\(stored) stored"]
        for (count, word) in [(late, "late"), (bot, "bot"), (duplicate, "duplicate"), (quarantined, "quarantined")]
        where count > 0 { parts.append("\(count) \(word)") }
        for (tag, count) in refused.sorted(by: { $0.key < $1.key }) { parts.append("\(count) bodies \(tag)") }
        return parts.joined(separator: ", ")
    }

    func rate(_ name: String) -> BenchRow {
        BenchRow(
            name: "\(name).ingest", value: Double(accepted) / cost.wallSeconds, unit: "events/s", bar: 1_050_000,
            higherIsBetter: true, n: accepted, note: note, notJudged: notJudged ?? cost.disturbance)
    }

    func cpu(_ name: String) -> BenchRow {
        BenchRow(
            name: "\(name).cpu", value: cost.cpuSeconds * 1e6 / Double(max(1, accepted)), unit: "µs/event", bar: 1.25,
            n: accepted, note: "user and system time of all threads, without HTTP", notJudged: notJudged)
    }
}

/// The log's segment files. The de-duplication index, the installation's secret and the manifest are not among them.
struct SegmentFiles {
    private(set) var bytes = 0
    private(set) var count = 0
    private static let suffix = ".aurumlog"

    init(_ folder: URL) {
        guard let walker = FileManager.default.enumerator(atPath: folder.path) else { return }
        while let path = walker.nextObject() as? String {
            guard path.hasSuffix(Self.suffix) else { continue }
            let attributes = try? FileManager.default.attributesOfItem(atPath: folder.path + "/" + path)
            bytes += (attributes?[.size] as? Int) ?? 0
            count += 1
        }
    }
}

/// Every event of the store through its public reader.
struct ReadBack {
    private(set) var hashes: [UInt64] = []
    private var seconds = 0.0
    /// Blocks that could not be read.
    private var damaged = 0

    static func read(_ source: any ColumnSource) throws -> ReadBack {
        var back = ReadBack()
        let began = ContinuousClock.now
        for segment in try source.segments() {
            for index in segment.blocks.indices {
                guard let block = try segment.read(index) else {
                    back.damaged += 1
                    continue
                }
                let outcomes = try block.outcomes()
                for row in 0..<block.rowCount where Self.isKept(outcomes[row]) {
                    guard let event = try block.event(row) else { continue }
                    back.hashes.append(LineHashes.hash(Array(event.raw.utf8)[...]))
                }
            }
        }
        back.seconds = (ContinuousClock.now - began).seconds
        back.hashes.sort()
        return back
    }

    private static func isKept(_ outcome: UInt8) -> Bool {
        [EventOutcome.stored, .late, .bot].contains { $0.rawValue == outcome }
    }

    func row(_ name: String) -> BenchRow {
        BenchRow(
            name: "\(name).read_back", value: Double(hashes.count) / max(seconds, 1e-9), unit: "events/s",
            higherIsBetter: true, n: hashes.count,
            note: "every field of every event" + (damaged > 0 ? ", \(damaged) blocks unreadable" : ""))
    }
}

/// Hashes of lines, so that two lots of events can be compared without keeping both.
enum LineHashes {
    static func hash(_ line: ArraySlice<UInt8>) -> UInt64 {
        var hasher = Hasher()
        line.withUnsafeBytes { hasher.combine(bytes: $0) }
        return UInt64(bitPattern: Int64(hasher.finalize()))
    }

    /// One a line that is not blank, in order of value.
    static func sorted(_ bodies: [[UInt8]]) -> [UInt64] {
        var hashes: [UInt64] = []
        for body in bodies {
            for line in body.split(separator: 0x0a) {
                let text = line.drop { isSpace($0) }
                guard let last = text.lastIndex(where: { !isSpace($0) }) else { continue }
                hashes.append(hash(text[...last]))
            }
        }
        hashes.sort()
        return hashes
    }

    /// How many of `found` are not in `sent`, each counted as often as it occurs. Both sorted.
    static func missing(_ found: [UInt64], in sent: [UInt64]) -> Int {
        var missing = 0
        var place = 0
        for hash in found {
            while place < sent.count, sent[place] < hash { place += 1 }
            if place < sent.count, sent[place] == hash { place += 1 } else { missing += 1 }
        }
        return missing
    }

    private static func isSpace(_ byte: UInt8) -> Bool { byte == 0x20 || byte == 0x09 || byte == 0x0d }
}
