import AurumCore
import Database
import Leads
import TestSupport
import Testing
import Validation

@Suite struct BuyerTests {
    @Test func `a buyer's credentials are kept and never shown`() async throws {
        let desk = try LeadDesk()
        try await desk.add("helios", ["secret": "s3cret-value", "bearerToken": "b3arer-value"])
        try await desk.add("helios", ["name": "Helios Solar"])
        let shown = try #require(try await desk.buyers.read(org: LeadDesk.org, code: "helios"))
        #expect(shown["name"] == "Helios Solar")
        #expect(shown["secretSet"] == true)
        #expect(shown["bearerTokenSet"] == true)
        let all = try await desk.buyers.list(org: LeadDesk.org).map(\.canonical).joined()
        #expect(!all.contains("s3cret") && !all.contains("b3arer"))
        let rows = try await desk.database.read("test.configuration") { tx in
            try tx.values(String.self, "SELECT configuration FROM buyers")
        }
        #expect(rows.allSatisfy { !$0.contains("s3cret") })
    }

    @Test func `what a registry answers can be put back as it is`() async throws {
        let desk = try LeadDesk()
        try await desk.add("helios", ["price": "12.50", "zips": ["11215"], "caps": [["unit": "week", "limit": 7]]])
        let shown = try #require(try await desk.buyers.read(org: LeadDesk.org, code: "helios"))
        let again = try await desk.buyers.put(org: LeadDesk.org, code: "helios", body: shown)
        #expect(again == shown)
    }

    @Test func `every problem of a configuration is listed`() {
        let body: JSONValue = [
            "state": "asleep", "post": "nowhere", "leadTypes": ["boats"], "maxLegs": 9, "timeZone": "Mars/Base",
            "currency": "DOLLAR", "price": "1.999", "minScore": 101, "zips": ["1"],
            "caps": [["unit": "year", "limit": 1]],
            "pingTimeoutMilliseconds": 1, "responseMap": ["outcome": 3], "idempotent": "yes", "colour": "red",
        ]
        do {
            _ = try BuyerBody(body, code: "UPPER", leadTypes: ["rooftop"], allowLoopback: false)
            Issue.record("accepted")
        } catch {
            guard case .invalid(let problems) = error else {
                Issue.record("\(error)")
                return
            }
            let fields = Set(problems.map(\.field))
            let expected: Set = [
                "code", "name", "state", "post", "leadTypes", "maxLegs", "timeZone", "currency", "price", "minScore",
                "zips", "caps", "pingTimeoutMilliseconds", "responseMap", "idempotent", "colour",
            ]
            #expect(fields == expected, "\(fields.symmetricDifference(expected))")
        }
    }

    @Test(arguments: [
        (200, #"{"outcome":"accepted","id":"7"}"#, PostAnswer.accepted(id: "7")),
        (201, #"{"outcome":"rejected","reason":"dup"}"#, .rejected("dup")),
        (200, #"{"outcome":"maybe"}"#, .unknown("unmapped_outcome")),
        (200, #"{"accepted":true}"#, .unknown("unreadable")),
        (200, "", .unknown("unreadable")), (500, #"{"outcome":"accepted"}"#, .unknown("http_500")),
        (500, #"{"outcome":"rejected"}"#, .unknown("http_500")), (408, "{}", .unknown("http_408")),
        (404, "{}", .unknown("unreadable")), (422, #"{"outcome":"rejected","reason":"zip"}"#, .rejected("zip")),
        (422, #"{"outcome":"accepted"}"#, .unknown("unmapped_outcome")), (429, "{}", .notSent("http_429")),
        (503, "{}", .unknown("http_503")), (401, "{}", .refused("http_401")),
        (302, #"{"outcome":"accepted"}"#, .unknown("unmapped_outcome")),
    ])
    func `a status code alone never decides`(status: Int, body: String, expected: PostAnswer) throws {
        let parsed = body.isEmpty ? nil : try JSONText.parse(body)
        #expect(ResponseMap().post(status: status, body: parsed, hasRetryAfter: false) == expected)
    }

    @Test func `a busy buyer that names a time has taken nothing`() {
        #expect(ResponseMap().post(status: 503, body: nil, hasRetryAfter: true) == .notSent("http_503"))
    }

    @Test func `a map of dot paths reads a buyer's own words`() throws {
        var map = ResponseMap()
        map.outcome = "result.code"
        map.accepted = ["0"]
        map.rejected = ["5", "6"]
        map.reason = "result.text"
        #expect(
            map.post(status: 200, body: try JSONText.parse(#"{"result":{"code":0}}"#), hasRetryAfter: false)
                == .accepted(id: nil))
        #expect(
            map.post(
                status: 200, body: try JSONText.parse(#"{"result":{"code":6,"text":"call me: 917-555\n"}}"#),
                hasRetryAfter: false) == .rejected("call me_ 917-555_"))
    }

    @Test(arguments: [
        (
            #"{"outcome":"bid","price":"182.00","currency":"USD","token":"t"}"#,
            PingAnswer.bid(.usd(cents: 18_200), token: "t")
        ),
        (#"{"outcome":"bid","price":"182.005"}"#, .unreadable("price")),
        (#"{"outcome":"bid","price":-1}"#, .unreadable("price")),
        (#"{"outcome":"bid","price":"1","currency":"EUR"}"#, .unreadable("currency")),
        (#"{"outcome":"decline","reason":"full"}"#, .declined("full")), (#"[]"#, .unreadable("http_200")),
    ])
    func `a bid must be exact money in the agreed currency`(body: String, expected: PingAnswer) throws {
        #expect(ResponseMap().ping(status: 200, body: try JSONText.parse(body), expected: .usd) == expected)
    }

    @Test func `faulty buyers over real HTTP end as they must, and the books agree`() async throws {
        let behaviours: [(String, BuyerBehaviour, String, String?)] = [
            ("good", .accept, "sold", "accepted"), ("no", .reject, "unsold", nil),
            ("liar", .lying, "unsold", "rejected"),
            ("twice", .duplicate, "unsold", "rejected"), ("odd", .createdWithRejectBody, "unsold", "rejected"),
            ("mute", .timeoutAfterAccept, "routing", "unknown"), ("noise", .malformed, "unsold", nil),
            ("slow", .slow, "unsold", nil),
        ]
        let fakes = behaviours.map { FakeBuyerConfiguration(code: $0.0, behaviour: $0.1, delay: .seconds(30)) }
        try await withBuyers(fakes) { server, url, client in
            try await withThrowingTaskGroup(of: Void.self) { group in
                for (code, _, state, leg) in behaviours {
                    group.addTask {
                        let desk = try LeadDesk()
                        try await desk.add(
                            code,
                            [
                                "ping": .string("\(url)/\(code)/ping"), "post": .string("\(url)/\(code)/post"),
                                "pingTimeoutMilliseconds": code == "slow" ? 500 : 5000,
                                "postTimeoutMilliseconds": code == "mute" ? 500 : 15_000,
                            ])
                        let receipt = try await desk.accept(desk.draft(1))
                        try await desk.work(client)
                        #expect(try await desk.state(receipt.id) == state, "\(code)")
                        let legs = try await desk.legs(receipt.id)
                        #expect(legs.first?["state"]?.string == leg, "\(code)")
                        let book = server.buyer(code)?.book ?? []
                        let booked = try await desk.reads.soldLegs(org: LeadDesk.org, since: Timestamp(milliseconds: 0))
                        if leg == "accepted" {
                            #expect(book.map(\.priceCents) == booked.map(\.price.minorUnits), "\(code)")
                        } else {
                            #expect(booked.isEmpty, "\(code)")
                        }
                    }
                }
                try await group.waitForAll()
            }
        }
    }

    @Test func `a buyer that is down sends the lead to the next one`() async throws {
        try await withBuyers([FakeBuyerConfiguration(code: "up")]) { server, url, client in
            let desk = try LeadDesk()
            try await desk.add("down", ["ping": .null, "price": "500.00", "post": "http://127.0.0.1:1/post"])
            try await desk.add("up", ["ping": .string("\(url)/up/ping"), "post": .string("\(url)/up/post")])
            let receipt = try await desk.accept(desk.draft(1))
            try await desk.work(client)
            let legs = try await desk.legs(receipt.id)
            #expect(Set(legs.map { $0["state"]?.string }) == ["rejected", "accepted"])
            #expect(legs.first { $0["state"] == "rejected" }?["reason"] == "notSent:connection_failed")
            #expect(server.buyer("up")?.book.count == 1)
            let decision = try await desk.reads.decisionRecord(org: LeadDesk.org, id: receipt.id)
            #expect(decision?.sentence.contains("DOWN was chosen first but could not be reached") == true)
        }
    }
}
