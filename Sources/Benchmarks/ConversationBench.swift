internal import AurumCore
internal import Conversation
internal import Database
internal import Foundation
internal import Leads
internal import Logging
internal import Runtime
internal import Solar
internal import Telemetry

/// Chat turns with the embedded understanding, durable on SQLite: 100 visitors at once, each writing once a second the
/// answers of the solar talk to its end, estimate, lead and certificate included. Latency counts from the moment at
/// which a message was meant to be sent until its reply is stored and queued on the socket.
package func conversationBench(tiny: Bool, seed: UInt64) async throws -> [BenchRow] {
    let bench = try ConversationLoad(tiny: tiny, seed: seed)
    defer { bench.remove() }
    let understanding = try bench.understanding()
    let turns = try await bench.turns()
    return [
        BenchRow(
            name: "understanding p95", value: Percentile.of(understanding, 0.95), unit: "ms", bar: 5,
            n: understanding.count),
        BenchRow(name: "chat turn p50", value: Percentile.of(turns, 0.5), unit: "ms", bar: 20, n: turns.count),
        BenchRow(name: "chat turn p95", value: Percentile.of(turns, 0.95), unit: "ms", bar: 10, n: turns.count),
        BenchRow(name: "chat turn p99", value: Percentile.of(turns, 0.99), unit: "ms", bar: 200, n: turns.count),
    ]
}

/// The smallest sample that `share` of all samples do not exceed.
enum Percentile {
    static func of(_ samples: [Double], _ share: Double) -> Double {
        let sorted = samples.sorted()
        guard !sorted.isEmpty else { return .infinity }
        return sorted[min(sorted.count - 1, Int((Double(sorted.count) * share).rounded(.up)) - 1)]
    }
}

/// Visitors on a timetable.
private final class ConversationLoad: Sendable {
    private let folder: URL
    private let database: Database
    private let service: ConversationService
    private let flow: FlowDefinition
    private let visitors: Int
    private let pause: Duration
    private let seed: UInt64

    init(tiny: Bool, seed: UInt64) throws {
        self.seed = seed
        visitors = tiny ? 3 : 100
        pause = tiny ? .milliseconds(10) : .seconds(1)
        folder = FileManager.default.temporaryDirectory.appending(path: "aurum-bench-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        let registry = MetricRegistry()
        let clock = SystemWallClock()
        database = try Database.openSQLite(
            at: folder.appending(path: "records.sqlite").path, registry: registry, clock: clock)
        let territory = try Territory()
        let flows = try SolarFlow.catalogue(territory: territory, estimator: try SolarEstimator())
        guard let flow = flows.flow(SolarFlow.id) else { throw ConversationError.unavailable("no_flow") }
        self.flow = flow
        let issuer = try CertificateIssuer.open(
            keyFile: folder.appending(path: "issuer.key").path, issuer: "bench", clock: clock)
        let jobs = SQLJobStore(database: database, fences: SQLFences(database: database), registry: registry)
        let intake = SolarIntake(
            intake: LeadIntake(
                policies: try ScorePolicies.embedded(), issuer: issuer, jobs: LeadJobs(jobs), clock: clock,
                registry: registry),
            territory: territory)
        var limits = ConversationLimits()
        limits.conversationsPerAddressHour = 10_000
        limits.conversationsPerSiteMinute = 10_000
        limits.messagesPer10Seconds = 10_000
        service = ConversationService(
            database: database, flows: flows, clock: clock, registry: registry,
            logger: Logger.silent, limits: limits,
            onEnd: { ended, tx in try intake.accept(ended, in: tx) })
    }

    func remove() {
        try? database.close()
        try? FileManager.default.removeItem(at: folder)
    }

    /// Milliseconds to understand each message of many visitors.
    func understanding() throws -> [Double] {
        var samples: [Double] = []
        for visitor in 0..<(visitors * 2) {
            for line in script(visitor) {
                let started = ContinuousClock.now
                let readings = Understanding(flow: flow, asked: ["homeType"], settled: ["ownership"]).readings(line)
                samples.append((ContinuousClock.now - started).seconds * 1000)
                precondition(readings.fills.count < 100)
            }
        }
        return samples
    }

    /// Milliseconds of each turn.
    func turns() async throws -> [Double] {
        let start = ContinuousClock.now + .milliseconds(50)
        return await withTaskGroup(of: [Double].self) { group in
            for visitor in 0..<visitors {
                let offset = pause * visitor / visitors
                group.addTask { [self] in await talk(visitor, from: start + offset) }
            }
            return await group.reduce(into: []) { $0 += $1 }
        }
    }

    private func talk(_ visitor: Int, from start: ContinuousClock.Instant) async -> [Double] {
        let session = service.session(
            site: ChatSite(org: "bench", operatorName: "Bench", flowID: SolarFlow.id),
            client: ChatClient(address: "203.0.113.\(visitor % 250)", userAgentFamily: nil))
        try? await ContinuousClock().sleep(until: start)
        await session.receive("{\"type\":\"hello\",\"visitorID\":\"bench-\(visitor)\"}")
        var samples: [Double] = []
        for (number, line) in script(visitor).enumerated() {
            let due = start + pause * (number + 1)
            try? await ContinuousClock().sleep(until: due)
            let frame: JSONValue = [
                "type": "message", "clientMessageID": .string(UUID().uuidString), "text": .string(line),
            ]
            await session.receive(frame.canonical)
            samples.append((ContinuousClock.now - due).seconds * 1000)
        }
        session.disconnect()
        return samples
    }

    /// The answers of one visitor; bills, places, homes and roofs differ.
    private func script(_ visitor: Int) -> [String] {
        var random = SeededRandom(seed: seed &+ UInt64(visitor))
        func pick(_ words: [String]) -> String { words[Int.random(in: 0..<words.count, using: &random)] }
        let bill = Int.random(in: 90...450, using: &random)
        let digits = Int.random(in: 1000...9999, using: &random)
        return [
            pick(["I own it", "yes", "we own it, my wife and I"]),
            pick(["one family house", "brownstone", "2 family"]),
            pick(["11215", "it's 11375", "10462", "10301", "11691"]), pick(["$\(bill)", "about \(bill) a month"]),
            pick(["flat", "shingle", "not sure"]), pick(["none", "some shade", "a lot"]),
            pick(["asap", "in 4 months"]),
            pick(["cash", "a loan", "skip"]), pick(["just me", "with my wife"]),
            "Ana Diaz, 917-55\(digits % 10)-\(digits), visitor\(visitor)@example.com", pick(["yes", "I agree"]),
        ]
    }
}
