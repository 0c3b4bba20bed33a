import AsyncHTTPClient
import Attribution
import AurumCore
import Connectors
import Crypto
import Database
import Events
import Foundation
import Logging
import Runtime
import Synchronization
import Telemetry
import TestSupport
import Validation

/// Everything that uploads need: a real database, real connectors, and persons that a test knows.
struct UploadDesk: Sendable {
    static let org = "acme"

    let open: OpenDatabase
    let store: UploadStore
    let jobs: SQLJobStore
    let health: HealthRegistry
    let people = TestPeople()

    var clock: ManualWallClock { open.clock }
    var database: Database { open.database }

    init(clock: ManualWallClock = ManualWallClock()) throws {
        open = try OpenDatabase(clock: clock)
        jobs = SQLJobStore(database: open.database, fences: SQLFences(database: open.database), registry: open.registry)
        store = UploadStore(
            database: open.database, jobs: jobs, sealer: InstallationKeySealer(key: Array(repeating: 7, count: 32)),
            allowLoopback: true)
        health = HealthRegistry(clock: clock)
    }

    /// Runs `body` with connectors that reach `baseURL`'s networks.
    func withUploader<Result: Sendable>(
        timeout: Duration = .seconds(1), afterSending: @escaping @Sendable () throws -> Void = {},
        _ body: (Uploader) async throws -> Result
    ) async throws -> Result {
        let client = HTTPLeadBuyer.makeClient(egress: EgressGuard(allowLoopback: true))
        let guards = GuardBook(registry: open.registry, health: health, clock: clock)
        let caller = NetworkCaller(client: client, guards: guards, timeout: timeout)
        let uploader = Uploader(
            store: store, sinks: [.meta: MetaConversions(caller), .google: GoogleDataManager(caller, clock: clock)],
            people: { _, subjects in people.persons(subjects) }, registry: open.registry, health: health,
            logger: Self.quiet, afterSending: afterSending)
        let result: Swift.Result<Result, any Error>
        do { result = .success(try await body(uploader)) } catch { result = .failure(error) }
        try await client.shutdown()
        return try result.get()
    }

    private static var quiet: Logger {
        var logger = Logger(label: "test.uploads")
        logger.logLevel = .critical
        return logger
    }

    /// Does everything that is due, as a process that has just started would.
    func work(_ uploader: Uploader) async throws {
        var configuration = JobQueue.Configuration()
        configuration.isAlone = true
        let queue = JobQueue(
            store: jobs, handlers: uploader.handlers, clock: clock, registry: open.registry, health: health,
            logger: Self.quiet, configuration: configuration)
        try await queue.start()
        try await store.adopt()
        try await queue.runDue()
    }

    /// Goes on until nothing is due within `hours`.
    func work(_ uploader: Uploader, hours: Int) async throws {
        for _ in 0..<hours {
            try await work(uploader)
            if try await count("SELECT COUNT(*) FROM upload_items WHERE due_at IS NOT NULL") == 0 { return }
            clock.advance(by: .seconds(3601))
        }
        try await work(uploader)
    }

    func add(
        _ network: FakeNetwork.Kind, at baseURL: String, _ more: [String: JSONValue] = [:]
    ) async throws -> UID {
        var body: [String: JSONValue] = [
            "name": .string(network.rawValue), "network": .string(network.rawValue), "account": "1234567",
            "dry_run": false, "credentials": ["access_token": .string(FakeNetwork.token)],
            "conversions": network == .meta ? ["sale": "Purchase"] : ["sale": "987"],
            "endpoint": .string(baseURL + (network == .meta ? "/meta/v21.0" : "/google")),
        ]
        body.merge(more) { $1 }
        let made = try await store.create(.object(body), org: Self.org)
        return made["id"]?.string.flatMap { UID($0) } ?? UID(high: 0, low: 0)
    }

    func follow(_ facts: [UploadFact]) async throws {
        try await withThrowingTaskGroup(of: Void.self) { group in
            for (place, fact) in facts.enumerated() {
                if place >= 64 { try await group.next() }
                group.addTask { try await store.follow(fact, org: Self.org) }
            }
            try await group.waitForAll()
        }
    }

    func count(_ sql: SQLStatement) async throws -> Int {
        try await database.read("test.uploadCount") { tx in try tx.value(Int.self, sql) ?? 0 }
    }

    /// How often PostgreSQL ended a transaction because it waited for one that waited for it; those of the last second
    /// may be missing. SQLite has none.
    func deadlocks() async throws -> Int {
        guard database.dialect == .postgres else { return 0 }
        return try await count("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
    }

    /// How many conversions of a destination stand where.
    func states(_ destination: UID) async throws -> [String: Int] {
        let all = try await store.list(org: Self.org).first { $0["id"]?.string == destination.hex }
        return (all?["items"]?.object ?? [:]).mapValues { Int($0.integer ?? 0) }
    }

    /// What a destination said that it holds, in minor units.
    func told(_ destination: UID) async throws -> Int64 {
        let all = try await store.list(org: Self.org).first { $0["id"]?.string == destination.hex }
        return (all?["told_minor"]?.object ?? [:]).values.reduce(0) { $0 + ($1.integer ?? 0) }
    }

    func items(_ destination: UID, _ state: UploadState? = nil) async throws -> [JSONValue] {
        var filter = UploadFilter()
        (filter.destination, filter.state, filter.limit) = (destination, state, UploadFilter.listMax)
        return try await store.items(filter, org: Self.org)
    }
}

/// Persons by the conversion that is theirs.
final class TestPeople: Sendable {
    private let known = Mutex<[UID: UploadPerson]>([:])

    func put(_ person: UploadPerson, for subject: UID) { known.withLock { $0[subject] = person } }

    func persons(_ subjects: [UploadSubject]) -> [UID: UploadPerson] {
        known.withLock { known in
            subjects.reduce(into: [:]) { found, subject in found[subject.id] = known[subject.id] }
        }
    }
}

/// One sold lead of a test, and what must become of it.
struct TestSale: Sendable {
    let leg: UID
    let number: Int
    let price: Int64
    let at: Timestamp
    let refusal: UploadRefusal?
    let isStale: Bool

    init(_ number: Int, now: Timestamp, refusal: UploadRefusal? = nil, isStale: Bool = false) {
        leg = UID(now: now)
        self.number = number
        price = Int64(10_000 + number % 977)
        at = now - .seconds(isStale ? 100 * 86_400 : Int64(number % 5) * 86_400)
        (self.refusal, self.isStale) = (refusal, isStale)
    }

    var email: String { "Person\(number)@Example.com" }
    var phone: String { "+1917\(String(2_000_000 + number).suffix(7))" }

    var person: UploadPerson {
        var person = UploadPerson()
        person.email = EmailAddress(email)
        person.phone = PhoneNumber(phone)
        person.clicks = [NetworkClick(number.isMultiple(of: 2) ? .gclid : .fbclid, "click-\(number)", at: at)]
        person.refusal = refusal
        return person
    }

    var fact: UploadFact {
        .sale(leg: leg, traceID: nil, price: .usd(cents: price), at: at)
    }

    /// Everything by which a network could know this person.
    var identifiers: Set<String> {
        [
            sha256(email.lowercased()), sha256(phone), sha256(String(phone.dropFirst())), "click-\(number)",
            "fb.1.\(at.milliseconds).click-\(number)",
        ]
    }
}

func sha256(_ text: String) -> String { Hex.encode(SHA256.hash(data: Data(text.utf8))) }
