import Attribution
import AurumCore
import Crypto
import Database
import Foundation
import Telemetry
import TestSupport
import Testing

/// What conversion values of postbacks mean, by schemas in versions, against sums made by hand.
struct PostbackValueTests {
    /// Devices that post what a key of the test signs.
    private struct World {
        let open: OpenDatabase
        let key = P256.Signing.PrivateKey()
        let store: PostbackStore

        init(on engine: Dialect = .ofTestRun) throws {
            open = try OpenDatabase(on: engine)
            store = PostbackStore(
                database: open.database, clock: open.clock,
                keys: PostbackKeys(base64: [
                    PostbackKeys.production: key.publicKey.derRepresentation.base64EncodedString()
                ]), registry: open.registry)
        }

        @discardableResult
        func post(
            _ transaction: String, source: String = "1234", window: Int = 0, didWin: Bool = true,
            _ unsigned: [String: JSONValue] = [:]
        ) async throws -> PostbackReceipt.State {
            let text = [
                "4.0", "world.example", source, "77", transaction, "false", "1", String(didWin), String(window),
            ].joined(separator: "\u{2063}")
            let signature = try key.signature(for: Data(text.utf8)).derRepresentation.base64EncodedString()
            let body: [String: JSONValue] = [
                "version": "4.0", "ad-network-id": "world.example", "source-identifier": .string(source), "app-id": 77,
                "transaction-id": .string(transaction), "redownload": false, "fidelity-type": 1,
                "did-win": .bool(didWin), "postback-sequence-index": .integer(Int64(window)),
                "attribution-signature": .string(signature),
            ]
            return try await store.receive(PostbackVectors.bytes(body.merging(unsigned) { $1 })).state
        }

        func save(_ schema: JSONValue, app: Int64 = 77) async throws -> SavedConversionSchema {
            try await store.schemas.save(schema, org: "default", appID: app, actor: "key")
        }

        func summary(by dimension: PostbackQuestion.Dimension) async throws -> JSONValue {
            var question = PostbackQuestion()
            question.dimension = dimension
            return try await store.summary(org: "default", question)
        }

        /// Two versions of a schema, four postbacks on 21 November and three on 5 December.
        func fill() async throws {
            #expect(try await save(PostbackValueTests.first).version == 1)
            #expect(try await save(PostbackValueTests.second).version == 2)
            try await post("a", ["conversion-value": 20])
            try await post("b")
            try await post("c", didWin: false)
            try await post("d", source: "99", window: 1, ["coarse-conversion-value": "high"])
            open.clock.advance(by: .seconds(14 * 86_400))
            try await post("e", ["conversion-value": 63])
            try await post("f", source: "99", ["conversion-value": 5])
            try await post("g", source: "99", ["conversion-value": 64])
        }
    }

    private static let first: JSONValue = [
        "starts_at": "2026-11-01", "currency": "usd",
        "fine": [
            ["from": 0, "events": ["install"]], ["from": 1, "to": 9, "events": ["signup"]],
            [
                "from": 10, "to": 63, "events": ["signup", "purchase"], "revenue_min_minor": 100,
                "revenue_max_minor": 500,
            ],
        ],
        "coarse": [
            ["value": "high", "events": ["purchase"], "revenue_min_minor": 100],
            [
                "value": "high", "window": 1, "events": ["purchase"], "revenue_min_minor": 200,
                "revenue_max_minor": 900,
            ],
        ],
    ]
    private static let second: JSONValue = [
        "starts_at": "2026-11-19", "currency": "USD",
        "fine": [
            ["from": 10, "to": 63, "events": ["purchase"], "revenue_min_minor": 1000, "revenue_max_minor": 3000]
        ],
    ]

    @Test(arguments: Dialect.allCases) func `sums of a campaign are those made by hand`(
        _ engine: Dialect
    ) async throws {
        let world = try World(on: engine)
        try await world.fill()
        let answer = try await world.summary(by: .campaign)
        let lines = answer["lines"]?.array ?? []
        #expect(lines.map { $0["campaign"]?.string } == ["1234", "99"], "\(answer.canonical)")
        func check(_ line: JSONValue?, _ wanted: [String: Int64]) {
            for (name, count) in wanted { #expect(line?[name]?.integer == count, "\(name) \(answer.canonical)") }
        }
        // 20 was read by the first version, 63 by the second.
        check(
            lines.first,
            [
                "postbacks": 4, "won": 3, "lost": 1, "conversions": 3, "fine": 2, "coarse": 0, "decoded": 2,
                "uncertain": 1,
            ])
        #expect(lines.first?["events"] == ["purchase": 2, "signup": 1])
        #expect(lines.first?["share_without_value"]?.double == 1.0 / 3)
        #expect(
            lines.first?["revenue"] == [
                ["currency": "USD", "postbacks": 2, "low_minor": 1100, "mid_minor": 2300, "high_minor": 3500]
            ])
        // The second version has no 5, and nobody sends 64.
        check(
            lines.last,
            ["postbacks": 3, "won": 3, "lost": 0, "conversions": 2, "fine": 1, "coarse": 1, "decoded": 1])
        #expect(
            lines.last?["not_decoded"] == ["no_value": 0, "no_schema": 0, "not_in_schema": 1, "unknown_value": 1])
        #expect(lines.last?["revenue"]?.array?.first?["mid_minor"] == 550)
        let totals = answer["totals"]
        check(totals, ["postbacks": 7, "won": 6, "decoded": 3])
        #expect(totals?["revenue"]?.array?.first?["low_minor"] == 1300)
        #expect(totals?["revenue"]?.array?.first?["high_minor"] == 4400)
        #expect(answer["values_are_signed"] == false && answer["unread"] == 0 && answer["is_cut"] == false)

        let windows = try await world.summary(by: .window)["lines"]?.array ?? []
        #expect(windows.map { [$0["window"]?.integer, $0["postbacks"]?.integer] } == [[0, 6], [1, 1]])
        let days = try await world.summary(by: .day)["lines"]?.array ?? []
        #expect(days.map { $0["day"]?.string } == ["2026-12-05", "2026-11-21"])
        #expect(days.map { $0["postbacks"]?.integer } == [3, 4])
        #expect(try await world.summary(by: .network)["lines"]?.array?.first?["network"] == "world.example")
        #expect(try await world.summary(by: .app)["lines"]?.array?.first?["app_id"] == 77)
    }

    @Test func `a value is read by the schema that held when its window opened`() async throws {
        let world = try World()
        try await world.fill()
        func value(_ transaction: String) async throws -> JSONValue? {
            let list = try await world.store.document(org: "default", PostbackFilter())
            return list["postbacks"]?.array?.first { $0["transaction_id"]?.string == transaction }?["value"]
        }
        // Its window opened three days before it came in, on the 18th, unless the app locked it.
        let old = try await value("a")
        #expect(old?["schema_version"] == 1 && old?["is_uncertain"] == true && old?["claimed"] == 20)
        #expect(old?["revenue"] == ["currency": "USD", "min_minor": 100, "max_minor": 500])
        let new = try await value("e")
        #expect(new?["schema_version"] == 2 && new?["is_uncertain"] == false && new?["events"] == ["purchase"])
        #expect(try await value("b") == ["kind": "none", "claimed": .null, "reason": "no_value"])
        #expect(try await value("d")?["revenue"]?["min_minor"] == 200)
        #expect(try await value("g")?["reason"] == "unknown_value")
        // A later version replaces everything from its day on.
        let third: JSONValue = ["starts_at": "2026-11-02", "currency": "EUR", "fine": [["from": 63]]]
        #expect(try await world.save(third).version == 3)
        #expect(try await value("e")?["revenue"]?["currency"] == "EUR")
        #expect(try await value("a")?["reason"] == "not_in_schema")
    }

    @Test func `postbacks before any schema, of other apps and of development are not read`() async throws {
        let world = try World()
        try await world.post("a", ["conversion-value": 20])
        _ = try await world.save(Self.first, app: 78)
        #expect(try await world.summary(by: .app)["totals"]?["not_decoded"]?["no_schema"] == 1)
        _ = try await world.save(["currency": "USD", "fine": [["from": 20]]])
        #expect(try await world.summary(by: .app)["totals"]?["not_decoded"]?["no_schema"] == 1)
        _ = try await world.save(["starts_at": "2026-11-18", "currency": "USD", "fine": [["from": 20]]])
        #expect(try await world.summary(by: .app)["totals"]?["decoded"] == 1)
    }

    @Test(arguments: Dialect.allCases) func `what an older release stored is read anew, once`(
        _ engine: Dialect
    ) async throws {
        let world = try World(on: engine)
        try await world.fill()
        let before = try await world.summary(by: .campaign)
        try await world.open.database.write("test.older") { transaction in
            _ = try transaction.run("UPDATE postbacks SET source = NULL, did_win = NULL, claimed_value = NULL")
        }
        #expect(try await world.summary(by: .campaign) == before)
        let left = try await world.open.database.read("test.left") { transaction in
            try transaction.value(Int.self, "SELECT COUNT(*) FROM postbacks WHERE source IS NULL")
        }
        #expect(left == 0)
    }

    @Test(arguments: Dialect.allCases) func `pages show every postback once, newest first`(
        _ engine: Dialect
    ) async throws {
        let world = try World(on: engine)
        for number in 0..<7 {
            try await world.post("t\(number)")
            if number == 4 { world.open.clock.advance(by: .seconds(60)) }
        }
        let all = try await world.store.document(org: "default", PostbackFilter())
        #expect(all["next"] == .null)
        let whole = all["postbacks"]?.array?.compactMap { $0["id"]?.string } ?? []
        var (filter, found, pages) = (PostbackFilter(), [String](), 0)
        filter.limit = 3
        while pages < 10 {
            pages += 1
            let page = try await world.store.document(org: "default", filter)
            found += page["postbacks"]?.array?.compactMap { $0["id"]?.string } ?? []
            guard let next = page["next"]?.string else { break }
            filter.after = PostbackPageMark(next)
            #expect(filter.after != nil)
        }
        #expect(pages == 3 && found == whole && Set(found).count == 7)
        for wrong in ["", "1", "x.y", "1.2", "1.\(String(repeating: "0", count: 32)).2"] {
            #expect(PostbackPageMark(wrong) == nil, "\(wrong)")
        }
        filter = PostbackFilter()
        filter.adNetwork = "other.example"
        #expect(try await world.store.document(org: "default", filter)["postbacks"] == [])
    }

    @Test func `a schema is kept as it was written, and the same once more is no version`() async throws {
        let world = try World()
        let saved = try await world.save(Self.first)
        let json = saved.json
        #expect(json["currency"] == "USD" && json["starts_at"] == "2026-11-01" && json["app_id"] == 77)
        #expect(json["fine"]?.array?.first?["to"] == 0 && json["coarse"]?.array?.last?["revenue_max_minor"] == 900)
        #expect(json["coarse"]?.array?.first?["revenue_max_minor"] == 100)
        #expect(try ConversionSchema(saved.schema.json) == saved.schema)
        #expect(try await world.save(Self.first).version == 1)
        #expect(try await world.save(Self.second).version == 2)
        let versions = try await world.store.schemas.versions(org: "default", appID: 77, limit: 10)
        #expect(versions.map(\.version) == [2, 1])
        _ = try await world.save(["currency": "USD"], app: 5)
        let newest = try await world.store.schemas.newest(org: "default")
        #expect(newest.map(\.appID) == [5, 77] && newest.map(\.version) == [1, 2])
        #expect(newest.first?.startsAt.rfc3339 == "2026-11-21T00:00:00.000Z")
        #expect(try await world.store.schemas.newest(org: "other").isEmpty)
    }

    @Test(arguments: [
        ("[]", "body"), (#"{}"#, "currency"), (#"{"currency":"US"}"#, "currency"),
        (#"{"currency":"USD","values":[]}"#, "values"), (#"{"currency":"USD","fine":{}}"#, "fine"),
        (#"{"currency":"USD","fine":[1]}"#, "fine[0]"), (#"{"currency":"USD","fine":[{}]}"#, "fine[0].from"),
        (#"{"currency":"USD","fine":[{"from":64}]}"#, "fine[0].from"),
        (#"{"currency":"USD","fine":[{"from":5,"to":4}]}"#, "fine[0].to"),
        (#"{"currency":"USD","fine":[{"from":1,"to":5},{"from":5}]}"#, "fine[1].from"),
        (#"{"currency":"USD","fine":[{"from":1,"event":"x"}]}"#, "fine[0].event"),
        (#"{"currency":"USD","fine":[{"from":1,"events":"x"}]}"#, "fine[0].events"),
        (#"{"currency":"USD","fine":[{"from":1,"events":[""]}]}"#, "fine[0].events"),
        (#"{"currency":"USD","fine":[{"from":1,"events":["x","x"]}]}"#, "fine[0].events"),
        (#"{"currency":"USD","fine":[{"from":1,"revenue_min_minor":-1}]}"#, "fine[0].revenue_min_minor"),
        (#"{"currency":"USD","fine":[{"from":1,"revenue_min_minor":1.5}]}"#, "fine[0].revenue_min_minor"),
        (
            #"{"currency":"USD","fine":[{"from":1,"revenue_min_minor":2,"revenue_max_minor":1}]}"#,
            "fine[0].revenue_max_minor"
        ),
        (#"{"currency":"USD","coarse":[{"value":"huge"}]}"#, "coarse[0].value"),
        (#"{"currency":"USD","coarse":[{"value":"low","window":3}]}"#, "coarse[0].window"),
        (#"{"currency":"USD","coarse":[{"value":"low"},{"value":"low"}]}"#, "coarse[1].value"),
        (#"{"currency":"USD","starts_at":"soon"}"#, "starts_at"),
    ]) func `what is wrong with a schema is named`(_ text: String, _ field: String) async throws {
        let world = try World()
        let body = try JSONDecoder().decode(JSONValue.self, from: Data(text.utf8))
        do {
            _ = try await world.save(body)
            Issue.record("\(text) was saved")
        } catch let error as ConversionSchemaError {
            guard case .invalid(field, _) = error else {
                Issue.record("\(text): \(error.sentence)")
                return
            }
        }
    }

    @Test func `a later window with a fine value, and lost postbacks with any, are worth nothing`() async throws {
        let world = try World()
        _ = try await world.save(Self.first)
        try await world.post("a", window: 1, ["conversion-value": 20])
        try await world.post("b", didWin: false, ["conversion-value": 20])
        let totals = try await world.summary(by: .window)["totals"]
        #expect(totals?["decoded"] == 0 && totals?["won"] == 1 && totals?["not_decoded"]?["unknown_value"] == 1)
        #expect(totals?["revenue"] == [])
    }

    @Test func `what comes in is counted by scheme and verdict`() async throws {
        let world = try World()
        try await world.post("a")
        try await world.post("a")
        try await world.post("a", ["country-code": "NY"])
        _ = try await world.store.receive(PostbackVectors.bytes(PostbackVectors.all[0].body))
        _ = try? await world.store.receive(Array("{".utf8))
        func received(_ scheme: String, _ verdict: String) -> Int64 {
            world.open.registry.counter(.postbacksReceived, scheme, verdict).value
        }
        #expect(received("skadnetwork", "valid") == 3 && received("skadnetwork", "invalid") == 1)
        #expect(received("unknown", "unreadable") == 1)
        #expect(world.open.registry.counter(.postbackDuplicates, "skadnetwork").value == 2)
    }
}
