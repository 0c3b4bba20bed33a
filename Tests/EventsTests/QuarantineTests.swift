internal import AurumCore
internal import Database
internal import Events
internal import TestSupport
import Testing

/// What was refused, sent again.
struct QuarantineTests {
    private static let strict: JSONValue = [
        "names": ["Signed Up": ["required": ["plan"], "properties": ["plan": ["type": "string"]]]]
    ]
    private static let mended: JSONValue = ["names": ["Signed Up": ["properties": ["seats": ["type": "integer"]]]]]

    private static func broken() async throws -> (desk: PolicyDesk, receipt: Receipt) {
        let desk = try await PolicyDesk.open()
        _ = try await desk.policies.apps.putPlan(org: "acme", app: "shop", strict)
        _ = try await desk.policies.apps.put(org: "acme", app: "shop", ["plan_mode": "enforce"])
        let lines = (0..<1000).map {
            trackLine(["id": "\"q\($0)\"", "ts": "\"2026-11-21T10:00:00Z\"", "props": "{\"seats\":\($0)}"])
        }
        let receipt = try await desk.log.send(lines.joined(separator: "\n"))
        #expect(receipt.quarantined == 1000)
        return (desk, receipt)
    }

    @Test func `a plan breaks 1,000 events; mended and replayed all are stored, once`() async throws {
        let (desk, receipt) = try await Self.broken()
        let filter = QuarantineFilter(org: "acme", app: "shop", reason: "plan:required")
        #expect(try await desk.desk.counts(org: "acme").map(\.count) == [1000])
        #expect(try await desk.desk.replay(filter).refused == ["plan:required": 1000])
        _ = try await desk.policies.apps.putPlan(org: "acme", app: "shop", Self.mended)
        let dry = try await desk.desk.replay(filter, dryRun: true)
        #expect(dry.stored == 1000 && dry.isDryRun)
        #expect(try await desk.events().isEmpty)
        let report = try await desk.desk.replay(filter)
        #expect(report.matched == 1000 && report.stored == 1000 && report.refused.isEmpty)
        let events = try await desk.events()
        #expect(Set(events.map(\.id)).count == 1000 && events.count == 1000)
        #expect(events.allSatisfy { $0.at == Timestamp(rfc3339: "2026-11-21T10:00:00Z") && $0.receivedAt == testNow })
        #expect(events.allSatisfy { $0.receipt == receipt.id && $0.extra["replayed_at"] != nil })
        #expect(try await desk.desk.replay(filter).matched == 0)
        #expect(try await desk.desk.counts(org: "acme").isEmpty)
        #expect(try await desk.desk.browse(filter, limit: 10).isEmpty)
        let now = try #require(try await desk.store.receipt(receipt.id, org: "acme"))
        #expect(now.counts.stored == 1000 && now.counts.quarantined == 0 && now.problems.isEmpty)
        let outcome = try #require(try await desk.store.outcome(eventID: "q7", org: "acme", app: "shop"))
        #expect(outcome.outcome == .stored && outcome.receipt == receipt.id && outcome.replayedAt != nil)
        #expect(try await desk.log.send(trackLine(["id": "\"q7\""])).duplicate == 1)
        await desk.log.close()
    }

    @Test func `an older version of the plan may be named`() async throws {
        let (desk, _) = try await Self.broken()
        _ = try await desk.policies.apps.putPlan(org: "acme", app: "shop", Self.mended)
        let filter = QuarantineFilter(org: "acme")
        #expect(try await desk.desk.replay(filter, planVersion: 1).refused == ["plan:required": 1000])
        await #expect(throws: PolicyError.unknownPlanVersion) { try await desk.desk.replay(filter, planVersion: 9) }
        #expect(try await desk.desk.replay(filter, planVersion: 2).stored == 1000)
        await desk.log.close()
    }

    /// Also where nothing waits, or what waits is another app's.
    @Test func `a version of the plan that no app of the filter has is refused before anything is done`() async throws {
        let (desk, _) = try await Self.broken()
        let filters = [
            QuarantineFilter(org: "acme", reason: "not_json"), QuarantineFilter(org: "acme", app: "shop"),
            QuarantineFilter(org: "acme", app: "blog"), QuarantineFilter(org: "rival"),
        ]
        for filter in filters {
            for isDry in [true, false] {
                await #expect(throws: PolicyError.unknownPlanVersion, "\(filter)") {
                    try await desk.desk.replay(filter, planVersion: filter.app == "shop" ? 2 : 7, dryRun: isDry)
                }
            }
        }
        #expect(try await desk.desk.replay(filters[0], planVersion: 1).matched == 0)
        await desk.log.close()
    }

    // MARK: counts

    /// What `GET /v1/outcomes` asks, by outcome.
    private static func outcomes(
        _ desk: PolicyDesk, by column: String? = nil, from: Timestamp? = nil
    ) async throws -> [String: Int] {
        let engine = QueryEngineTests.engine(desk.log.store, replayed: { try await desk.desk.replayed(org: $0) })
        var query = EventQuery()
        query.outcomes = Set(EventOutcome.allCases)
        query.groupBy = [ColumnName("outcome")] + (column.map { [ColumnName($0)] } ?? [])
        query.from = from
        return try await engine.answer(query, org: "acme").rows.reduce(into: [:]) { all, row in
            let name = row.dropLast().map { if case .text(let text) = $0 { text } else { "" } }
            if case .integer(let count)? = row.last { all[name.joined(separator: " ")] = Int(count) }
        }
    }

    @Test func `an event that was replayed counts once, as what became of it`() async throws {
        let (desk, _) = try await Self.broken()
        // One that stays, and one whose id comes another way before its replay.
        _ = try await desk.log.send(#"{"id":"stays","type":"nonsense","user_id":"u"}"#)
        _ = try await desk.log.send(trackLine(["id": "\"q7\"", "props": "{\"plan\":\"pro\"}"]))
        let before = try await Self.outcomes(desk)
        #expect(before == ["stored": 1, "quarantined": 1001])
        _ = try await desk.policies.apps.putPlan(org: "acme", app: "shop", Self.mended)
        let report = try await desk.desk.replay(QuarantineFilter(org: "acme", reason: "plan"))
        #expect(report.stored == 999 && report.duplicate == 1)

        func check(_ desk: PolicyDesk, _ moment: String) async throws {
            let counts = try await Self.outcomes(desk)
            #expect(counts == ["stored": 1000, "quarantined": 1, "duplicate": 1], "\(moment)")
            let reasons = try await Self.outcomes(desk, by: "quarantine_reason")
            #expect(reasons["quarantined unknown_type"] == 1, "\(moment): \(reasons)")
            #expect(reasons.values.reduce(0, +) == 1002, "\(moment)")
            // The counts that are kept up, and those of the requests, say the same.
            let totals = desk.log.store.totals(org: "acme").counts
            #expect(totals.total == 1002 && totals.stored == 1000, "\(moment)")
            #expect(totals.duplicate == 1 && totals.quarantined == 1, "\(moment)")
        }
        try await check(desk, "after the replay")
        let again = try await desk.reopened()
        try await check(again, "after a start")
        _ = try again.log.upkeep.run(all: true, isPaced: false)
        try await again.desk.tend()
        try await check(again, "after upkeep")
        await again.log.close()
    }

    @Test func `a replay that died between the log and the table is finished by the next one, with nothing twice`()
        async throws
    {
        let (desk, receipt) = try await Self.broken()
        _ = try await desk.policies.apps.putPlan(org: "acme", app: "shop", Self.mended)
        // As after a crash: sent again, while the table knows of the intent only.
        let lines = (0..<300).map {
            trackLine([
                "id": "\"q\($0)\"", "ts": "\"2026-11-21T10:00:00Z\"", "replay_of": "\"\(receipt.id)\"",
                "replayed_at": "\"2026-11-21T12:00:00Z\"",
            ])
        }
        #expect(try await desk.log.send(lines.joined(separator: "\n")).stored == 300)
        try await desk.database.database.write("test.intents") { transaction in
            for place in 0..<300 {
                try transaction.run(
                    """
                    INSERT INTO quarantine_actions (org, receipt, place, app, state, at)
                    VALUES ('acme', \(receipt.id), \(place), 'shop', 'replaying', 0)
                    """)
            }
        }
        let report = try await desk.desk.replay(QuarantineFilter(org: "acme"))
        #expect(report.stored == 1000 && report.duplicate == 0)
        #expect(try await desk.events().count == 1000)
        #expect(try await desk.store.receipt(receipt.id, org: "acme")?.counts.stored == 1000)
        await desk.log.close()
    }

    @Test func `an event whose id came by another way is a duplicate after its replay`() async throws {
        let (desk, receipt) = try await Self.broken()
        _ = try await desk.policies.apps.putPlan(org: "acme", app: "shop", Self.mended)
        #expect(try await desk.log.send(trackLine(["id": "\"q5\""])).stored == 1)
        let report = try await desk.desk.replay(QuarantineFilter(org: "acme"))
        #expect(report.stored == 999 && report.duplicate == 1)
        let now = try #require(try await desk.store.receipt(receipt.id, org: "acme"))
        #expect(now.counts.stored == 999 && now.counts.duplicate == 1 && now.problems.map(\.index) == [5])
        await desk.log.close()
    }

    @Test func `what was deleted is gone, and its receipt still says that it was refused`() async throws {
        let (desk, receipt) = try await Self.broken()
        #expect(desk.policies.quota.bytes > 100_000)
        #expect(try await desk.desk.delete(QuarantineFilter(org: "acme", app: "web")) == 0)
        #expect(try await desk.desk.delete(QuarantineFilter(org: "acme", reason: "plan")) == 1000)
        #expect(try await desk.desk.counts(org: "acme").isEmpty && desk.policies.quota.bytes == 0)
        #expect(try await desk.desk.replay(QuarantineFilter(org: "acme")).matched == 0)
        #expect(try await desk.store.receipt(receipt.id, org: "acme")?.counts.quarantined == 1000)
        await desk.log.close()
    }

    @Test func `the text of a refused event is sealed in the log and shown to those who may see it`() async throws {
        let desk = try await PolicyDesk.open()
        let line = trackLine(["name": nil, "user_id": "\"needle@mail.example\"", "props": "{\"x\":\"needle-props\"}"])
        let receipt = try await desk.log.send(line + "\nneedle, no event\n{\"id\":5}")
        #expect(receipt.problems.map(\.reason) == ["missing_field", "not_json", "bad_type"])
        #expect(try await desk.found(["needle"]) == [])
        let entries = try await desk.desk.browse(QuarantineFilter(org: "acme"), limit: 10)
        #expect(entries.map(\.raw) == ["{\"id\":5}", "needle, no event", line])
        #expect(entries.map(\.reason) == ["bad_type", "not_json", "missing_field"])
        #expect(entries[0].json(showsRaw: false)["raw"] == nil)
        #expect(try await desk.desk.browse(QuarantineFilter(org: "rival"), limit: 10).isEmpty)
        let stored = try #require(try await desk.store.receipt(receipt.id, org: "acme"))
        #expect(stored.problems == receipt.problems)
        await desk.log.close()
    }

    @Test func `Segment's events without an id keep the one they had, and their clock`() async throws {
        let desk = try await PolicyDesk.open()
        _ = try await desk.policies.apps.putPlan(org: "acme", app: "shop", Self.strict)
        _ = try await desk.policies.apps.put(org: "acme", app: "shop", ["plan_mode": "enforce"])
        let batch = """
            {"batch":[{"type":"track","event":"Signed Up","userId":"u","timestamp":"2026-11-21T08:00:00Z"},
            {"type":"track","event":"Signed Up","userId":"u"}],"sentAt":"2026-11-21T10:00:00Z"}
            """
        #expect(try await desk.log.send(batch, format: .segmentBatch).quarantined == 2)
        _ = try await desk.policies.apps.putPlan(org: "acme", app: "shop", Self.mended)
        #expect(try await desk.desk.replay(QuarantineFilter(org: "acme")).stored == 2)
        let events = try await desk.events()
        #expect(events.map(\.at) == [Timestamp(rfc3339: "2026-11-21T10:00:00Z"), testNow])
        #expect(events.allSatisfy { $0.format == "segment" && $0.id.utf8.count == 32 })
        // The first had a time of its own, so the same request sent again brings it as a duplicate.
        let again = try await desk.log.send(batch, format: .segmentBatch)
        #expect(again.duplicate == 1 && again.stored == 1)
        await desk.log.close()
    }

    @Test func `a full quarantine refuses the whole request, and has room again after a deletion`() async throws {
        let desk = try await PolicyDesk.open(quotaBytes: 4000)
        let bad = (0..<10).map { "{\"id\":\"b\($0)\",\"type\":\"track\",\"user_id\":\"u\"}" }.joined(separator: "\n")
        #expect(try await desk.log.send(bad).quarantined == 10)
        let mixed = [trackLine(), bad, bad, bad].joined(separator: "\n")
        await #expect(throws: CaptureError.quarantineFull) { try await desk.log.send(mixed) }
        #expect(try await desk.events().isEmpty)
        #expect(try await desk.log.send(trackLine()).stored == 1)
        #expect(try await desk.desk.delete(QuarantineFilter(org: "acme")) == 10)
        // What was deleted stays in the log for its time; upkeep and the next start must not count it again.
        try await desk.desk.tend()
        #expect(desk.policies.quota.bytes == 0)
        #expect(try await desk.log.send(bad).quarantined == 10)
        let bytes = desk.policies.quota.bytes
        let again = try await desk.reopened()
        try await again.desk.tend()
        #expect(again.policies.quota.bytes == bytes && bytes > 0)
        await again.log.close()
    }

    @Test func `a call goes on behind what an earlier one left refused`() async throws {
        let desk = try await PolicyDesk.open()
        _ = try await desk.log.send((0..<1500).map { "no event \($0)" }.joined(separator: "\n"))
        _ = try await desk.policies.apps.putPlan(org: "acme", app: "shop", Self.strict)
        _ = try await desk.policies.apps.put(org: "acme", app: "shop", ["plan_mode": "enforce"])
        #expect(try await desk.log.send(trackLine(["id": "\"last\""])).quarantined == 1)
        _ = try await desk.policies.apps.put(org: "acme", app: "shop", ["plan_mode": "off"])
        let filter = QuarantineFilter(org: "acme")
        var report = try await desk.desk.replay(filter, eventsMax: 1000)
        #expect(report.refused == ["not_json": 1000] && report.stored == 0)
        // From the oldest again it meets the same events and gets no further.
        #expect(try await desk.desk.replay(filter, eventsMax: 1000) == report)
        let next = try #require(report.next)
        #expect(report.json["more"] == true && report.json["next"]?.string == next.description)
        report = try await desk.desk.replay(filter, after: next, eventsMax: 1000)
        #expect(report.refused == ["not_json": 500] && report.stored == 1 && report.next == nil)
        #expect(report.json["more"] == false && report.json["next"] == .null)
        #expect(try await desk.events().map(\.id) == ["last"])
        await desk.log.close()
    }

    @Test func `what was replayed takes no room in the quarantine`() async throws {
        let (desk, _) = try await Self.broken()
        _ = try await desk.policies.apps.putPlan(org: "acme", app: "shop", Self.mended)
        #expect(try await desk.desk.replay(QuarantineFilter(org: "acme")).stored == 1000)
        try await desk.desk.tend()
        #expect(desk.policies.quota.bytes == 0)
        await desk.log.close()
    }

    @Test func `consent that came with the request holds at the replay too`() async throws {
        let desk = try await PolicyDesk.open()
        _ = try await desk.policies.apps.putPlan(org: "acme", app: "shop", Self.strict)
        _ = try await desk.policies.apps.put(org: "acme", app: "shop", ["plan_mode": "enforce"])
        var source = testSource
        source.hasGPC = true
        #expect(try await desk.log.send(trackLine(), source: source).quarantined == 1)
        _ = try await desk.policies.apps.put(org: "acme", app: "shop", ["plan_mode": "off"])
        #expect(try await desk.desk.replay(QuarantineFilter(org: "acme")).stored == 1)
        #expect(try await desk.events().first?.consent?["gpc"] == true)
        await desk.log.close()
    }

    @Test func `a start reads only what was not sealed when the quarantine was counted, and counts the same`()
        async throws
    {
        let (storage, open) = (VolatileLogStorage(), try OpenDatabase(clock: ManualWallClock(testNow)))
        func desk() async throws -> (log: EventLog, policies: EventPolicies, desk: QuarantineDesk) {
            let policies = try await EventPolicies.open(
                open.database, sealer: InstallationKeySealer(key: Array(repeating: 7, count: 32)),
                quota: QuarantineQuota(bytesMax: 1 << 30))
            let log = try openEvents(storage, policies: policies) { $0.limits.segmentBytesMax = 6000 }
            let desk = QuarantineDesk(
                policies: policies, log: log, database: open.database, limits: EventLimits(), clock: open.clock)
            return (log, policies, desk)
        }
        let first = try await desk()
        for number in 0..<60 {
            let lines = (0..<20).map { #"{"id":"\#(number)-\#($0)","type":"nonsense \#(number * 31 + $0)"}"# }
            let receipt = try await first.log.send(lines.joined(separator: "\n"))
            #expect(receipt.quarantined == 20)
        }
        let bytes = first.policies.quota.bytes
        #expect(bytes > 0)
        try await first.desk.tend()
        _ = try await first.log.send(#"{"id":"last","type":"nonsense"}"#)
        let all = first.policies.quota.bytes
        #expect(all > bytes)
        await first.log.close()

        let second = try await desk()
        let reads = storage.reads
        try await second.desk.begin()
        let few = storage.reads - reads
        #expect(second.policies.quota.bytes == all)
        try await second.desk.tend()
        #expect(second.policies.quota.bytes == all)
        #expect(few * 2 < storage.reads - reads - few, "\(few) reads at the start")
        // What was deleted is not counted on by a start soon after.
        let deleted = try await second.desk.delete(QuarantineFilter(org: "acme"))
        #expect(deleted == 1201)
        await second.log.close()
        let third = try await desk()
        try await third.desk.begin()
        #expect(third.policies.quota.bytes == 0)
        await third.log.close()
    }

    @Test func `a count that runs while something leaves the quarantine is not kept`() async throws {
        let storage = VolatileLogStorage()
        let open = try OpenDatabase(clock: ManualWallClock(testNow))
        let policies = try await EventPolicies.open(
            open.database, sealer: InstallationKeySealer(key: Array(repeating: 7, count: 32)),
            quota: QuarantineQuota(bytesMax: 1 << 30))
        let log = try openEvents(storage, policies: policies)
        let desk = QuarantineDesk(
            policies: policies, log: log, database: open.database, limits: EventLimits(), clock: open.clock)
        func isKept() throws -> Bool { try storage.names().contains("quarantine") }
        try await desk.tend()
        #expect(try isKept())
        try await desk.leaving {
            #expect(try !isKept())
            try await desk.tend()
        }
        #expect(try !isKept())
        try await desk.tend()
        #expect(try isKept())
        await log.close()
    }

    @Test func `a count that cannot be written fails neither a start nor the hourly upkeep`() async throws {
        let storage = VolatileLogStorage()
        let open = try OpenDatabase(clock: ManualWallClock(testNow))
        let policies = try await EventPolicies.open(
            open.database, sealer: InstallationKeySealer(key: Array(repeating: 7, count: 32)),
            quota: QuarantineQuota(bytesMax: 1 << 30))
        let log = try openEvents(storage, policies: policies)
        #expect(try await log.send(#"{"id":"a","type":"nonsense"}"#).quarantined == 1)
        let desk = QuarantineDesk(
            policies: policies, log: log, database: open.database, limits: EventLimits(), clock: open.clock)
        let bytes = policies.quota.bytes
        storage.fail(.write(after: 0))
        try await desk.begin()
        try await desk.tend()
        #expect(policies.quota.bytes == bytes && bytes > 0)
        #expect(try !storage.names().contains("quarantine"))
        storage.fail(.none)
        try await desk.tend()
        #expect(try storage.names().contains("quarantine"))
        // It was removed once: a count that is written between two departures is removed as well.
        for _ in 0..<2 {
            try await desk.leaving {}
            #expect(try !storage.names().contains("quarantine"))
            try await desk.tend()
            #expect(try storage.names().contains("quarantine"))
        }
        await log.close()
    }

    @Test func `a quarantine is counted again at start, and old actions are forgotten`() async throws {
        let (desk, _) = try await Self.broken()
        let bytes = desk.policies.quota.bytes
        let again = try await desk.reopened()
        #expect(again.policies.quota.bytes == 0)
        try await again.desk.tend()
        #expect(again.policies.quota.bytes == bytes)
        await again.log.close()
    }
}
