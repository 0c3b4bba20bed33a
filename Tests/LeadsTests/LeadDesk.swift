import AurumCore
import Database
import Foundation
import Leads
import Logging
import Runtime
import Synchronization
import Telemetry
import TestSupport

/// Everything a lead needs, on a real database file of its own.
struct LeadDesk: Sendable {
    static let org = "acme"

    let open: OpenDatabase
    let policies: ScorePolicies
    let issuer: CertificateIssuer
    let jobs: SQLJobStore
    let intake: LeadIntake
    let buyers: BuyerRegistry
    let reads: LeadReads
    let report: LedgerReport

    var database: Database { open.database }
    var clock: ManualWallClock { open.clock }

    init(on engine: Dialect = .ofTestRun) throws {
        open = try OpenDatabase(on: engine)
        policies = try ScorePolicies.embedded()
        issuer = try CertificateIssuer.open(
            keyFile: open.folder.file("certificate.key"), issuer: "aurum-test", clock: open.clock)
        jobs = SQLJobStore(
            database: open.database, fences: SQLFences(database: open.database), registry: open.registry)
        intake = LeadIntake(
            policies: policies, issuer: issuer, jobs: LeadJobs(jobs, concurrency: 200), clock: open.clock,
            registry: open.registry)
        buyers = BuyerRegistry(database: open.database, policies: policies, allowLoopback: true)
        reads = LeadReads(database: open.database)
        report = LedgerReport(database: open.database)
    }

    func market(_ buyer: any LeadBuyer) -> Marketplace {
        Marketplace(
            database: database, jobs: LeadJobs(jobs, concurrency: 200), buyer: buyer, policies: policies, clock: clock,
            registry: open.registry)
    }

    func queue(_ market: Marketplace, concurrency: Int = 8) -> JobQueue {
        var configuration = JobQueue.Configuration()
        configuration.concurrency = concurrency
        configuration.isAlone = true
        return JobQueue(
            store: jobs, handlers: market.handlers, clock: clock, registry: open.registry,
            health: HealthRegistry(clock: clock), logger: Logger(label: "test"), configuration: configuration)
    }

    /// Does everything that is due, as a program that has just started would.
    func work(_ market: Marketplace, concurrency: Int = 8) async throws {
        try await market.adopt()
        let queue = queue(market, concurrency: concurrency)
        try await queue.start()
        try await queue.runDue()
    }

    func work(_ buyer: any LeadBuyer, concurrency: Int = 8) async throws {
        try await work(market(buyer), concurrency: concurrency)
    }

    /// A rooftop lead that scores 100.
    func draft(
        _ number: Int, scope: String? = "rooftop", sellers: [NamedSeller] = [], externalID: String? = nil
    ) -> LeadDraft {
        let digits = String(1_000_000 + number).suffix(6)
        let contact = LeadContact(
            name: PersonName("Ana Rivera"), phone: PhoneNumber("9172\(digits)"),
            email: EmailAddress("ana\(number)@example.com"),
            zip: "11215")
        let consent = ConsentGiven(
            text: "I agree that solar companies may call me.", version: "1", language: "en", control: "I agree",
            sellers: sellers, scope: scope, channels: ["phone", "email"], at: clock.now, sessionID: "s-\(number)",
            sessionStart: clock.now, events: [["shown": "disclosure"], ["typed": "I agree"]])
        return LeadDraft(
            org: Self.org, type: "rooftop", traceID: UID(now: clock.now), contact: contact, externalID: externalID,
            attributes: Self.bestAttributes, source: LeadSource(visitorID: "v-\(number)", campaign: "brooklyn"),
            consent: scope == nil && sellers.isEmpty ? nil : consent)
    }

    /// A lead with the least that can be sold, for tests that need thousands.
    func smallDraft(_ number: Int) -> LeadDraft {
        var draft = draft(number, scope: "communitySolar")
        draft.type = "communitySolar"
        draft.attributes = ["bill": LeadAttribute(41_000), "timeline": LeadAttribute("under3Months")]
        draft.consent?.events = []
        return draft
    }

    static var bestAttributes: [String: LeadAttribute] {
        let values: [String: JSONValue] = [
            "bill": 41_000, "ownership": "owner", "decision": "alone", "timeline": "under3Months", "roofCoverage": 9000,
            "firstTimeAnswers": 4, "ownQuestion": true, "payment": "cash", "borough": "Brooklyn",
        ]
        return values.mapValues { LeadAttribute($0, evidence: "m1[0..<3]") }
    }

    func accept(_ draft: LeadDraft) async throws -> LeadReceipt {
        let intake = intake
        return try await database.write("test.accept") { tx in try intake.accept(draft, in: tx) }
    }

    /// Adds a buyer that bids and takes what it is told to by a scripted buyer of the same code.
    func add(_ code: String, _ extra: [String: JSONValue] = [:]) async throws {
        var body: [String: JSONValue] = [
            "name": .string(code.uppercased()), "ping": .string("http://127.0.0.1:1/\(code)/ping"),
            "post": .string("http://127.0.0.1:1/\(code)/post"), "leadTypes": ["rooftop"], "reservePrice": "1.00",
        ]
        body.merge(extra) { $1 }
        _ = try await buyers.put(org: Self.org, code: code, body: .object(body))
    }

    func lead(_ id: UID) async throws -> JSONValue { try await reads.read(org: Self.org, id: id) ?? .null }

    func state(_ id: UID) async throws -> String { try await lead(id)["state"]?.string ?? "" }

    func legs(_ id: UID) async throws -> [JSONValue] { try await lead(id)["legs"]?.array ?? [] }

    func count(_ sql: SQLStatement) async throws -> Int {
        try await database.read("test.count") { tx in try tx.value(Int.self, sql) ?? -1 }
    }

    func run(_ sql: SQLStatement) async throws {
        try await database.write("test.run") { tx in _ = try tx.run(sql) }
    }
}

/// A buyer that does what a test says, without a network.
final class ScriptedLeadBuyer: LeadBuyer {
    struct Seen: Sendable {
        var pings: [(buyer: String, ping: BuyerPing)] = []
        var posts: [(buyer: String, post: BuyerPost)] = []
    }

    private let pingScript: @Sendable (String, BuyerPing) async -> PingAnswer
    private let postScript: @Sendable (String, BuyerPost) async -> PostAnswer
    private let state = Mutex(Seen())

    init(
        ping: @escaping @Sendable (String, BuyerPing) async -> PingAnswer = { _, _ in
            .bid(.usd(cents: 18_200), token: "t")
        },
        post: @escaping @Sendable (String, BuyerPost) async -> PostAnswer = { _, _ in .accepted(id: "ok") }
    ) {
        pingScript = ping
        postScript = post
    }

    var seen: Seen { state.withLock { $0 } }

    func ping(
        _ ping: BuyerPing, buyer: Buyer, credentials: BuyerCredentials, timeout: Duration
    ) async -> PingAnswer {
        state.withLock { $0.pings.append((buyer.code, ping)) }
        return await pingScript(buyer.code, ping)
    }

    func post(
        _ post: BuyerPost, buyer: Buyer, credentials: BuyerCredentials, timeout: Duration
    ) async -> PostAnswer {
        state.withLock { $0.posts.append((buyer.code, post)) }
        return await postScript(buyer.code, post)
    }
}
