import Attribution
import AurumCore
import Database
import Events
import Foundation
import Logging
import Runtime
import Synchronization
import Telemetry
import TestSupport
import Testing

/// Runs over the log that come by themselves.
struct RunScheduleTests {
    /// 2025-10-09 08:53:20 UTC.
    private static let start: Int64 = 1_760_000_000_000

    private struct World {
        let open: OpenDatabase
        let log: EventLog
        var attribution: LogAttribution

        init(on engine: Dialect = .ofTestRun) async throws {
            open = try OpenDatabase(
                clock: ManualWallClock(Timestamp(milliseconds: RunScheduleTests.start)), on: engine)
            let quiet = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
            log = try EventLog.open(
                directory: open.folder.file("events"), registry: open.registry,
                health: HealthRegistry(clock: open.clock), clock: open.clock, logger: quiet)
            let store = log.store
            attribution = LogAttribution(
                database: open.database, source: store, persons: { store.persons(org: $0) },
                folder: open.folder.file("runs"), clock: open.clock, registry: open.registry, logger: quiet)
            try await send("p1")
        }

        /// A click and a purchase.
        func send(_ id: String) async throws {
            let at = open.clock.now.milliseconds
            let lines = [
                "{\"id\":\"c\(id)\",\"type\":\"click\",\"ts\":\(at - 2000),\"anonymous_id\":\"\(id)\","
                    + "\"campaign\":{\"name\":\"spring\",\"source\":\"google\",\"medium\":\"cpc\"}}",
                "{\"id\":\"\(id)\",\"type\":\"conversion\",\"name\":\"purchase\",\"ts\":\(at - 1000),"
                    + "\"anonymous_id\":\"\(id)\",\"value\":10,\"currency\":\"USD\"}",
            ]
            _ = try await log.capture.submit(
                Array(lines.joined(separator: "\n").utf8), format: .ndjson,
                source: CaptureSource(org: "o", app: "shop"), receivedAt: open.clock.now)
        }

        func schedule(_ plan: RunPlan = .every(hours: 6)) async throws -> RunSchedule {
            try await attribution.schedule(plan, conversion: "purchase", org: "o")
        }

        /// What is asked for now.
        func due() async throws -> [LogAttribution.Wish] {
            let found = Found()
            try await attribution.startDue { wish, org, _ in found.add(wish) }
            return found.wishes
        }

        /// Asks for what is due and does it; answers the versions that answer then.
        func tick(_ low: UInt64) async throws -> [LogRunSummary] {
            var made: [LogRunSummary] = []
            for wish in try await due() {
                made.append(try await attribution.run(wish, org: "o", id: UID(high: 0, low: low)))
            }
            return made
        }

        func only() async throws -> RunSchedule { try #require(try await attribution.schedules.all(org: "o").first) }
    }

    private final class Found: Sendable {
        private let all = Mutex<[LogAttribution.Wish]>([])
        var wishes: [LogAttribution.Wish] { all.withLock { $0 } }
        func add(_ wish: LogAttribution.Wish) { all.withLock { $0.append(wish) } }
    }

    @Test(arguments: Dialect.allCases)
    func `a run comes at its time, and one that finds nothing new does nothing`(engine: Dialect) async throws {
        let world = try await World(on: engine)
        let set = try await world.schedule()
        #expect(set.next == Timestamp(rfc3339: "2025-10-09T09:13:00Z") && set.last == nil)
        #expect(try await world.due().isEmpty)
        world.open.clock.advance(by: .seconds(4 * 3600))
        let first = try await world.tick(1)
        #expect(first.map(\.versions) == [["purchase": 1]] && first.first?.isUnchanged == false)
        #expect(try await world.only().last?.outcome == .done)
        #expect(try await world.only().next == Timestamp(rfc3339: "2025-10-09T15:13:00Z"))
        #expect(try await world.due().isEmpty)
        world.open.clock.advance(by: .seconds(6 * 3600))
        let second = try await world.tick(2)
        #expect(second.map(\.versions) == [["purchase": 1]] && second.first?.isUnchanged == true)
        #expect(try await world.only().last?.outcome == .unchanged)
        #expect(try await world.attribution.runs(org: "o").map(\.version) == [1])
        #expect(world.open.registry.counter(.attributionLogRuns, "unchanged").value == 1)
        try await world.send("p2")
        world.open.clock.advance(by: .seconds(6 * 3600))
        let third = try await world.tick(3)
        #expect(third.map(\.versions) == [["purchase": 2]] && third.first?.result.results.first?.conversions == 2)
        #expect(try await world.only().succeededAt == world.open.clock.now)
        await world.log.close()
    }

    @Test func `another window, other bounds and an erased person are computed anew`() async throws {
        let world = try await World()
        var wish = LogAttribution.Wish(conversion: "purchase")
        wish.onlyIfChanged = true
        func version() async throws -> Int? {
            try await world.attribution.run(wish, org: "o", id: UID(now: world.open.clock.now)).versions["purchase"]
        }
        #expect(try await version() == 1)
        #expect(try await version() == 1)
        let body: JSONValue = ["where": "name = purchase", "click_hours": 48]
        _ = try await world.attribution.definitions.save(body, name: "purchase", org: "o", now: world.open.clock.now)
        #expect(try await version() == 2)
        #expect(try await version() == 2)
        _ = try await world.attribution.run(
            LogAttribution.Wish(conversion: "purchase", from: world.open.clock.now), org: "o", id: UID(high: 0, low: 9))
        #expect(try await version() == 4, "a result of a part of the log is no result of all")
        #expect(try await version() == 4)
        _ = try await world.log.upkeep.erase(org: "o", [PersonIdentifier(.anonymous, "p1")], actor: "test")
        let last = try await world.attribution.run(wish, org: "o", id: UID(high: 0, low: 10))
        #expect(last.versions == ["purchase": 5] && last.result.results.first?.conversions == 0)
        await world.log.close()
    }

    @Test func `a run that fails is seen, and the result before it stays`() async throws {
        var world = try await World()
        _ = try await world.schedule()
        world.open.clock.advance(by: .seconds(4 * 3600))
        _ = try await world.tick(1)
        let before = try await world.attribution.head(org: "o", conversion: "purchase")
        let succeeded = try await world.only().succeededAt
        try await world.send("p2")
        world.attribution.settings.freeBytesMin = .max
        world.open.clock.advance(by: .seconds(6 * 3600))
        await #expect(throws: LogAttributionError.self) { _ = try await world.tick(2) }
        let failed = try await world.only()
        #expect(failed.last?.outcome == .failed && failed.last?.code == "attribution_storage")
        #expect(failed.succeededAt == succeeded && failed.json["last"]?["code"] == "attribution_storage")
        #expect(try await world.attribution.head(org: "o", conversion: "purchase") == before)
        #expect(try await world.due().isEmpty)
        #expect(world.open.registry.gauge(.attributionSchedulesFailing).value == 1)
        await world.log.close()
    }

    @Test func `times that were missed are one run, and no job means that the time has not gone by`() async throws {
        struct Full: Error {}
        let world = try await World()
        let set = try await world.schedule()
        world.open.clock.advance(by: .seconds(10 * 86_400))
        let started = try await world.attribution.startDue { _, _, _ in throw Full() }
        #expect(started == 0)
        #expect(try await world.only().next == set.next)
        let wishes = try await world.due()
        #expect(wishes.count == 1 && wishes.first?.onlyIfChanged == true && wishes.first?.reason == "schedule")
        #expect(try await world.due().isEmpty)
        // Setting it to what it is moves nothing; another plan does.
        let next = try await world.only().next
        #expect(try await world.schedule().next == next)
        #expect(try await world.schedule(.daily(hour: 9, minute: 0, zone: "UTC")).next < next)
        await world.log.close()
    }

    @Test func `a conversion that is ended has no schedule, and one that is none gets none`() async throws {
        let world = try await World()
        _ = try await world.schedule()
        try await world.attribution.definitions.remove(name: "purchase", org: "o")
        #expect(try await world.attribution.schedules.all(org: "o").isEmpty)
        await #expect(throws: LogAttributionError.unknownConversion("purchase")) { _ = try await world.schedule() }
        await #expect(throws: LogAttributionError.unknownSchedule) {
            try await world.attribution.schedules.remove(conversion: "purchase", org: "o")
        }
        await world.log.close()
    }

    @Test(arguments: Dialect.allCases)
    func `a conversion that is ended while its schedule is set is left without one`(engine: Dialect) async throws {
        let world = try await World(on: engine)
        let body: JSONValue = ["where": "name = purchase"]
        for number in 0..<40 {
            let name = "ended\(number)"
            let definitions = world.attribution.definitions
            _ = try await definitions.save(body, name: name, org: "o", now: world.open.clock.now)
            async let ended: Void = definitions.remove(name: name, org: "o")
            do {
                _ = try await world.attribution.schedule(.every(hours: 6), conversion: name, org: "o")
            } catch LogAttributionError.unknownConversion(name) {}
            try await ended
        }
        #expect(try await world.attribution.schedules.all(org: "o").isEmpty)
        await world.log.close()
    }

    @Test func `organisations come at times of their own, always the same, and none at a time of the day`() throws {
        let plan = RunPlan.every(hours: 6)
        let moment = Timestamp(milliseconds: Self.start)
        let orgs = (0..<200).map { "org\($0)" }
        let times = try orgs.map { try plan.next(after: moment, org: $0) }
        #expect(Set(times).count > 100)
        for (org, time) in zip(orgs, times) {
            #expect(time > moment && time <= moment + .seconds(6 * 3600))
            #expect(time.microseconds % 60_000_000 == 0)
            #expect(try plan.next(after: time, org: org) == time + .seconds(6 * 3600))
        }
        let daily = RunPlan.daily(hour: 3, minute: 30, zone: "UTC")
        #expect(try Set(orgs.map { try daily.next(after: moment, org: $0) }).count == 1)
    }

    @Test func `a run that finds others working and waiting comes again, and its schedule does not say that it failed`()
        async throws
    {
        #expect(LogAttributionError.busy.ofJob as? JobPostponement == JobPostponement(by: .seconds(60)))
        #expect((LogAttributionError.storage("full").ofJob as? JobFault)?.retry == .standard)
        #expect((LogAttributionError.noResult("x").ofJob as? JobFault)?.retry == .never)
        #expect(LogAttributionError.cancelled.ofJob is CancellationError)
        let world = try await World()
        _ = try await world.schedule()
        world.open.clock.advance(by: .seconds(4 * 3600))
        let wish = try #require(try await world.due().first)
        let attribution = world.attribution
        try await attribution.gate.take()
        let others = (0..<LogRunGate.waitingMax).map { number in
            Task { try await attribution.run(wish, org: "o", id: UID(high: 1, low: UInt64(number))) }
        }
        while attribution.gate.waiting < LogRunGate.waitingMax { await Task.yield() }
        await #expect(throws: LogAttributionError.busy) {
            try await attribution.run(wish, org: "o", id: UID(high: 0, low: 1))
        }
        #expect(try await world.only().last == nil)
        attribution.gate.give()
        for other in others { _ = try await other.value }
        #expect(try await world.only().last?.code == nil)
        await world.log.close()
    }

    @Test func `a time of the day goes by the clocks of its zone`() throws {
        let plan = try RunPlan(["daily_at": "03:30", "timezone": "America/New_York"])
        // Clocks there went back on 2025-11-02.
        let summer = try #require(Timestamp(rfc3339: "2025-11-01T08:00:00Z"))
        #expect(try plan.next(after: summer, org: "o") == Timestamp(rfc3339: "2025-11-02T08:30:00Z"))
        let earlier = try #require(Timestamp(rfc3339: "2025-10-31T08:00:00Z"))
        #expect(try plan.next(after: earlier, org: "o") == Timestamp(rfc3339: "2025-11-01T07:30:00Z"))
        #expect(try RunPlan(.object(plan.members)) == plan)
        #expect(try RunPlan(["daily_at": "23:59"]) == .daily(hour: 23, minute: 59, zone: "UTC"))
    }

    @Test(arguments: [
        ("every_hours", #"{}"#), ("every_hours", #"{"every_hours":0}"#), ("every_hours", #"{"every_hours":169}"#),
        ("every_hours", #"{"every_hours":1.5}"#), ("every_hours", #"{"every_hours":1,"daily_at":"03:30"}"#),
        ("daily_at", #"{"daily_at":"3:30"}"#), ("daily_at", #"{"daily_at":"24:00"}"#),
        ("daily_at", #"{"daily_at":"03:60"}"#), ("daily_at", #"{"daily_at":3}"#),
        ("daily_at", #"{"daily_at":"0:::0"}"#),
        ("timezone", #"{"daily_at":"03:30","timezone":"Mars/Olympus"}"#),
        ("timezone", #"{"daily_at":"03:30","timezone":5}"#), ("timezone", #"{"every_hours":1,"timezone":"UTC"}"#),
        ("body", #"{"every_hours":1,"cron":"* * * * *"}"#), ("body", #"[]"#),
    ])
    func `a plan that is wrong is refused with the member that is`(_ member: String, _ text: String) throws {
        let body = try JSONDecoder().decode(JSONValue.self, from: Data(text.utf8))
        do {
            _ = try RunPlan(body)
            Issue.record("\(text) was taken")
        } catch {
            var found = "\(error)"
            if case .invalid(let field, _) = error { found = field }
            #expect(found == member)
        }
    }
}
