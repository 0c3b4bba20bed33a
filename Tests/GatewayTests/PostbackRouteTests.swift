internal import Accounts
internal import Attribution
internal import AurumCore
internal import Database
internal import Events
internal import Gateway
internal import HTTPTypes
internal import Runtime
internal import TestSupport
import Testing

/// Postbacks as devices send them, through the real routes into a real database.
struct PostbackRouteTests {
    private static let body = """
        {"version":"4.0","ad-network-id":"com.example","source-identifier":"5239","app-id":525463029,\
        "transaction-id":"6aafb7a5-0170-41b5-bbe4-fe71dedf1e30","redownload":false,"source-domain":"example.com",\
        "fidelity-type":1,"did-win":true,"conversion-value":63,"postback-sequence-index":0,"attribution-signature":\
        "MEUCIGRmSMrqedNu6uaHyhVcifs118R5z/AB6cvRaKrRRHWRAiEAv96ne3dKQ5kJpbsfk4eYiePmrZUU6sQmo+7zfP/1Bxo="}
        """
    private static let paths = [
        "/.well-known/skadnetwork/report-attribution", "/.well-known/appattribution/report-attribution",
        "/v1/postbacks/skadnetwork", "/v1/postbacks/adattributionkit",
    ]

    private static func harness(
        _ open: OpenDatabase, org: String = "acme", burst: Int = 1000
    ) async throws -> CaptureHarness {
        try await CaptureHarness(register: { book, access, _ in
            PostbackRoutes(
                access: access, store: PostbackStore(database: open.database, clock: open.clock, org: org),
                limiter: MemoryRateLimiter(clock: open.clock),
                perAddress: .gcra("postback_address", 1, in: .seconds(1), burst: burst)
            ).register(in: book)
        })
    }

    @Test func `every receiver takes it without a key, with and without a slash, and counts it once`() async throws {
        let open = try OpenDatabase()
        let gateway = try await Self.harness(open)
        var states: [String] = []
        for path in Self.paths.flatMap({ [$0, $0 + "/"] }) {
            let answer = try await gateway.post(path, Self.body)
            #expect(answer.status == 200 && answer.json["verdict"] == "valid", "\(path) \(answer.text)")
            states.append(answer.json["state"]?.string ?? "")
        }
        #expect(states == ["counted"] + [String](repeating: "duplicate", count: 7))
        let forged = Self.body.replacing("5239", with: "5238")
        let answer = try await gateway.post(Self.paths[0], forged)
        #expect(answer.status == 200 && answer.json["verdict"] == "invalid" && answer.json["state"] == "refused")

        let key = try await gateway.key(scopes: [.analyticsRead])
        let list = try await gateway.call(.get, "/v1/attribution/postbacks", key: key)
        let rows = list.json["postbacks"]?.array ?? []
        #expect(list.status == 200 && rows.count == 2, "\(list.text)")
        let good = rows.first { $0["state"] == "counted" }
        #expect(good?["copies"]?.integer == 8 && good?["unsigned"]?["conversion-value"] == 63 && good?["tier"] == 3)
        #expect(good?["first_launch"]?["earliest"]?.string != nil)
        let some = try await gateway.call(.get, "/v1/attribution/postbacks?verdict=invalid&app_id=525463029", key: key)
        #expect(some.json["postbacks"]?.array?.count == 1)
        for query in ["state=maybe", "verdict=x", "limit=0", "app_id=x"] {
            let refused = try await gateway.call(.get, "/v1/attribution/postbacks?\(query)", key: key)
            #expect(refused.status == 400 && refused.code == "bad_query", "\(query)")
        }
        #expect(try await gateway.get("/v1/attribution/postbacks").status == 401)
        await gateway.log.close()
    }

    @Test func `a schema is saved, its mistakes are named, and list and summary read values by it`() async throws {
        let open = try OpenDatabase()
        let gateway = try await Self.harness(open)
        let (reader, writer) = (
            try await gateway.key(scopes: [.analyticsRead]), try await gateway.key(scopes: [.campaignsWrite])
        )
        _ = try await gateway.post(Self.paths[0], Self.body)
        let path = "/v1/attribution/postbacks/schemas/525463029"
        let schema =
            #"{"starts_at":"2026-11-01","currency":"USD","fine":[{"from":63,"events":["sale"],"revenue_min_minor":100,"#
            + #""revenue_max_minor":300}]}"#
        #expect(try await gateway.call(.put, path, Array(schema.utf8), key: reader).status == 403)
        let saved = try await gateway.call(.put, path, Array(schema.utf8), key: writer)
        #expect(saved.status == 200 && saved.json["version"] == 1, "\(saved.text)")
        let wrong = try await gateway.call(
            .put, path, Array(#"{"currency":"USD","fine":[{"from":64}]}"#.utf8), key: writer)
        #expect(wrong.status == 422 && wrong.text.contains("fine[0].from"), "\(wrong.text)")
        let noApp = try await gateway.call(
            .put, "/v1/attribution/postbacks/schemas/x", Array(schema.utf8), key: writer)
        #expect(noApp.status == 422 && noApp.text.contains("app_id"), "\(noApp.text)")

        let versions = try await gateway.call(.get, path, key: reader)
        #expect(versions.json["versions"]?.array?.count == 1)
        let all = try await gateway.call(.get, "/v1/attribution/postbacks/schemas", key: reader)
        #expect(all.json["schemas"]?.array?.first?["app_id"] == 525_463_029)
        let list = try await gateway.call(.get, "/v1/attribution/postbacks?limit=1", key: reader)
        let row = list.json["postbacks"]?.array?.first
        #expect(row?["value"]?["events"] == ["sale"] && row?["campaign"] == "5239", "\(list.text)")
        let next = list.json["next"]?.string ?? ""
        let rest = try await gateway.call(.get, "/v1/attribution/postbacks?after=\(next)", key: reader)
        #expect(rest.status == 200 && rest.json["postbacks"] == [] && rest.json["next"] == .null)
        let summary = try await gateway.call(
            .get, "/v1/attribution/postbacks/summary?group_by=network&app_id=525463029", key: reader)
        let line = summary.json["lines"]?.array?.first
        #expect(line?["network"] == "com.example" && line?["revenue"]?.array?.first?["mid_minor"] == 200)
        for query in ["?after=x", "/summary?group_by=x", "/summary?from=x", "/summary?days=0", "/summary?days=401"] {
            let refused = try await gateway.call(.get, "/v1/attribution/postbacks\(query)", key: reader)
            #expect(refused.status == 400 && refused.code == "bad_query", "\(query) \(refused.text)")
        }
        let long = try await gateway.call(
            .get, "/v1/attribution/postbacks/summary?from=2020-01-01&to=2026-01-01", key: reader)
        #expect(long.status == 400 && long.text.contains("at most 400 days"), "\(long.text)")
        await gateway.log.close()
    }

    @Test func `what is no postback is kept and refused, what is too large or too much is refused`() async throws {
        let open = try OpenDatabase()
        let gateway = try await Self.harness(open, burst: 4)
        for body in ["{\"version\":", "[1]"] {
            let answer = try await gateway.post(Self.paths[0], body)
            #expect(answer.status == 400 && answer.code == "malformed_body")
        }
        let large = try await gateway.post(Self.paths[0], String(repeating: " ", count: 16_385))
        #expect(large.status == 413 && large.code == "body_too_large")
        _ = try await gateway.post(Self.paths[0], Self.body)
        let fast = try await gateway.post(Self.paths[0], Self.body)
        #expect(fast.status == 429 && fast.code == "rate_limited")
        let kept = try await PostbackStore(database: open.database, clock: open.clock, org: "acme")
            .document(org: "acme", PostbackFilter())
        #expect(kept["quarantined"]?.integer == 2)
        await gateway.log.close()
    }

    @Test func `a database that is closed is 503, so that the device sends again`() async throws {
        let open = try OpenDatabase()
        let gateway = try await Self.harness(open)
        try open.database.close()
        for body in [Self.body, "{"] {
            let answer = try await gateway.post(Self.paths[2], body)
            #expect(answer.status == 503 && answer.code == "storage_failed", "\(answer.status) \(answer.text)")
        }
        await gateway.log.close()
    }
}
