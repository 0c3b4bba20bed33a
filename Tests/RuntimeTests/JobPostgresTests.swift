import AurumCore
import Database
import Foundation
import Runtime
import Synchronization
import Telemetry
import TestSupport
import Testing

/// Several processes on one PostgreSQL, each with a pool of its own: here several stores of one process.
struct JobPostgresTests {
    /// Databases that are one, as processes would open it.
    private struct Fleet {
        let folder = TemporaryFolder()
        let clock = ManualWallClock()
        var databases: [Database] = []
        var stores: [SQLJobStore] = []

        init(_ count: Int) throws {
            for _ in 0..<count {
                let registry = MetricRegistry()
                let database = try Database.forTest(
                    at: folder.file("fleet.db"), on: .postgres, registry: registry, clock: clock)
                databases.append(database)
                stores.append(
                    SQLJobStore(database: database, fences: SQLFences(database: database), registry: registry))
            }
        }

        func count(_ statement: SQLStatement) async throws -> Int {
            try await databases[0].read("test.fleet") { try $0.value(Int.self, statement) } ?? 0
        }
    }

    private static let kind = JobKind("test.work", attemptsMax: JobLimits.attemptsMax)

    /// What runs now, as the workers know it.
    private final class Watch: Sendable {
        private let seen = Mutex(Seen())

        func withLock<Value: Sendable>(_ body: (inout Seen) -> Value) -> Value {
            seen.withLock { body(&$0) }
        }
    }

    private struct Seen: Sendable {
        var running: [String: Int] = [:]
        var claims: Set<JobClaim> = []
        var done: [UID: Int] = [:]
        var wrong: [String] = []
    }

    private func job(_ number: Int, _ random: inout SeededRandom) -> NewJob {
        var new = NewJob(Self.kind, org: "acme", payload: ["n": .integer(Int64(number))])
        new.priority = JobPriority.allCases.randomElement(using: &random) ?? .normal
        switch Int.random(in: 0..<10, using: &random) {
        case 0..<4: break
        case 4..<8:
            let key = Int.random(in: 1...4, using: &random)
            new.concurrency = JobConcurrency("key-\(key)", limit: key)
        case 8: new.unique = ("unique-\(number)", .untilDone)
        default: new.rate = JobRate("rate", count: 1000, per: .seconds(1))
        }
        return new
    }

    @Test(arguments: [UInt64(1), 2, 3])
    func `stores that claim at once share the work, keep the limits and leave nothing behind`(
        seed: UInt64
    ) async throws {
        let fleet = try Fleet(3)
        var random = SeededRandom(seed: seed)
        var wanted = 0
        var ids: [UID] = []
        for _ in 0..<12 {
            let jobs = (0..<40).map { job(wanted + $0, &random) }
            ids += try await fleet.stores[0].enqueue(jobs).map(\.id)
            wanted += jobs.count
        }
        for parent in ids.prefix(40) {
            var child = NewJob(Self.kind, org: "acme", after: [parent, ids[ids.count - 1]])
            child.concurrency = JobConcurrency("key-1", limit: 1)
            _ = try await fleet.stores[1].enqueue([child])
            wanted += 1
        }
        let total = wanted
        let watch = Watch()
        try await withThrowingTaskGroup(of: Void.self) { group in
            for worker in 0..<6 {
                let store = fleet.stores[worker % fleet.stores.count]
                let database = fleet.databases[worker % fleet.stores.count]
                let start = seed &* 100 &+ UInt64(worker)
                group.addTask { try await work(store, database, watch, total, SeededRandom(seed: start)) }
            }
            try await group.waitForAll()
        }
        let seen = watch.withLock { $0 }
        #expect(seen.wrong.isEmpty, "seed \(seed): \(seen.wrong.prefix(3))")
        #expect(seen.done.count == total && seen.done.values.allSatisfy { $0 == 1 }, "seed \(seed)")
        _ = try await fleet.stores[0].tend()
        #expect(try await fleet.count("SELECT COUNT(*) FROM jobs WHERE state <> 'done'") == 0)
        #expect(try await fleet.count("SELECT COUNT(*) FROM job_leavings") == 0)
        #expect(try await fleet.count("SELECT COUNT(*) FROM job_keys WHERE running <> 0") == 0)
    }

    /// One worker until all jobs are done: claims some, ends them in one of four ways.
    private func work(
        _ store: SQLJobStore, _ database: Database, _ watch: Watch, _ total: Int,
        _ start: SeededRandom
    ) async throws {
        var random = start
        let worker = UID(now: Timestamp(milliseconds: 1), random: &random)
        let deadline = ContinuousClock.now + .seconds(60)
        var ends: [JobEnd] = []
        while true {
            guard ContinuousClock.now < deadline else {
                return watch.withLock { $0.wrong.append("the jobs do not come to an end") }
            }
            let turn = JobTurn(worker: worker, ends: ends, limit: Int.random(in: 1...20, using: &random))
            let result = try await store.turn(turn)
            watch.withLock { seen in
                for (end, after) in zip(ends, result.ended) {
                    guard let after else {
                        seen.wrong.append("\(end.claim) was refused")
                        continue
                    }
                    if after.state == .done { seen.done[after.id, default: 0] += 1 }
                }
                for job in result.claimed {
                    if !seen.claims.insert(job.claim).inserted { seen.wrong.append("\(job.claim) was claimed twice") }
                    guard let key = job.concurrency else { continue }
                    seen.running[key.key, default: 0] += 1
                    if seen.running[key.key, default: 0] > key.limit {
                        seen.wrong.append("\(key.key) is beyond its limit")
                    }
                }
            }
            ends = []
            for job in result.claimed {
                // Room is free for others when its end is told, not before.
                watch.withLock { seen in if let key = job.concurrency?.key { seen.running[key, default: 0] -= 1 } }
                switch Int.random(in: 0..<10, using: &random) {
                case 0..<3:
                    let isolation: Isolation = Bool.random(using: &random) ? .serializable : .readCommitted
                    try await database.write("test.effect", isolation: isolation) { tx in
                        try store.complete(job.claim, job: job, in: tx)
                    }
                    watch.withLock { $0.done[job.id, default: 0] += 1 }
                case 3: ends.append(JobEnd(job.claim, .released, job: job))
                case 4:
                    ends.append(
                        JobEnd(job.claim, .failed(code: "no", detail: "", retry: .after(.zero)), job: job))
                default: ends.append(JobEnd(job.claim, .done, job: job))
                }
            }
            if ends.isEmpty, watch.withLock({ $0.done.count >= total }) { return }
        }
    }

    @Test(arguments: [Isolation.serializable, .readCommitted])
    func `one of many that enqueue the same unique key at once is taken`(_ isolation: Isolation) async throws {
        let fleet = try Fleet(2)
        for round in 0..<10 {
            let key = "round-\(round)"
            let receipts = try await withThrowingTaskGroup(of: JobReceipt.self) { group in
                for task in 0..<12 {
                    let (store, database) = (fleet.stores[task % 2], fleet.databases[task % 2])
                    group.addTask {
                        try await database.write("test.unique", isolation: isolation) { tx in
                            try store.enqueue(
                                NewJob(Self.kind, org: "acme", unique: (key, .untilDone)), in: tx)
                        }
                    }
                }
                return try await group.reduce(into: []) { $0.append($1) }
            }
            #expect(receipts.filter { !$0.isDuplicate }.count == 1)
            #expect(Set(receipts.map(\.id)).count == 1)
        }
    }

    @Test func `a child whose parents end at once in two processes becomes due`() async throws {
        let fleet = try Fleet(2)
        for _ in 0..<20 {
            let parents = try await fleet.stores[0].enqueue([
                NewJob(Self.kind, org: "acme"), NewJob(Self.kind, org: "acme"),
            ]).map(\.id)
            let claimed = try await fleet.stores[0].turn(
                JobTurn(worker: UID(high: 1, low: 1), limit: 2)
            ).claimed
            #expect(Set(claimed.map(\.id)) == Set(parents))
            try await withThrowingTaskGroup(of: Void.self) { group in
                group.addTask {
                    _ = try await fleet.stores[0].turn(
                        JobTurn(worker: UID(high: 1, low: 1), ends: [JobEnd(claimed[0].claim, .done)], limit: 0))
                }
                group.addTask {
                    try await fleet.databases[1].write("test.parent") { tx in
                        try fleet.stores[1].complete(claimed[1].claim, job: claimed[1], in: tx)
                    }
                }
                group.addTask {
                    _ = try await fleet.stores[1].enqueue([NewJob(Self.kind, org: "acme", after: parents)])
                }
                try await group.waitForAll()
            }
            let children = try await fleet.stores[1].turn(
                JobTurn(worker: UID(high: 2, low: 2), limit: 10)
            ).claimed
            #expect(children.count == 1)
            for child in children {
                _ = try await fleet.stores[1].turn(
                    JobTurn(worker: UID(high: 2, low: 2), ends: [JobEnd(child.claim, .done, job: child)], limit: 0))
            }
        }
    }

    @Test func `what one process enqueues wakes another at once`() async throws {
        let fleet = try Fleet(2)
        let (mine, other) = (fleet.stores[0], fleet.stores[1])
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { await other.listen() }
            var wakes = other.wakes.makeAsyncIterator()
            // Told once it listens, for it may have missed something before.
            _ = await wakes.next()
            var best = Duration.seconds(60)
            for number in 0..<5 {
                let started = ContinuousClock.now
                _ = try await mine.enqueue([NewJob(Self.kind, org: "acme", payload: ["n": .integer(Int64(number))])])
                _ = await wakes.next()
                best = min(best, ContinuousClock.now - started)
            }
            #expect(best < .milliseconds(100), "\(best)")
            group.cancelAll()
        }
        #expect(try await other.hasDue())
    }

    @Test func `a lost connection of the bell is made again`() async throws {
        let fleet = try Fleet(2)
        let (mine, other) = (fleet.stores[0], fleet.stores[1])
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask { await other.listen() }
            var wakes = other.wakes.makeAsyncIterator()
            _ = await wakes.next()
            let schema = try await fleet.databases[0].read("test.schema") {
                try $0.value(String.self, "SELECT 'LISTEN aurum_' || md5(current_schema())")
            }
            let ended = try PostgresServer.shared().psql(
                """
                SELECT COUNT(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE query = '\(schema ?? "")'
                """)
            #expect(ended != "0")
            // It says so itself, for it may have missed something.
            _ = await wakes.next()
            _ = try await mine.enqueue([NewJob(Self.kind, org: "acme")])
            _ = await wakes.next()
            group.cancelAll()
        }
    }

    @Test func `a caller that holds a job keeps nobody from claiming others`() async throws {
        let fleet = try Fleet(2)
        let parent = try await fleet.stores[0].enqueue([NewJob(Self.kind, org: "acme")])[0].id
        _ = try await fleet.stores[0].enqueue((0..<5).map { _ in NewJob(Self.kind, org: "acme") })
        let (held, hold) = AsyncStream<Void>.makeStream()
        let release = DispatchSemaphore(value: 0)
        defer { release.signal() }
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask {
                try await fleet.databases[0].write("test.holding") { tx in
                    _ = try fleet.stores[0].enqueue(NewJob(Self.kind, org: "acme", after: [parent]), in: tx)
                    hold.yield()
                    release.wait()
                }
            }
            for await _ in held { break }
            let claimed = try await fleet.stores[1].turn(JobTurn(worker: UID(high: 1, low: 1), limit: 10)).claimed
            release.signal()
            #expect(claimed.count == 5 && !claimed.contains { $0.id == parent })
            try await group.waitForAll()
        }
        let rest = try await fleet.stores[1].turn(JobTurn(worker: UID(high: 1, low: 1), limit: 10)).claimed
        #expect(rest.map(\.id) == [parent])
    }

    @Test(arguments: [Isolation.serializable, .readCommitted])
    func `a job that a caller found waiting does not start before the caller's transaction ends`(
        _ isolation: Isolation
    ) async throws {
        let fleet = try Fleet(2)
        let wish = NewJob(Self.kind, org: "acme", unique: ("once", .untilStarted))
        let waiting = try await fleet.stores[0].enqueue([wish])[0].id
        let (found, find) = AsyncStream<Bool>.makeStream()
        let release = DispatchSemaphore(value: 0)
        defer { release.signal() }
        let turn = JobTurn(worker: UID(high: 1, low: 1), limit: 10)
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask {
                try await fleet.databases[0].write("test.finding", isolation: isolation) { tx in
                    let receipt = try fleet.stores[0].enqueue(wish, in: tx)
                    find.yield(receipt.isDuplicate && receipt.id == waiting)
                    release.wait()
                }
            }
            for await isFound in found {
                #expect(isFound)
                break
            }
            #expect(try await fleet.stores[1].turn(turn).claimed.isEmpty)
            release.signal()
            try await group.waitForAll()
        }
        #expect(try await fleet.stores[1].turn(turn).claimed.map(\.id) == [waiting])
    }

    /// Ten seconds, the server's limit: longer than the test's holder would have to wait for it.
    @Test func `what a stopped process holds is free again when the server's limit is over`() async throws {
        let fleet = try Fleet(2)
        _ = try await fleet.stores[0].enqueue([
            NewJob(Self.kind, org: "acme", concurrency: JobConcurrency("key", limit: 1))
        ])
        let (held, hold) = AsyncStream<Void>.makeStream()
        let release = DispatchSemaphore(value: 0)
        defer { release.signal() }
        try await withThrowingTaskGroup(of: Void.self) { group in
            group.addTask {
                await #expect(throws: (any Error).self) {
                    try await fleet.databases[0].write("test.stopped", isolation: .readCommitted) { tx in
                        let table = SQLJobTable(tx, sharing: .whole)
                        try table.waitForOthers()
                        hold.yield()
                        release.wait()
                        _ = try table.schedules()
                    }
                }
            }
            for await _ in held { break }
            let started = ContinuousClock.now
            var upkeep: JobUpkeep?
            while upkeep == nil, ContinuousClock.now - started < .seconds(30) {
                upkeep = try? await fleet.stores[1].tend()
            }
            #expect(upkeep != nil && ContinuousClock.now - started < .seconds(20))
            let claimed = try await fleet.stores[1].turn(JobTurn(worker: UID(high: 1, low: 1), limit: 10)).claimed
            #expect(claimed.count == 1)
            release.signal()
            try await group.waitForAll()
        }
    }

    @Test func `lists reach the server as they are`() async throws {
        let open = try OpenDatabase(on: .postgres)
        let texts: [String?] = ["", "NULL", nil, "a,b", #"{"x":"\"}"#, "'", "\\", "\n\t", "é 🙂", "null", " "]
        let numbers: [Int64?] = [.max, .min, 0, nil, -1]
        var random = SeededRandom(seed: 5)
        let ids: [UID?] = [UID(high: 0, low: 0), nil, UID(now: Timestamp(milliseconds: 9), random: &random)]
        let none: [Int64?] = []
        let back = try await open.database.read("test.lists") { tx in
            (
                try tx.all(TextCell.self, "SELECT value FROM unnest(\(array: texts)) AS list (value)").map(\.text),
                try tx.all(NumberCell.self, "SELECT value FROM unnest(\(array: numbers)) AS list (value)").map(
                    \.number),
                try tx.all(IDCell.self, "SELECT value FROM unnest(\(array: ids)) AS list (value)").map(\.id),
                try tx.all(NumberCell.self, "SELECT value FROM unnest(\(array: none)) AS list (value)").count
            )
        }
        #expect(back.0 == texts && back.1 == numbers && back.2 == ids && back.3 == 0)
    }

    private struct TextCell: RowDecodable {
        let text: String?
        init(row: Row) throws { text = try row.optional("value") }
    }

    private struct NumberCell: RowDecodable {
        let number: Int64?
        init(row: Row) throws { number = try row.optional("value") }
    }

    private struct IDCell: RowDecodable {
        let id: UID?
        init(row: Row) throws { id = try row.optional("value") }
    }
}
