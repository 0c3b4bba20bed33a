import AurumCore
import Database
import Logging
import Runtime
import Telemetry
import TestSupport
import Testing

/// Which store a test runs on.
enum JobStoreKind: String, CaseIterable, CustomTestStringConvertible, Sendable {
    case memory, sql, postgres, redis

    /// Those in a database.
    static let inDatabase: [JobStoreKind] = [.sql, .postgres]

    var testDescription: String { rawValue }
}

/// A Redis with a client that runs as long as the value lives.
final class RedisSite: Sendable {
    let server: RedisServer?
    let client: RedisClient
    let registry = MetricRegistry()
    private let running: Task<Void, any Error>

    /// - Parameter url: of one that is there; nil starts a server.
    init(_ url: String? = nil, _ options: [String] = []) async throws {
        let server = url == nil ? try await RedisServer(options) : nil
        self.server = server
        var configuration = try RedisConfiguration(url: url ?? server?.url ?? "")
        configuration.commandTimeout = .seconds(30)
        configuration.keepAliveAfter = .seconds(15)
        let client = try RedisClient(
            configuration: configuration, registry: registry, health: HealthRegistry(clock: SystemWallClock()),
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
        self.client = client
        running = Task { try await client.run() }
        try #require(await client.waitUntilAvailable(within: .seconds(30)))
    }

    deinit { running.cancel() }
}

/// A store of jobs with a clock that stands until it is moved, and two workers.
struct JobHarness: Sendable {
    let store: any JobStore
    let clock = ManualWallClock()
    let one: UID
    let two: UID
    /// Kept as long as its store.
    let open: OpenDatabase?
    let redis: RedisSite?

    static let kind = JobKind("test.work", attemptsMax: 3)

    /// - Parameter url: of a Redis that is there; nil starts a server where one is needed.
    init(_ kind: JobStoreKind, waitingMax: Int = JobLimits.waitingPerOrg, url: String? = nil) async throws {
        one = UID(now: clock.now)
        two = UID(now: clock.now)
        switch kind {
        case .redis:
            open = nil
            let site = try await RedisSite(url)
            redis = site
            store = RedisJobStore(
                client: site.client, clock: clock, registry: site.registry, name: UID(now: clock.now).hex,
                time: clock, waitingMax: waitingMax)
        case .memory:
            (open, redis) = (nil, nil)
            store = MemoryJobStore(clock: clock, waitingMax: waitingMax)
        case .sql, .postgres:
            let open = try OpenDatabase(clock: clock, on: kind == .postgres ? .postgres : .ofTestRun)
            self.open = open
            redis = nil
            store = SQLJobStore(
                database: open.database, fences: SQLFences(database: open.database), registry: open.registry,
                waitingMax: waitingMax)
        }
    }

    func new(
        _ name: String = "", priority: JobPriority = .normal, due: Timestamp? = nil,
        unique: (key: String, scope: JobUniqueness)? = nil, concurrency: JobConcurrency? = nil, rate: JobRate? = nil,
        after: [UID] = [], kind: JobKind = Self.kind
    ) -> NewJob {
        var job = NewJob(
            kind, org: "acme", payload: ["name": .string(name)], due: due, unique: unique, concurrency: concurrency,
            rate: rate, after: after)
        job.priority = priority
        return job
    }

    @discardableResult
    func add(_ job: NewJob) async throws -> UID { try await store.enqueue([job])[0].id }

    func claim(_ worker: UID? = nil, limit: Int = 100) async throws -> [JobRecord] {
        try await store.turn(JobTurn(worker: worker ?? one, limit: limit)).claimed
    }

    /// The job after its end; nil for a stale claim.
    @discardableResult
    func end(_ job: JobRecord, _ outcome: JobOutcome) async throws -> JobRecord? {
        try await store.turn(
            JobTurn(worker: one, ends: [JobEnd(JobClaim(seq: job.seq, fence: job.fence), outcome)], limit: 0)
        ).ended[0]
    }

    func job(_ id: UID) async throws -> JobRecord {
        guard let job = try await store.job(id, org: "acme") else { throw JobError.unknownJob }
        return job
    }

    /// Claims and fails a job until it is dead.
    func kill(_ id: UID) async throws {
        let claimed = try await claim().filter { $0.id == id }
        for job in claimed { try await end(job, .failed(code: "no", detail: "", retry: .never)) }
    }
}

extension JobRecord {
    var claim: JobClaim { JobClaim(seq: seq, fence: fence) }
}
