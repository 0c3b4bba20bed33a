import AurumCore
import Database
import Events
import Foundation
import Logging
import Synchronization
import Telemetry
import TestSupport
import Testing

/// Exports that are made by themselves, and what becomes of those that are posted.
struct ExportScheduleTests {
    private static let hour: Int64 = 3_600_000
    private static let secret = "0123456789abcdef"

    /// A log with one event an hour, and exports over it whose jobs a test does itself.
    private struct World: Sendable {
        let log: EventLog
        let open: OpenDatabase
        let exports: ExportService
        let asked = Queue()
        let posted = Queue()
        let receiver = Receiver()

        init(freeBytesMin: Int = 0, bulk: BulkWrites = BulkWrites()) async throws {
            log = try openEvents(VolatileLogStorage())
            open = try OpenDatabase(clock: ManualWallClock(testNow))
            exports = Self.service(
                log, open, "exports", (asked, posted, receiver), freeBytesMin: freeBytesMin, bulk: bulk)
            try await exports.adopt()
        }

        /// Another process on the same database.
        func node(folder: String = "exports", key: UInt8 = 7) async throws -> ExportService {
            let other = Self.service(
                log, open, folder, (asked, posted, receiver), freeBytesMin: 0, bulk: BulkWrites(), key: key)
            try await other.adopt()
            return other
        }

        private static func service(
            _ log: EventLog, _ open: OpenDatabase, _ folder: String,
            _ ends: (asked: Queue, posted: Queue, receiver: Receiver), freeBytesMin: Int, bulk: BulkWrites,
            key: UInt8 = 7
        ) -> ExportService {
            ExportService(
                database: open.database, engine: openEngine(log), folder: open.folder.file(folder), directory: nil,
                freeBytesMin: freeBytesMin, clock: open.clock,
                logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() },
                hooks: ExportHooks(
                    allowsLoopback: true, sealer: InstallationKeySealer(key: Array(repeating: key, count: 32)),
                    registry: open.registry, enqueue: { id, org, _ in try ends.posted.add(id, org) },
                    send: { await ends.receiver.take($0) }),
                bulk: bulk, enqueue: { id, org, _ in try ends.asked.add(id, org) })
        }

        /// Does the work that waits.
        func work() async throws {
            for (id, org) in asked.take() { try await exports.work(id, org: org) }
        }

        func all() async throws -> [ExportJob] { try await exports.list(org: "acme") }
    }

    private final class Queue: Sendable {
        struct Full: Error {}

        private let waiting = Mutex<[(UID, String)]>([])
        /// The organisation for which it takes nothing.
        let full = Mutex<String?>(nil)
        func add(_ id: UID, _ org: String) throws {
            if full.withLock({ $0 }) == org { throw Full() }
            waiting.withLock { $0.append((id, org)) }
        }
        func take() -> [(UID, String)] {
            waiting.withLock { all in
                defer { all = [] }
                return all
            }
        }
    }

    private final class Receiver: Sendable {
        let state = Mutex<(calls: [ExportCall], plan: [ExportAnswer])>(([], []))
        /// Whether whoever posts is told to stop while the receiver answers.
        let stops = Mutex(false)
        /// What happens while the receiver has the file and has not answered.
        let meanwhile = Mutex<(@Sendable () async -> Void)?>(nil)

        func take(_ call: ExportCall) async -> ExportAnswer {
            await meanwhile.withLock { $0 }?()
            if stops.withLock({ $0 }) { withUnsafeCurrentTask { $0?.cancel() } }
            return state.withLock { state in
                state.calls.append(call)
                return state.plan.isEmpty ? .delivered(status: 204) : state.plan.removeFirst()
            }
        }
    }

    private static func ranges(_ jobs: [ExportJob]) -> [String] {
        jobs.compactMap { job in
            guard let from = job.request["from"]?.string, let to = job.request["to"]?.string else { return nil }
            return from + " " + to
        }.sorted()
    }

    @Test func `every hour is exported once, whatever was missed, and a transaction that fails leaves nothing`()
        async throws
    {
        let world = try await World()
        let body: JSONValue = ["every_hours": 1, "delay_minutes": 5, "export": ["compression": "none"]]
        let made = try await world.exports.schedule("hourly", body, org: "acme", actor: "key-1")
        let start = try #require(made.json["next"]?["from"]?.string.flatMap { Timestamp(rfc3339: $0) })
        #expect(start.milliseconds == testNow.milliseconds / Self.hour * Self.hour)
        #expect(try await world.exports.makeDue { _ in } == 0)
        let left = start + .seconds(3600 + 300) - world.open.clock.now
        world.open.clock.advance(by: left - .seconds(1))
        #expect(try await world.exports.makeDue { _ in } == 0)
        world.open.clock.advance(by: .seconds(1))
        struct Killed: Error {}
        await #expect(throws: Killed.self) { try await world.exports.makeDue { _ in throw Killed() } }
        #expect(try await world.all().isEmpty)
        #expect(try await world.exports.makeDue { _ in } == 1)
        #expect(try await world.exports.makeDue { _ in } == 0)
        // Three hours without a server.
        world.open.clock.advance(by: .seconds(3 * 3600))
        #expect(try await world.exports.makeDue { _ in } == 3)
        let expected = (0..<4).map { number in
            let from = start + .seconds(3600 * Int64(number))
            return from.rfc3339 + " " + (from + .seconds(3600)).rfc3339
        }
        #expect(Self.ranges(try await world.all()) == expected)
        try await world.work()
        #expect(try await world.all().allSatisfy { $0.state == .done && $0.schedule == "hourly" })
        // Set anew, it makes no period twice.
        #expect(try await world.exports.unschedule("hourly", org: "acme"))
        #expect(try await !world.exports.unschedule("hourly", org: "acme"))
        world.open.clock.advance(by: .seconds(-3600))
        _ = try await world.exports.schedule("hourly", body, org: "acme", actor: "key-1")
        world.open.clock.advance(by: .seconds(3600))
        #expect(try await world.exports.makeDue { _ in } == 0)
        #expect(try await world.all().count == 4)
        await world.log.close()
    }

    @Test func `ten exports that wait hold schedules up, and nothing is left out`() async throws {
        let world = try await World()
        _ = try await world.exports.schedule(
            "hourly", ["every_hours": 1, "export": [:]], org: "acme", actor: "key-1")
        world.open.clock.advance(by: .seconds(14 * 3600))
        #expect(try await world.exports.makeDue { _ in } == 10)
        #expect(try await world.exports.makeDue { _ in } == 0)
        try await world.work()
        #expect(try await world.exports.makeDue { _ in } > 2)
        let ranges = Self.ranges(try await world.all()).map { $0.split(separator: " ") }
        for (earlier, later) in zip(ranges, ranges.dropFirst()) { #expect(earlier[1] == later[0]) }
        await world.log.close()
    }

    @Test func `days are those of a zone, 23 hours long where the clocks go forward`() async throws {
        let world = try await World()
        // 2027-03-14 in New York has 23 hours.
        world.open.clock.advance(by: try #require(Timestamp(rfc3339: "2027-03-13T12:00:00Z")) - testNow)
        _ = try await world.exports.schedule(
            "days",
            [
                "daily": true, "timezone": "America/New_York", "delay_minutes": 0,
                "export": ["query": ["bucket": "hour"]],
            ],
            org: "acme", actor: "key-1")
        world.open.clock.advance(by: .seconds(3 * 86_400))
        #expect(try await world.exports.makeDue { _ in } == 3)
        let queries = try await world.all().compactMap { $0.request["query"]?["from"]?.string }.sorted()
        #expect(queries == [13, 14, 15].map { "2027-03-\($0)T0\($0 < 15 ? 5 : 4):00:00.000Z" }, "\(queries)")
        await world.log.close()
    }

    @Test func `a schedule or a webhook that cannot be is refused with its field`() async throws {
        let world = try await World()
        let hook: JSONValue = ["target": "webhook", "url": "https://x.example/in", "secret": .string(Self.secret)]
        let bad: [(JSONValue, String)] = [
            (["export": [:]], "every_hours"), (["every_hours": 0, "export": [:]], "every_hours"),
            (["every_hours": 169, "export": [:]], "every_hours"), (["every_hours": 1], "export"),
            (["every_hours": 1, "daily": true, "export": [:]], "every_hours"),
            (["every_hours": 1, "timezone": "UTC", "export": [:]], "timezone"),
            (["daily": true, "timezone": "Moon", "export": [:]], "timezone"),
            (["every_hours": 1, "delay_minutes": 1441, "export": [:]], "delay_minutes"),
            (["every_hours": 1, "export": ["last": "7d"]], "export.last"),
            (["every_hours": 1, "export": ["query": ["from": "2026-11-01"]]], "export.query.from"),
            (["every_hours": 1, "export": ["target": "directory"]], "target"),
            (["every_hours": 1, "export": ["target": "webhook", "url": "https://x.example/in"]], "secret"),
            (["every_hours": 1, "export": ["url": "https://x.example/in"]], "url"), (["weekly": true], "weekly"),
        ]
        for (body, field) in bad {
            do {
                _ = try await world.exports.schedule("bad", body, org: "acme", actor: "key-1")
                Issue.record("taken: \(body.canonical)")
            } catch let error as BehaviourError {
                #expect(error.problems.map(\.field).contains(field), "\(body.canonical): \(error.problems)")
            }
        }
        for url in ["http://x.example/in", "ftp://x.example/", "https://u:p@x.example/", "https://x.example/#a", "x"] {
            var members = hook.object ?? [:]
            members["url"] = .string(url)
            await #expect(throws: BehaviourError.self, "\(url)") {
                try await world.exports.create(.object(members), org: "acme", actor: "key-1")
            }
        }
        await #expect(throws: BehaviourError.self) {
            try await world.exports.schedule(
                "Bad name", ["every_hours": 1, "export": [:]], org: "acme", actor: "key-1")
        }
        #expect(try await world.exports.schedules(org: "acme").isEmpty)
        await world.log.close()
    }

    private static func posted(_ world: World) async throws -> ExportJob {
        let made = try #require(
            try await world.exports.made(
                ["compression": "none", "target": "webhook", "url": "https://x.example/in", "secret": .string(secret)],
                org: "acme"))
        try await world.work()
        return try #require(try await world.exports.job(made.id, org: "acme"))
    }

    @Test func `a webhook that does not answer is asked again after 1, 5, 25 and 125 seconds, then given up`()
        async throws
    {
        let world = try await World()
        _ = try await world.log.send(trackLine(["id": "\"e1\""]))
        let job = try await Self.posted(world)
        #expect(job.delivery == .waiting && world.posted.take().map(\.0) == [job.id])
        #expect(!job.json.canonical.contains(Self.secret))
        let failed = ExportAnswer.failed(reason: "http_503", status: 503, retryAfter: nil)
        world.receiver.state.withLock { $0.plan = Array(repeating: failed, count: 5) }
        var steps: [ExportStep] = []
        for _ in 0..<5 {
            let step = try await world.exports.deliver(job.id, org: "acme")
            steps.append(step)
            guard case .again(let pause) = step else { continue }
            // Another job of the same post keeps the pause too.
            #expect(try await world.exports.deliver(job.id, org: "acme") == .postponed(pause))
            world.open.clock.advance(by: pause)
        }
        let pauses: [Duration] = [.seconds(1), .seconds(5), .seconds(25), .seconds(125)]
        #expect(steps == pauses.map { ExportStep.again(after: $0) } + [ExportStep.over])
        let dead = try #require(try await world.exports.job(job.id, org: "acme"))
        #expect(dead.delivery == .dead)
        let attempts = try await world.exports.attempts(dead).map(\.json)
        #expect(attempts.count == 5 && attempts.allSatisfy { $0["status"] == 503 && $0["outcome"] == "failed" })
        #expect(try await world.exports.deliver(job.id, org: "acme") == .over)
        let calls = world.receiver.state.withLock { $0.calls }
        #expect(calls.count == 5 && Set(calls.map(\.delivery)) == [job.id])
        #expect(calls.allSatisfy { $0.secret == Self.secret && $0.sha256 == job.sha256 && $0.bytes == job.bytes })
        // By hand once more, under the same id.
        let again = try #require(try await world.exports.redeliver(job.id, org: "acme"))
        #expect(again.delivery == .waiting && world.posted.take().map(\.0) == [job.id])
        #expect(try await world.exports.deliver(job.id, org: "acme") == .over)
        #expect(try await world.exports.job(job.id, org: "acme")?.delivery == .delivered)
        await #expect(throws: ExportError.notGivenUp) { try await world.exports.redeliver(job.id, org: "acme") }
        await world.log.close()
    }

    @Test func `a receiver that refuses is not asked again, and one that asks for patience gets it`() async throws {
        let world = try await World()
        let job = try await Self.posted(world)
        world.receiver.state.withLock {
            $0.plan = [
                .init(status: 429, retryAfter: .seconds(90)), .init(status: 503, retryAfter: .seconds(1_000_000)),
                .init(status: 410, retryAfter: nil),
            ]
        }
        for seconds in [90, 3600] {
            let pause = Duration.seconds(seconds)
            #expect(try await world.exports.deliver(job.id, org: "acme") == .again(after: pause))
            world.open.clock.advance(by: pause)
        }
        #expect(try await world.exports.deliver(job.id, org: "acme") == .over)
        #expect(try await world.exports.job(job.id, org: "acme")?.delivery == .refused)
        await world.log.close()
    }

    @Test func `a node without the file leaves it to the one that wrote it for six days, then the file is gone`()
        async throws
    {
        let world = try await World()
        _ = try await world.log.send(trackLine(["id": "\"e1\""]))
        let job = try await Self.posted(world)
        let other = try await world.node(folder: "other")
        #expect(try await other.deliver(job.id, org: "acme") == .postponed(.seconds(5)))
        #expect(try await other.attempts(job).isEmpty && world.receiver.state.withLock { $0.calls.isEmpty })
        #expect(try await world.exports.deliver(job.id, org: "acme") == .over)
        #expect(try await other.job(job.id, org: "acme")?.delivery == .delivered)

        let late = try await Self.posted(world)
        for wait in [3600, 5 * 86_400] {
            world.open.clock.advance(by: .seconds(wait))
            #expect(try await other.deliver(late.id, org: "acme") == .postponed(.seconds(60)))
        }
        world.open.clock.advance(by: .seconds(86_400 - 3600))
        #expect(try await other.deliver(late.id, org: "acme") == .over)
        let refused = try #require(try await other.job(late.id, org: "acme"))
        #expect(refused.delivery == .refused)
        #expect(try await other.attempts(refused).map { $0.json["reason"] } == ["file_gone"])
        // Asked for anew, its writer has its time once more.
        _ = try await other.redeliver(late.id, org: "acme")
        #expect(try await other.deliver(late.id, org: "acme") == .postponed(.seconds(5)))
        #expect(try await world.exports.deliver(late.id, org: "acme") == .over)
        #expect(try await other.job(late.id, org: "acme")?.delivery == .delivered)

        // The writer itself does not wait for a file that it lost.
        let lost = try await Self.posted(world)
        try FileManager.default.removeItem(atPath: world.open.folder.file("exports/\(lost.id.hex).ndjson"))
        #expect(try await world.node().deliver(lost.id, org: "acme") == .over)
        #expect(try await other.job(lost.id, org: "acme")?.delivery == .refused)
        await world.log.close()
    }

    @Test func `a post whose job was lost is asked for at the next start, and one that waits can be posted at once`()
        async throws
    {
        let world = try await World()
        let job = try await Self.posted(world)
        // The job that was asked for is gone.
        #expect(world.posted.take().map(\.0) == [job.id])
        try await world.exports.adopt()
        #expect(world.posted.take().map(\.0) == [job.id])
        world.receiver.state.withLock { $0.plan = [.init(status: 503, retryAfter: .seconds(600))] }
        #expect(try await world.exports.deliver(job.id, org: "acme") == .again(after: .seconds(600)))
        // One that is not due has a job that waits.
        try await world.exports.askAgain()
        #expect(world.posted.take().isEmpty)
        _ = try await world.exports.redeliver(job.id, org: "acme")
        #expect(world.posted.take().map(\.0) == [job.id])
        #expect(try await world.exports.deliver(job.id, org: "acme") == .over)
        #expect(try await world.exports.job(job.id, org: "acme")?.delivery == .delivered)
        try await world.exports.askAgain()
        #expect(world.posted.take().isEmpty && world.asked.take().isEmpty)
        await world.log.close()
    }

    @Test func `a call that was not made is no attempt, and an answer that comes while the server stops is kept`()
        async throws
    {
        let world = try await World()
        let job = try await Self.posted(world)
        world.receiver.state.withLock { $0.plan = [.postponed(.seconds(30))] }
        #expect(try await world.exports.deliver(job.id, org: "acme") == .postponed(.seconds(30)))
        #expect(try await world.exports.attempts(job).isEmpty)
        world.receiver.stops.withLock { $0 = true }
        let exports = world.exports
        let step = try await Task { try await exports.deliver(job.id, org: "acme") }.value
        #expect(step == .over)
        #expect(try await world.exports.job(job.id, org: "acme")?.delivery == .delivered)
        #expect(try await world.exports.attempts(job).map { $0.json["number"] } == [1])
        await world.log.close()
    }

    @Test func `an export that another node finished meanwhile is not finished again`() async throws {
        let world = try await World()
        _ = try await world.log.send(trackLine(["id": "\"e1\""]))
        _ = try await world.exports.create(
            ["target": "webhook", "url": "https://x.example/in", "secret": .string(Self.secret)], org: "acme",
            actor: "key-1")
        let id = try #require(try await world.all().first?.id)
        let other = try await world.node(folder: "other")
        try await world.exports.work(id, org: "acme") { _ in try await other.work(id, org: "acme") }
        #expect(world.posted.take().count == 1)
        #expect(try await other.deliver(id, org: "acme") == .over)
        #expect(try await other.job(id, org: "acme")?.delivery == .delivered)
        await world.log.close()
    }

    @Test func `a scheduled export that cannot be written now is written later, and one that was asked for fails`()
        async throws
    {
        let world = try await World(freeBytesMin: .max)
        _ = try await world.log.send(trackLine(["id": "\"e1\""]))
        _ = try await world.exports.create([:], org: "acme", actor: "key-1")
        try await world.work()
        #expect(try await world.all().first?.error == "storage_full")
        let exports: [JSONValue] = [["compression": "none"], ["query": ["bucket": "hour"]]]
        for (number, export) in exports.enumerated() {
            _ = try await world.exports.schedule(
                "s\(number)", ["every_hours": 1, "export": export], org: "acme", actor: "key-1")
        }
        world.open.clock.advance(by: .seconds(2 * 3600))
        #expect(try await world.exports.makeDue { _ in } > 1)
        let waiting = world.asked.take()
        for (id, org) in waiting {
            await #expect(throws: ExportError.full) { try await world.exports.work(id, org: org) }
        }
        let later = try await world.node()
        for (id, org) in waiting.dropLast() { try await later.work(id, org: org) }
        // Not for ever.
        world.open.clock.advance(by: .seconds(7 * 86_400))
        let last = try #require(waiting.last)
        try await world.exports.work(last.0, org: last.1)
        for (id, org) in waiting {
            let job = try #require(try await world.exports.job(id, org: org))
            #expect(job.state == (id == last.0 ? .failed : .done))
        }
        await world.log.close()
    }

    @Test func `exports that the release before would fail are told from those that it knows`() async throws {
        let world = try await World()
        let (plain, hook) = (try await world.exports.made([:], org: "acme"), try await Self.posted(world))
        _ = try await world.exports.schedule(
            "hourly", ["every_hours": 1, "export": [:]], org: "acme", actor: "key-1")
        world.open.clock.advance(by: .seconds(2 * 3600))
        #expect(try await world.exports.makeDue { _ in } > 0)
        let scheduled = try await world.all().first { $0.schedule != nil }
        for (job, isNew) in [(plain, false), (hook, true), (scheduled, true)] {
            let id = try #require(job).id
            let needsNew = try await world.open.database.write("test.release") {
                try ExportService.needsNewRelease(id, org: "acme", in: $0)
            }
            #expect(needsNew == isNew)
        }
        await world.log.close()
    }

    @Test func `schedules wait while the disk is nearly full, and say so`() async throws {
        let isFull = Mutex(true)
        let world = try await World(
            bulk: BulkWrites { DiskSpace(freeBytes: isFull.withLock { $0 } ? 1 : 50, totalBytes: 100) })
        _ = try await world.exports.schedule(
            "hourly", ["every_hours": 1, "export": [:]], org: "acme", actor: "key-1")
        world.open.clock.advance(by: .seconds(2 * 3600))
        #expect(try await world.exports.makeDue { _ in } == 0)
        let schedule = try #require(try await world.exports.schedules(org: "acme").first).json
        #expect(schedule["error"] == "storage_full")
        #expect(schedule["next"]?["due_at"]?.string == (world.open.clock.now + .seconds(300)).rfc3339)
        isFull.withLock { $0 = false }
        #expect(try await world.exports.makeDue { _ in } == 0)
        world.open.clock.advance(by: .seconds(300))
        #expect(try await world.exports.makeDue { _ in } > 0)
        #expect(try await world.exports.schedules(org: "acme").first?.json["error"] == .null)
        await world.log.close()
    }

    @Test func `organisations whose exports are stuck hold no other up`() async throws {
        let world = try await World()
        func set(_ name: String, _ org: String) async throws {
            _ = try await world.exports.schedule(
                name, ["every_hours": 1, "delay_minutes": 0, "export": [:]], org: org, actor: "key-1")
        }
        for org in ["a", "b", "c"] {
            for number in 0..<ExportService.schedulesMax { try await set("s\(number)", org) }
        }
        world.open.clock.advance(by: .seconds(3600))
        try await set("hourly", "acme")
        world.open.clock.advance(by: .seconds(3600))
        // More than one look takes.
        #expect(try await world.exports.makeDue { _ in } == 31)
        #expect(try await world.all().count == 1)
        await world.log.close()
    }

    @Test func `what a node wrote of an export that another one finished is not posted, and is removed`() async throws {
        let world = try await World()
        _ = try await world.log.send(trackLine(["id": "\"e1\""]))
        let job = try await Self.posted(world)
        let other = try await world.node(folder: "other")
        let (mine, stale) = ("exports/\(job.id.hex).ndjson", "other/\(job.id.hex).ndjson")
        let orphan = "other/\(UID(now: testNow).hex).csv.gz"
        func isThere(_ name: String) -> Bool {
            FileManager.default.fileExists(atPath: world.open.folder.file(name))
        }
        for name in [stale, orphan] {
            try Data("part".utf8).write(to: URL(fileURLWithPath: world.open.folder.file(name)))
        }
        #expect(other.isHere(job) == false && world.exports.isHere(job))
        #expect(try await other.deliver(job.id, org: "acme") == .postponed(.seconds(5)))
        world.open.clock.advance(by: .seconds(3600))
        for node in [world.exports, other] { try await node.expire() }
        #expect(isThere(mine) && isThere("other/node") && !isThere(stale) && !isThere(orphan))
        await world.log.close()
    }

    @Test func `a post that is asked for anew during an attempt goes on, unless the receiver took it`() async throws {
        let world = try await World()
        let (exports, job) = (world.exports, try await Self.posted(world))
        world.receiver.state.withLock { $0.plan = [.init(status: 410, retryAfter: nil)] }
        world.receiver.meanwhile.withLock { $0 = { _ = try? await exports.redeliver(job.id, org: "acme") } }
        #expect(try await exports.deliver(job.id, org: "acme") == .over)
        #expect(try await exports.job(job.id, org: "acme")?.delivery == .waiting)
        #expect(try await exports.deliver(job.id, org: "acme") == .over)
        #expect(try await exports.job(job.id, org: "acme")?.delivery == .delivered)
        await world.log.close()
    }

    @Test func `an attempt that the server's stop cut off is in the record and does not count`() async throws {
        let world = try await World()
        let (exports, job) = (world.exports, try await Self.posted(world))
        let failed = ExportAnswer.failed(reason: "cancelled", status: nil, retryAfter: nil)
        world.receiver.state.withLock { $0.plan = [failed, failed] }
        world.receiver.stops.withLock { $0 = true }
        await #expect(throws: CancellationError.self) {
            try await Task { try await exports.deliver(job.id, org: "acme") }.value
        }
        world.receiver.stops.withLock { $0 = false }
        // The first that counts.
        #expect(try await exports.deliver(job.id, org: "acme") == .again(after: .seconds(1)))
        let outcomes = try await exports.attempts(job).map { $0.json["outcome"] }
        #expect(outcomes == ["interrupted", "failed"])
        await world.log.close()
    }

    @Test func `a secret that this node cannot read is tried again`() async throws {
        let world = try await World()
        let job = try await Self.posted(world)
        let stranger = try await world.node(key: 8)
        #expect(try await stranger.deliver(job.id, org: "acme") == .again(after: .seconds(1)))
        #expect(try await stranger.attempts(job).map { $0.json["reason"] } == ["secret_unreadable"])
        world.open.clock.advance(by: .seconds(1))
        #expect(try await world.exports.deliver(job.id, org: "acme") == .over)
        #expect(try await world.exports.job(job.id, org: "acme")?.delivery == .delivered)
        await world.log.close()
    }

    @Test func `a process posts eight files at once`() async throws {
        let world = try await World()
        var jobs: [UID] = []
        for _ in 0..<10 { jobs.append(try await Self.posted(world).id) }
        let exports = world.exports
        let rest = Mutex(jobs)
        let steps = Mutex<[ExportStep]>([])
        // Each begins while the one before it waits for its answer.
        let next: @Sendable () async -> Void = {
            guard let id = rest.withLock({ $0.popLast() }) else { return }
            if let step = try? await exports.deliver(id, org: "acme") { steps.withLock { $0.append(step) } }
        }
        world.receiver.meanwhile.withLock { $0 = next }
        await next()
        let known = steps.withLock { $0 }
        #expect(known.first == .postponed(.seconds(5)) && known.count == 9)
        #expect(known.dropFirst().allSatisfy { $0 == .over })
        await world.log.close()
    }

    @Test func `a schedule that is set anew makes no export by what it was`() async throws {
        let world = try await World()
        _ = try await world.exports.schedule(
            "hourly", ["every_hours": 1, "export": [:]], org: "acme", actor: "key-1")
        world.open.clock.advance(by: .seconds(2 * 3600))
        let other = UID(now: testNow)
        let made = try await world.exports.makeDue { tx in
            // As a change that comes between the look and the export does.
            try tx.run("UPDATE export_schedules SET revision = \(other)")
        }
        #expect(made == 0)
        #expect(try await world.all().isEmpty)
        #expect(try await world.exports.makeDue { _ in } > 0)
        await world.log.close()
    }

    @Test func `an organisation whose jobs are refused holds no other up, nor a start`() async throws {
        let world = try await World()
        for org in ["acme", "full"] {
            _ = try await world.exports.schedule(
                "hourly", ["every_hours": 1, "delay_minutes": 0, "export": [:]], org: org, actor: "key-1")
        }
        world.open.clock.advance(by: .seconds(3600))
        world.asked.full.withLock { $0 = "acme" }
        #expect(try await world.exports.makeDue { _ in } == 1)
        let held = try #require(try await world.exports.schedules(org: "acme").first).json
        #expect(held["error"] == "export_schedule_failed")
        #expect(held["next"]?["due_at"]?.string == (world.open.clock.now + .seconds(300)).rfc3339)
        world.asked.full.withLock { $0 = nil }
        world.open.clock.advance(by: .seconds(300))
        #expect(try await world.exports.makeDue { _ in } == 1)
        _ = world.asked.take()
        world.asked.full.withLock { $0 = "acme" }
        try await world.exports.adopt()
        #expect(world.asked.take().map(\.1) == ["full"])
        await world.log.close()
    }

    @Test func `two processes that make the same periods at once make each once`() async throws {
        let world = try await World()
        let other = try await world.node(folder: "other")
        for org in ["acme", "b", "c"] {
            _ = try await world.exports.schedule("hourly", ["every_hours": 1, "export": [:]], org: org, actor: "key-1")
        }
        world.open.clock.advance(by: .seconds(6 * 3600))
        async let first = world.exports.makeDue { _ in }
        async let second = other.makeDue { _ in }
        var total = try await first + second
        // What one left to the other.
        total += try await world.exports.makeDue { _ in }
        var all: [ExportJob] = []
        for org in ["acme", "b", "c"] {
            let made = try await world.exports.list(org: org)
            let ranges = Self.ranges(made)
            #expect(made.count >= 5 && Set(ranges).count == made.count, "\(ranges)")
            all += made
        }
        #expect(total == all.count)
        #expect(Set(world.asked.take().map(\.0)) == Set(all.map(\.id)))
        await world.log.close()
    }
}
