internal import AurumCore
internal import Database
internal import Foundation
internal import Leads
internal import Logging
internal import Runtime
internal import Synchronization
internal import Telemetry

/// What the product itself writes, by its own code: leads with score, consent certificate, keys, events and job; sales
/// of them by the queue; and postings of the ledger for sold legs that come back.
struct ProductBench: Sendable {
    private static let org = "bench"
    private static let buyer = "helios"
    private static let workers = 64
    /// The sum over all accounts is looked at after so many postings.
    private static let sumEvery = 1000

    let database: Database
    let engine: String
    let leads: Int
    /// For the key that signs certificates.
    let folder: String
    let notJudged: String?

    func run() async throws -> [BenchRow] {
        let (clock, registry) = (SystemWallClock(), MetricRegistry())
        let policies = try ScorePolicies.embedded()
        let issuer = try CertificateIssuer.open(
            keyFile: "\(folder)/\(engine)-issuer.key", issuer: "bench", clock: clock)
        let store = SQLJobStore(database: database, fences: SQLFences(database: database), registry: registry)
        let jobs = LeadJobs(store, concurrency: 200)
        let intake = LeadIntake(policies: policies, issuer: issuer, jobs: jobs, clock: clock, registry: registry)
        let buyers = BuyerRegistry(database: database, policies: policies, allowLoopback: true)
        _ = try await buyers.put(
            org: Self.org, code: Self.buyer,
            body: [
                "name": "Helios", "ping": "http://127.0.0.1:1/ping", "post": "http://127.0.0.1:1/post",
                "leadTypes": ["rooftop"], "reservePrice": "1.00",
            ])
        let (accepted, samples) = try await BenchLoad.run(leads, workers: Self.workers, seed: 1) { _, number in
            let draft = Self.draft(number, at: clock.now)
            _ = try await database.write("bench.lead") { tx in try intake.accept(draft, in: tx) }
        }
        let market = Marketplace(
            database: database, jobs: jobs, buyer: TakingBuyer(), policies: policies, clock: clock, registry: registry)
        var configuration = JobQueue.Configuration()
        configuration.concurrency = Self.workers
        configuration.isAlone = true
        let queue = JobQueue(
            store: store, handlers: market.handlers, clock: clock, registry: registry,
            health: HealthRegistry(clock: clock), logger: Logger.silent, configuration: configuration)
        let started = ContinuousClock.now
        try await queue.runDue()
        let sold = Double(leads) / (ContinuousClock.now - started).seconds
        let posted = try await postings(registry)
        let p95 = String(format: "%.1f", Percentile.of(samples, 0.95))
        return [
            BenchRow(
                name: "\(engine): leads accepted", value: accepted, unit: "leads/s", bar: 200, higherIsBetter: true,
                n: leads, note: "\(Self.workers) callers, whole leads; floor 1,000 an hour; p95 \(p95) ms",
                notJudged: notJudged),
            BenchRow(
                name: "\(engine): leads sold", value: sold, unit: "leads/s", higherIsBetter: true, n: leads,
                note: "from the queue to the posted sale, by a buyer that takes each at once"),
            BenchRow(
                name: "\(engine): ledger postings", value: posted, unit: "entries/s", bar: 1000, higherIsBetter: true,
                n: leads, note: "returns of sold legs, each checks the balance; the sum is zero after every 1,000",
                notJudged: notJudged),
        ]
    }

    /// Takes every sold leg back, and answers how many entries of the ledger that made a second.
    private func postings(_ registry: MetricRegistry) async throws -> Double {
        let legs = try await database.read("bench.legs") { tx in
            try tx.values(UID.self, "SELECT id FROM legs WHERE org = \(Self.org) AND state = 'accepted' ORDER BY id")
        }
        guard legs.count == leads else { throw BenchFailure("\(legs.count) of \(leads) leads were sold") }
        let (ledger, report) = (Ledger(registry: registry), LedgerReport(database: database))
        var seconds = 0.0
        for start in stride(from: 0, to: legs.count, by: Self.sumEvery) {
            let some = Array(legs[start..<min(legs.count, start + Self.sumEvery)])
            let began = ContinuousClock.now
            _ = try await BenchLoad.run(some.count, workers: Self.workers, seed: 1) { _, number in
                try await database.write("bench.posting") { tx in
                    try ledger.returnLeg(org: Self.org, leg: some[number], reason: "bench", in: tx)
                }
            }
            seconds += (ContinuousClock.now - began).seconds
            let sums = try await report.sums()
            guard sums["USD"] == 0 else { throw BenchFailure("the ledger sums to \(sums)") }
        }
        return Double(legs.count) / seconds
    }

    /// A rooftop lead that scores well.
    private static func draft(_ number: Int, at now: Timestamp) -> LeadDraft {
        let contact = LeadContact(
            name: PersonName("Ana Rivera"), phone: PhoneNumber("9172\(String(1_000_000 + number).suffix(6))"),
            email: EmailAddress("ana\(number)@example.com"), zip: "11215")
        let consent = ConsentGiven(
            text: "I agree that solar companies may call me.", version: "1", language: "en", control: "I agree",
            sellers: [], scope: "rooftop", channels: ["phone", "email"], at: now, sessionID: "s-\(number)",
            sessionStart: now, events: [["shown": "disclosure"], ["typed": "I agree"]])
        let values: [String: JSONValue] = [
            "bill": 41_000, "ownership": "owner", "decision": "alone", "timeline": "under3Months",
            "roofCoverage": 9000, "firstTimeAnswers": 4, "ownQuestion": true, "payment": "cash",
            "borough": "Brooklyn",
        ]
        return LeadDraft(
            org: org, type: "rooftop", traceID: UID(now: now), contact: contact,
            attributes: values.mapValues { LeadAttribute($0, evidence: "m1[0..<3]") },
            source: LeadSource(visitorID: "v-\(number)", campaign: "bench"), consent: consent)
    }
}

/// Bids the same for each and takes it at once: what is measured is this side.
private struct TakingBuyer: LeadBuyer {
    func ping(_ ping: BuyerPing, buyer: Buyer, credentials: BuyerCredentials, timeout: Duration) async -> PingAnswer {
        .bid(.usd(cents: 18_200), token: "t")
    }

    func post(_ post: BuyerPost, buyer: Buyer, credentials: BuyerCredentials, timeout: Duration) async -> PostAnswer {
        .accepted(id: "ok")
    }
}

/// Calls from several tasks at once.
enum BenchLoad {
    /// Runs `count` calls by `workers` at once. Answers calls a second and the milliseconds of each.
    static func run(
        _ count: Int, workers: Int, seed: UInt64,
        _ call: @escaping @Sendable (inout SeededRandom, Int) async throws -> Void
    ) async throws -> (Double, [Double]) {
        let started = ContinuousClock.now
        let samples = try await withThrowingTaskGroup(of: [Double].self) { group in
            for worker in 0..<workers {
                group.addTask {
                    var random = SeededRandom(seed: seed &+ UInt64(worker))
                    var samples: [Double] = []
                    for number in stride(from: worker, to: count, by: workers) {
                        let began = ContinuousClock.now
                        try await call(&random, number)
                        samples.append((ContinuousClock.now - began).seconds * 1000)
                    }
                    return samples
                }
            }
            return try await group.reduce(into: []) { $0 += $1 }
        }
        return (Double(samples.count) / (ContinuousClock.now - started).seconds, samples)
    }
}
