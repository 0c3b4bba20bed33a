internal import Accounts
internal import Attribution
internal import AurumCore
internal import Database
internal import Events
internal import Gateway
internal import HTTPTypes
internal import Logging
internal import Synchronization
internal import Telemetry
internal import TestSupport
import Testing

/// Fraud rules over the real routes and a real database.
struct FraudRouteTests {
    private final class Asked: Sendable {
        private let count = Mutex(0)
        func add() { count.withLock { $0 += 1 } }
        var all: Int { count.withLock { $0 } }
    }

    private struct Gateway {
        let open: OpenDatabase
        let harness: CaptureHarness
        let desk: FraudDesk
        let asked = Asked()
        let writer: String
        let reader: String

        init() async throws {
            let open = try OpenDatabase()
            let quiet = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }
            let desk = FraudDesk(
                database: open.database, clock: open.clock, registry: open.registry, logger: quiet)
            let asked = asked
            harness = try await CaptureHarness(register: { book, access, _ in
                FraudRoutes(
                    access: access,
                    parts: FraudParts(desk) { _ in
                        asked.add()
                        return UID(high: 1, low: 2)
                    }
                ).register(in: book)
            })
            (self.open, self.desk) = (open, desk)
            writer = try await harness.key(scopes: [.campaignsWrite])
            reader = try await harness.key(scopes: [.analyticsRead])
        }

        func get(_ path: String) async throws -> CaptureHarness.Answer {
            try await harness.call(.get, "/v1/fraud/" + path, key: reader)
        }

        func send(
            _ method: HTTPRequest.Method, _ path: String, _ body: String = "", key: String? = nil
        ) async throws -> CaptureHarness.Answer {
            try await harness.call(
                method, "/v1/fraud/" + path, Array(body.utf8), ["content-type": "application/json"],
                key: key ?? writer)
        }

        /// Installs of one publisher, so many of them right after their click.
        func installs(_ count: Int, fast: Int, org: String = "acme") async throws {
            let judge = FraudJudge(database: open.database, registry: open.registry)
            for number in 0..<count {
                var facts = InstallFacts(
                    org: org, app: "shop", id: UID(high: 1, low: UInt64(number)), at: open.clock.now - .seconds(600))
                facts.deviceID = "d-\(number)"
                let delay: Duration = number < fast ? .milliseconds(5) : .seconds(60)
                var touch = CandidateTouch(
                    id: UID(high: 2, low: UInt64(number)), at: facts.at - delay, kind: .click)
                (touch.network, touch.publisher) = ("net", "pub")
                _ = try await judge.verdicts(of: facts, [touch])
            }
        }
    }

    @Test func `every route answers on an empty server, and needs its scope`() async throws {
        let gateway = try await Gateway()
        for path in ["verdicts", "rules", "lists", "publishers", "proposals", "audit"] {
            let answer = try await gateway.get(path)
            #expect(answer.status == 200, "\(path): \(answer.text)")
            #expect(try await gateway.harness.call(.get, "/v1/fraud/" + path).status == 401, "\(path)")
            #expect(
                try await gateway.harness.call(.get, "/v1/fraud/" + path, key: gateway.writer).status == 403, "\(path)")
        }
        let id = UID(high: 3, low: 4).hex
        for (method, path) in [
            (HTTPRequest.Method.put, "rules"), (.post, "lists"), (.delete, "lists/\(id)"), (.post, "proposals/\(id)"),
            (.post, "replay"), (.post, "review"),
        ] {
            #expect(try await gateway.send(method, path, "{}", key: gateway.reader).status == 403, "\(path)")
        }
        #expect(gateway.asked.all == 0)
        await gateway.harness.log.close()
    }

    @Test(arguments: [
        "verdicts?code=odd", "verdicts?outcome=odd", "verdicts?from=soon", "verdicts?after=1-2",
        "verdicts?from=2026-01-02&to=2026-01-01", "verdicts?history=maybe", "verdicts?history=true", "verdicts?limit=0",
        "verdicts?limit=1001",
        "verdicts?publisher=%00", "proposals?state=odd", "publishers?limit=x", "rules?limit=0", "audit?limit=0",
    ])
    func `a wrong question is refused with its reason`(path: String) async throws {
        let gateway = try await Gateway()
        let answer = try await gateway.get(path)
        #expect(answer.status == 400 && answer.code == "bad_query", "\(answer.text)")
        await gateway.harness.log.close()
    }

    @Test func `rules and lists are changed, and each change asks for a look`() async throws {
        let gateway = try await Gateway()
        let saved = try await gateway.send(.put, "rules", #"{"limits":{"ctit_fast_seconds":12}}"#)
        #expect(saved.status == 200, "\(saved.text)")
        let rules = try await gateway.get("rules").json
        #expect(rules["standard"]?["ctit_fast_seconds"]?.double == 10)
        #expect(rules["versions"]?.array?.first?["effective"]?["ctit_fast_seconds"]?.double == 12)
        #expect(try await gateway.send(.put, "rules", #"{"limits":{"x":1}}"#).status == 422)
        #expect(try await gateway.send(.put, "rules", "{").status == 400)
        let added = try await gateway.send(.post, "lists", #"{"list":"deny","kind":"network","value":"bad"}"#)
        #expect(added.status == 201, "\(added.text)")
        let entries = try await gateway.get("lists").json["entries"]?.array ?? []
        #expect(entries.count == 1 && entries[0]["value"] == "bad")
        #expect(try await gateway.send(.post, "lists", #"{"list":"deny"}"#).status == 422)
        let id = added.json["id"]?.string ?? ""
        #expect(try await gateway.send(.delete, "lists/\(id)").status == 200)
        let gone = try await gateway.send(.delete, "lists/\(id)")
        #expect(gone.status == 404 && gone.code == "fraud_entry_unknown", "\(gone.text)")
        #expect(try await gateway.send(.delete, "lists/x").code == "fraud_entry_unknown")
        #expect(try await gateway.get("audit").json["audit"]?.array?.count == 3)
        #expect(gateway.asked.all == 3)
        let review = try await gateway.send(.post, "review")
        #expect(review.status == 202 && gateway.asked.all == 4, "\(review.text)")
        await gateway.harness.log.close()
    }

    @Test func `verdicts are shown, proposals are decided, and a replay shows what would differ`() async throws {
        let gateway = try await Gateway()
        try await gateway.installs(60, fast: 30)
        try await gateway.installs(5, fast: 0, org: "other")
        let rejected = try await gateway.get("verdicts?outcome=rejected&code=ctit_impossible&publisher=pub&limit=20")
        #expect(rejected.json["verdicts"]?.array?.count == 20, "\(rejected.text)")
        let next = rejected.json["next"]?.string ?? ""
        let rest = try await gateway.get("verdicts?outcome=rejected&limit=20&after=\(next)")
        #expect(rest.json["verdicts"]?.array?.count == 10)
        _ = try await gateway.desk.review(org: "acme")
        let proposals = try await gateway.get("proposals?state=open").json["proposals"]?.array ?? []
        #expect(proposals.count == 1 && proposals[0]["share"]?.double == 0.5)
        let id = proposals.first?["id"]?.string ?? ""
        #expect(try await gateway.send(.post, "proposals/\(id)", #"{"decision":"maybe"}"#).status == 422)
        let decided = try await gateway.send(.post, "proposals/\(id)", #"{"decision":"confirm"}"#)
        #expect(decided.status == 200 && decided.text.contains("confirmed"), "\(decided.text)")
        let twice = try await gateway.send(.post, "proposals/\(id)", #"{"decision":"dismiss"}"#)
        #expect(twice.status == 409 && twice.code == "fraud_proposal_decided", "\(twice.text)")
        let unknown = try await gateway.send(
            .post, "proposals/\(UID(high: 9, low: 9).hex)", #"{"decision":"confirm"}"#)
        #expect(unknown.status == 404 && unknown.code == "fraud_proposal_unknown")
        let publishers = try await gateway.get("publishers").json["publishers"]?.array ?? []
        #expect(publishers.count == 1 && publishers[0]["grade"] == "deny" && publishers[0]["rejected"] == 30)
        let entry = try await gateway.get("lists").json["entries"]?.array?.first?["id"]?.string ?? ""
        #expect(try await gateway.send(.delete, "lists/\(entry)").status == 200)
        let replay = try await gateway.send(
            .post, "replay", #"{"rules":{"off":["ctit_impossible"]},"days":7}"#)
        #expect(replay.status == 200, "\(replay.text)")
        #expect(replay.json["installs"] == 60)
        #expect(replay.json["changes"]?["touch rejected → clean"] == 30)
        #expect(try await gateway.send(.post, "replay", #"{"days":7}"#).status == 422)
        await gateway.harness.log.close()
    }
}
