import Attribution
import AurumCore
import Database
import Events
import Logging
import Synchronization
import Telemetry
import TestSupport
import Testing

/// Verdicts, lists, rules, proposals and looking again, on real tables of both engines and a real log.
struct FraudDeskTests {
    private struct World {
        let open: OpenDatabase
        let log: EventLog
        let judge: FraudJudge
        let desk: FraudDesk
        let asked: Asked

        init(on engine: Dialect = .ofTestRun) throws {
            open = try OpenDatabase(on: engine)
            let quiet = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
            log = try EventLog.open(
                directory: open.folder.file("events"), registry: open.registry,
                health: HealthRegistry(clock: open.clock), clock: open.clock, logger: quiet)
            judge = FraudJudge(database: open.database, registry: open.registry)
            let (store, asked) = (log.store, Asked())
            desk = FraudDesk(
                database: open.database, source: store, persons: { store.persons(org: $0) },
                restate: { org, _ in asked.add(org) }, clock: open.clock, registry: open.registry, logger: quiet)
            self.asked = asked
        }

        /// Judges an install with one click.
        @discardableResult
        func install(
            _ number: Int, org: String = "o", delay: Duration = .seconds(90), publisher: String = "p",
            ago: Duration = .seconds(3600), click: String? = nil, change: (inout InstallFacts) -> Void = { _ in }
        ) async throws -> (install: FraudVerdict, touches: [FraudVerdict]) {
            var facts = InstallFacts(org: org, app: "game", id: Self.id(1, number), at: open.clock.now - ago)
            facts.deviceID = "d-\(number)"
            change(&facts)
            var touch = CandidateTouch(
                id: click.map { UID.ofEvent($0) } ?? Self.id(2, number), at: facts.at - delay, kind: .click)
            touch.event = click.flatMap { UID($0) == nil || $0 != $0.lowercased() ? $0 : nil }
            (touch.network, touch.publisher, touch.deviceID) = ("net", publisher, facts.deviceID)
            return try await judge.verdicts(of: facts, [touch])
        }

        static func id(_ high: UInt64, _ number: Int) -> UID { UID(high: high << 32 | UInt64(number), low: 7) }

        func verdicts(
            org: String = "o", _ change: (inout FraudVerdictFilter) -> Void = { _ in }
        ) async throws -> [JSONValue] {
            var filter = FraudVerdictFilter()
            filter.limit = 1000
            change(&filter)
            return try await desk.verdicts(org: org, filter)["verdicts"]?.array ?? []
        }

        func list(_ list: String, _ kind: String, _ value: String, network: String? = nil) async throws -> FraudEntry {
            var body: [String: JSONValue] = ["list": .string(list), "kind": .string(kind), "value": .string(value)]
            if let network { body["network"] = .string(network) }
            return try await desk.add(try FraudEntryWish(.object(body), org: "o"), org: "o", actor: "k")
        }
    }

    private final class Asked: Sendable {
        private let orgs = Mutex<[String]>([])
        func add(_ org: String) { orgs.withLock { $0.append(org) } }
        var all: [String] { orgs.withLock { $0 } }
    }

    private static let engines: [Dialect] = [.sqlite, .postgres]

    @Test(arguments: engines) func `an install is judged once, and its verdicts stand`(_ engine: Dialect) async throws {
        let world = try World(on: engine)
        let first = try await world.install(1, delay: .milliseconds(200))
        #expect(first.install == .clean)
        #expect(first.touches == [FraudVerdict(outcome: .rejected, codes: ["ctit_impossible"])])
        let again = try await world.install(1, delay: .milliseconds(200))
        #expect(again.install == first.install && again.touches == first.touches)
        let all = try await world.verdicts { ($0.subject, $0.history) = (World.id(1, 1), true) }
        #expect(
            all.count == 2 && all.allSatisfy { $0["number"] == 1 && $0["version"] == 0 && $0["stage"] == "install" })
        #expect(try await world.verdicts(org: "other").isEmpty)
        #expect(try await world.verdicts { $0.code = .ctitImpossible }.count == 1)
        #expect(try await world.verdicts { $0.outcome = .suspect }.isEmpty)
        #expect(try await world.verdicts { $0.subject = World.id(2, 1) }.count == 1)
        #expect(try await world.verdicts { $0.subject = World.id(1, 1) }.count == 2)
        #expect(try await world.verdicts { $0.publisher = "p" }.count == 1)
        #expect(try await world.verdicts { $0.to = world.open.clock.now - .seconds(3600) }.isEmpty)
        #expect(try await world.verdicts { $0.from = world.open.clock.now - .seconds(3600) }.count == 2)
        #expect(try await world.desk.review(org: "o").changed == 0 && world.asked.all.isEmpty)
        await world.log.close()
    }

    @Test func `pages of verdicts hold each of them once`() async throws {
        let world = try World()
        for number in 0..<7 { try await world.install(number) }
        var (seen, after, pages): ([String], FraudVerdictFilter.Cursor?, Int) = ([], nil, 0)
        repeat {
            var filter = FraudVerdictFilter()
            (filter.limit, filter.after) = (4, after)
            let page = try await world.desk.verdicts(org: "o", filter)
            seen += (page["verdicts"]?.array ?? []).map(\.canonical)
            after = page["next"]?.string.flatMap { FraudVerdictFilter.Cursor($0) }
            pages += 1
        } while after != nil && pages < 10
        #expect(seen.count == 14 && Set(seen).count == 14)
        await world.log.close()
    }

    @Test(arguments: engines) func `lists come before rules, and taking an entry off gives credit back`(
        _ engine: Dialect
    ) async throws {
        let world = try World(on: engine)
        try await world.install(1)
        let denied = try await world.list("deny", "publisher", "p", network: "net")
        #expect(try await world.list("deny", "publisher", "p", network: "net") == denied, "once is enough")
        #expect(try await world.install(2).touches[0].codes == ["deny_listed"])
        #expect(try await world.install(3, publisher: "q").touches[0] == .clean)
        let review = try await world.desk.review(org: "o")
        #expect(review.changed == 1 && world.asked.all == ["o"])
        let late = try await world.verdicts { $0.subject = World.id(2, 1) }
        #expect(late[0]["stage"] == "after" && late[0]["reason"] == "deny publisher net/p" && late[0]["version"] == 1)
        // An allowed network wins over the denied publisher.
        let allowed = try await world.list("allow", "network", "net")
        #expect(try await world.install(4).touches[0] == FraudVerdict(outcome: .clean, codes: ["allow_listed"]))
        try await world.desk.remove(allowed.id, org: "o", actor: "k")
        try await world.desk.remove(denied.id, org: "o", actor: "k")
        await #expect(throws: FraudError.unknownEntry) {
            try await world.desk.remove(denied.id, org: "o", actor: "k")
        }
        await #expect(throws: FraudError.unknownEntry) {
            try await world.desk.remove(World.id(9, 9), org: "o", actor: "k")
        }
        _ = try await world.desk.review(org: "o")
        #expect(try await world.verdicts().allSatisfy { $0["outcome"] == "clean" && $0["reason"] == .null })
        #expect(try await world.desk.audit(org: "o", limit: 10).count == 4)
        #expect(try await world.desk.audit(org: "other", limit: 10).isEmpty)
        await world.log.close()
    }

    @Test func `devices, ranges and hashes of addresses are listed too`() async throws {
        let world = try World()
        _ = try await world.list("deny", "device", "D-1")
        _ = try await world.list("deny", "address", "203.0.113.0/24")
        _ = try await world.list("deny", "address", "hash-7")
        _ = try await world.list("deny", "address", "2001:db8::/32")
        #expect(try await world.install(1).install.codes == ["deny_listed"])
        let four = try await world.install(2) { $0.addressNetwork = "203.0.113.0" }
        #expect(four.install.outcome == .rejected && four.touches[0].outcome == .rejected)
        #expect(try await world.install(3) { $0.addressNetwork = "203.0.114.0" }.install == .clean)
        #expect(try await world.install(4) { $0.addressHash = "hash-7" }.install.outcome == .rejected)
        #expect(try await world.install(5) { $0.addressNetwork = "2001:db8:1::" }.install.outcome == .rejected)
        for body: JSONValue in [
            [:], ["list": "deny", "kind": "address", "value": "203.0.113.7"],
            ["list": "deny", "kind": "address", "value": "203.0.113.0/25"],
            ["list": "deny", "kind": "device", "value": "0000-0000"], ["list": "no", "kind": "device", "value": "d"],
            ["list": "deny", "kind": "network", "value": "n", "network": "n"],
            ["list": "deny", "kind": "network", "value": "n", "more": 1],
        ] {
            #expect(throws: FraudError.self, "\(body.canonical)") { try FraudEntryWish(body, org: "o") }
        }
        await world.log.close()
    }

    @Test(arguments: engines) func `rules hold from their start, and a look applies them to what was before`(
        _ engine: Dialect
    ) async throws {
        let world = try World(on: engine)
        try await world.install(1, delay: .seconds(15))
        let later = try await world.desk.save(["limits": ["ctit_fast_seconds": 20]], org: "o", actor: "k")
        #expect(later.version == 1)
        #expect(try await world.desk.review(org: "o").changed == 0, "it holds from now on")
        world.open.clock.advance(by: .seconds(7200))
        #expect(try await world.install(2, delay: .seconds(15)).touches[0].codes == ["ctit_fast"])
        let body: JSONValue = ["limits": ["ctit_fast_seconds": 20], "starts_at": "2020-01-01"]
        _ = try await world.desk.save(body, org: "o", actor: "k")
        #expect(try await world.desk.review(org: "o").changed == 1)
        #expect(try await world.desk.review(org: "o").changed == 0)
        let history = try await world.verdicts { ($0.subject, $0.history) = (World.id(2, 1), true) }
        #expect(history.map { $0["outcome"] } == ["suspect", "clean"])
        #expect(try await world.desk.rules(org: "o").map(\.version) == [2, 1])
        await #expect(throws: FraudError.self) {
            try await world.desk.save(["starts_at": "soon"], org: "o", actor: "k")
        }
        await world.log.close()
    }

    @Test(arguments: engines) func `a farm is rejected as a whole once it is known to be one`(
        _ engine: Dialect
    ) async throws {
        let world = try World(on: engine)
        var last = FraudVerdict.clean
        for number in 0..<102 {
            last = try await world.install(number, ago: .seconds(3000 - number)) { $0.addressHash = "farm" }.install
        }
        #expect(last.codes == ["device_farm"])
        #expect(try await world.verdicts { ($0.outcome, $0.code) = (.rejected, .deviceFarm) }.count == 4)
        _ = try await world.desk.review(org: "o")
        #expect(try await world.verdicts { ($0.outcome, $0.code) = (.rejected, .deviceFarm) }.count == 204)
        await world.log.close()
    }

    @Test(arguments: engines) func `a proposal is confirmed and undone, and verdicts follow`(
        _ engine: Dialect
    ) async throws {
        let world = try World(on: engine)
        for number in 0..<60 {
            try await world.install(number, delay: number < 24 ? .milliseconds(10) : .seconds(90), publisher: "bad")
        }
        for number in 100..<160 { try await world.install(number, publisher: "good") }
        let review = try await world.desk.review(org: "o")
        #expect(review.proposals == 1)
        #expect(try await world.desk.review(org: "o").proposals == 0)
        let open = try await world.desk.proposals(org: "o", state: .open, limit: 10)
        #expect(open.map(\.publisher) == ["bad"] && open[0].action == .deny && open[0].rejected == 24)
        #expect(try await world.desk.proposals(org: "other", state: nil, limit: 10).isEmpty)
        let publishers = try await world.desk.publishers(org: "o", limit: 10)["publishers"]?.array ?? []
        #expect(publishers.map { $0["grade"] } == ["deny", "green"])
        await #expect(throws: FraudError.unknownProposal) {
            try await world.desk.decide(open[0].id, .confirm, org: "other", actor: "k")
        }
        let confirmed = try await world.desk.decide(open[0].id, .confirm, org: "o", actor: "k")
        #expect(confirmed.state == .confirmed && confirmed.entry != nil && confirmed.actor == "k")
        await #expect(throws: FraudError.decided("confirmed")) {
            try await world.desk.decide(open[0].id, .confirm, org: "o", actor: "k")
        }
        #expect(try await world.desk.review(org: "o").changed == 60)
        #expect(try await world.verdicts { $0.code = .denyListed }.count == 60)
        let undone = try await world.desk.decide(open[0].id, .undo, org: "o", actor: "k")
        #expect(undone.state == .undone)
        #expect(try await world.desk.entries(org: "o").isEmpty)
        let after = try await world.desk.review(org: "o")
        #expect(after.changed == 60 && after.proposals == 0, "what a person undid is not proposed at once")
        #expect(try await world.verdicts { $0.outcome = .rejected }.count == 24)
        world.open.clock.advance(by: .seconds(29 * 86_400))
        #expect(try await world.desk.review(org: "o").proposals == 0)
        await world.log.close()
    }

    @Test func `what was found of an app's publishers ends with its installs`() async throws {
        let world = try World()
        for number in 0..<60 { try await world.install(number, delay: .milliseconds(10), publisher: "bad") }
        for number in 100..<160 { try await world.install(number, publisher: "good") }
        #expect(try await world.desk.review(org: "o").proposals == 1)
        world.open.clock.advance(by: .seconds(31 * 86_400))
        let later = try await world.desk.review(org: "o")
        #expect([later.installs, later.changed, later.patterns, later.proposals] == [0, 0, 0, 0])
        #expect(!later.isCut)
        #expect(try await world.desk.publishers(org: "o", limit: 10)["publishers"] == [])
        #expect(try await world.desk.proposals(org: "o", state: nil, limit: 10).map(\.state) == [.withdrawn])
        await world.log.close()
    }

    @Test func `a replay shows the difference and stores nothing`() async throws {
        let world = try World()
        for number in 0..<10 { try await world.install(number, delay: .seconds(number < 4 ? 15 : 90)) }
        let before = try await world.verdicts()
        let body: JSONValue = ["rules": ["limits": ["ctit_fast_seconds": 20, "suspects_reject": 1]], "days": 5]
        let answer = try await world.desk.replay(body, org: "o")
        #expect(answer["installs"] == 10 && answer["changes"] == ["touch clean → rejected": 4])
        #expect(answer["codes_after"] == ["ctit_fast": 4] && answer["codes_before"] == [:])
        #expect(answer["publishers"]?.array?.first?["rejected_after"] == 4)
        #expect(answer["examples"]?.array?.count == 4)
        #expect(try await world.verdicts() == before && world.asked.all.isEmpty)
        #expect(try await world.desk.replay(["rules": [:], "app": "x"], org: "o")["installs"] == 0)
        for wrong: JSONValue in [[:], ["rules": [:], "days": 91], ["rules": ["x": 1]], ["rules": [:], "app": 1]] {
            await #expect(throws: FraudError.self) { try await world.desk.replay(wrong, org: "o") }
        }
        await world.log.close()
    }

    // MARK: with the log

    private static func line(_ id: UID, _ type: String, _ at: Timestamp, _ more: String) -> String {
        line(id.hex, type, at, more)
    }

    private static func line(_ id: String, _ type: String, _ at: Timestamp, _ more: String) -> String {
        "{\"id\":\"\(id)\",\"type\":\"\(type)\",\"ts\":\"\(at.rfc3339)\",\(more)}"
    }

    @Test func `clicks and the second day are read from the log`() async throws {
        let world = try World()
        let now = world.open.clock.now
        var lines: [String] = []
        for number in 0..<40 {
            let publisher = number < 30 ? "loud" : "calm"
            lines.append(
                Self.line(
                    World.id(5, number), "click", now - .seconds(4 * 86_400),
                    "\"device_id\":\"c-\(number)\",\"campaign\":{\"network\":\"net\",\"publisher_id\":\"\(publisher)\"}"
                ))
        }
        for number in 0..<60 {
            let at = now - .seconds(3 * 86_400)
            lines.append(Self.line(World.id(1, number), "install", at, "\"device_id\":\"d-\(number)\""))
            guard number >= 30 else { continue }
            lines.append(
                Self.line(World.id(6, number), "open", at + .seconds(30 * 3600), "\"device_id\":\"d-\(number)\""))
        }
        let receipt = try await world.log.capture.submit(
            Array(lines.joined(separator: "\n").utf8), format: .ndjson, source: CaptureSource(org: "o", app: "game"),
            receivedAt: now)
        #expect(receipt.stored + receipt.late == 130)
        for number in 0..<60 {
            try await world.install(number, publisher: number < 30 ? "loud" : "calm", ago: .seconds(3 * 86_400))
        }
        let limits: JSONValue = ["activity_installs_min": 20, "flooding_clicks_per_install": 10]
        _ = try await world.desk.save(["limits": limits, "starts_at": "2020-01-01"], org: "o", actor: "k")
        #expect(try await world.desk.review(org: "o").patterns == 1)
        let found = try await world.desk.publishers(org: "o", limit: 10)["publishers"]?.array ?? []
        let loud = found.first { $0["publisher"] == "loud" }?["patterns"]?.array ?? []
        #expect(loud.map { $0["code"] } == ["no_activity"])
        #expect(loud.first?["n"] == 30 && loud.first?["share"]?.double == 0 && loud.first?["reference"]?.double == 0.5)
        #expect(try await world.install(900, publisher: "loud").touches[0].codes == ["no_activity"])
        await world.log.close()
    }

    /// Ids of clicks as senders write them: digits, and any text.
    @Test(arguments: [nil, "click-of-a-sender", "0190F2A4-C3D8-7B61-A5E2-F01C9D3B4A56"])
    func `a run over the log leaves rejected touches out, and the visit they led to`(id: String?) async throws {
        let world = try World()
        let now = world.open.clock.now
        let stolen = id ?? World.id(2, 2).hex
        func touch(_ number: Int, _ campaign: String, _ at: Timestamp) -> [String] {
            let told =
                "\"url\":\"https://shop.example/\",\"anonymous_id\":\"a\",\"click_id\":\"k-\(number)\","
                + "\"campaign\":{\"name\":\"\(campaign)\"}"
            return [
                Self.line(number == 2 ? stolen : World.id(2, number).hex, "click", at, told),
                Self.line(World.id(3, number), "page", at + .seconds(2), told + ",\"session_id\":\"s-\(number)\""),
            ]
        }
        let lines =
            touch(1, "honest", now - .seconds(9000)) + touch(2, "stolen", now - .seconds(3601))
            + [
                Self.line(
                    World.id(4, 1), "conversion", now - .seconds(60),
                    "\"name\":\"purchase\",\"anonymous_id\":\"a\",\"value\":10,\"currency\":\"USD\"")
            ]
        let receipt = try await world.log.capture.submit(
            Array(lines.joined(separator: "\n").utf8), format: .ndjson, source: CaptureSource(org: "o", app: "game"),
            receivedAt: now)
        #expect(receipt.stored + receipt.late == 5)
        let store = world.log.store
        let attribution = LogAttribution(
            database: world.open.database, source: store, persons: { store.persons(org: $0) },
            folder: world.open.folder.file("runs"), clock: world.open.clock, registry: world.open.registry,
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
        func credited(_ run: UInt64) async throws -> (campaigns: [String?], rejected: JSONValue?) {
            let summary = try await attribution.run(
                LogAttribution.Wish(conversion: "purchase"), org: "o", id: UID(high: 0, low: run))
            let report = try await attribution.report(
                org: "o", conversion: "purchase", model: .rule(.last), by: .campaign)
            return (
                (report["lines"]?.array ?? []).map { $0["key"]?.string },
                summary.json["results"]?.array?.first?["rejected_as_fraud"]
            )
        }
        #expect(try await credited(1) == (["stolen"], 0))
        let verdict = try await world.install(2, delay: .milliseconds(999), click: stolen)
        let found = try await world.verdicts { $0.subject = UID.ofEvent(stolen) }
        #expect(found.map { $0["event_id"]?.string } == [stolen])
        #expect(verdict.touches[0].outcome == .rejected)
        let after = try await credited(2)
        #expect(after.campaigns == ["honest"] && after.rejected == 1)
        await world.log.close()
    }
}
