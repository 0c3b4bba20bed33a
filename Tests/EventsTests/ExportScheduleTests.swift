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

        init(directory: Bool = false) async throws {
            log = try openEvents(VolatileLogStorage())
            open = try OpenDatabase(clock: ManualWallClock(testNow))
            let (asked, posted, receiver) = (asked, posted, receiver)
            exports = ExportService(
                database: open.database, engine: openEngine(log), folder: open.folder.file("exports"),
                directory: directory ? open.folder.file("target") : nil, freeBytesMin: 0, clock: open.clock,
                logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() },
                hooks: ExportHooks(
                    allowsLoopback: true, sealer: InstallationKeySealer(key: Array(repeating: 7, count: 32)),
                    registry: open.registry, enqueue: { id, org, _ in posted.add(id, org) },
                    send: { receiver.take($0) }),
                enqueue: { id, org, _ in asked.add(id, org) })
            try await exports.adopt()
        }

        /// Does the work that waits.
        func work() async throws {
            for (id, org) in asked.take() { try await exports.work(id, org: org) }
        }

        func all() async throws -> [ExportJob] { try await exports.list(org: "acme") }
    }

    private final class Queue: Sendable {
        private let waiting = Mutex<[(UID, String)]>([])
        func add(_ id: UID, _ org: String) { waiting.withLock { $0.append((id, org)) } }
        func take() -> [(UID, String)] {
            waiting.withLock { all in
                defer { all = [] }
                return all
            }
        }
    }

    private final class Receiver: Sendable {
        let state = Mutex<(calls: [ExportCall], plan: [ExportAnswer])>(([], []))
        func take(_ call: ExportCall) -> ExportAnswer {
            state.withLock { state in
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
        #expect(queries == ["2027-03-13T05:00:00Z", "2027-03-14T05:00:00Z", "2027-03-15T04:00:00Z"], "\(queries)")
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
        _ = try await world.exports.create(
            ["compression": "none", "target": "webhook", "url": "https://x.example/in", "secret": .string(secret)],
            org: "acme", actor: "key-1")
        try await world.work()
        return try #require(try await world.all().first)
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
        var pauses: [Duration?] = []
        for _ in 0..<5 { pauses.append(try await world.exports.deliver(job.id, org: "acme")) }
        #expect(pauses == [.seconds(1), .seconds(5), .seconds(25), .seconds(125), nil])
        let dead = try #require(try await world.exports.job(job.id, org: "acme"))
        #expect(dead.delivery == .dead)
        let attempts = try await world.exports.attempts(dead).map(\.json)
        #expect(attempts.count == 5 && attempts.allSatisfy { $0["status"] == 503 && $0["outcome"] == "failed" })
        #expect(try await world.exports.deliver(job.id, org: "acme") == nil)
        let calls = world.receiver.state.withLock { $0.calls }
        #expect(calls.count == 5 && Set(calls.map(\.delivery)) == [job.id])
        #expect(calls.allSatisfy { $0.secret == Self.secret && $0.sha256 == job.sha256 && $0.bytes == job.bytes })
        // By hand once more, under the same id.
        let again = try #require(try await world.exports.redeliver(job.id, org: "acme"))
        #expect(again.delivery == .waiting && world.posted.take().map(\.0) == [job.id])
        #expect(try await world.exports.deliver(job.id, org: "acme") == nil)
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
        #expect(try await world.exports.deliver(job.id, org: "acme") == .seconds(90))
        #expect(try await world.exports.deliver(job.id, org: "acme") == .seconds(3600))
        #expect(try await world.exports.deliver(job.id, org: "acme") == nil)
        #expect(try await world.exports.job(job.id, org: "acme")?.delivery == .refused)
        await world.log.close()
    }
}
