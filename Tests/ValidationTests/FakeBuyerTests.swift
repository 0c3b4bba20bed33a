internal import AurumCore
internal import Foundation
import Testing
internal import Validation

private let ping: JSONValue = [
    "leadType": "rooftop", "zip": "11215", "score": 80, "attributes": [:], "pingId": "ping-1",
]

private func post(token: String, leg: String = "leg-1") -> JSONValue {
    [
        "token": .string(token), "leadId": "lead-1", "legId": .string(leg), "contact": [:], "attributes": [:],
        "certificate": [:],
    ]
}

@Suite struct FakeBuyerTests {
    private func document(_ answer: FakeAnswer) -> JSONValue? {
        try? JSONDecoder().decode(JSONValue.self, from: Data(answer.body.utf8))
    }

    private func sold(_ behaviour: BuyerBehaviour) -> (buyer: FakeBuyer, ping: FakeAnswer, post: FakeAnswer) {
        let buyer = FakeBuyer(FakeBuyerConfiguration(code: "b", behaviour: behaviour))
        let bid = buyer.ping(ping)
        return (buyer, bid, buyer.post(post(token: "b.ping-1"), key: "leg-1"))
    }

    @Test func `an accepting buyer bids, accepts and books the price it bid`() throws {
        let (buyer, bid, answer) = sold(.accept)
        let price = try #require(Money(decimal: document(bid)?["price"]?.string ?? "", currency: .usd))
        #expect(buyer.configuration.bidCents.contains(price.minorUnits))
        #expect(document(answer)?["outcome"] == "accepted")
        #expect(buyer.book.map(\.priceCents) == [price.minorUnits])
        #expect(buyer.post(post(token: "b.ping-1"), key: "leg-1") == answer)
        #expect(buyer.book.count == 1)
    }

    @Test func `bids repeat with the seed and scatter with the ping`() {
        let first = FakeBuyer(FakeBuyerConfiguration(code: "b")).ping(ping)
        #expect(FakeBuyer(FakeBuyerConfiguration(code: "b")).ping(ping) == first)
        let buyer = FakeBuyer(FakeBuyerConfiguration(code: "b"))
        let prices = (0..<50).map { number -> String in
            var body = ping.object ?? [:]
            body["pingId"] = .string("ping-\(number)")
            return document(buyer.ping(.object(body)))?["price"]?.string ?? ""
        }
        #expect(Set(prices).count > 20)
    }

    @Test func `a declining buyer has no bid and a lying one rejects what it bid on`() {
        #expect(document(sold(.reject).ping)?["outcome"] == "decline")
        let lying = sold(.lying)
        #expect(document(lying.ping)?["outcome"] == "bid")
        #expect(document(lying.post)?["outcome"] == "rejected")
        #expect(lying.buyer.book.isEmpty)
        #expect(document(sold(.duplicate).post)?["reason"] == "duplicate")
    }

    @Test func `a created answer may hold a rejection`() {
        let answer = sold(.createdWithRejectBody).post
        #expect(answer.status == 201 && document(answer)?["outcome"] == "rejected")
    }

    @Test func `a buyer that times out after accepting has the lead, and says so when asked again`() {
        let (buyer, _, first) = sold(.timeoutAfterAccept)
        #expect(first.hangs && buyer.book.count == 1)
        let again = buyer.post(post(token: "b.ping-1"), key: "leg-1")
        #expect(!again.hangs && document(again)?["outcome"] == "accepted")
        #expect(buyer.book.count == 1)
        #expect(buyer.log.map(\.status) == [200, 0, 200])
    }

    @Test func `a flapping buyer fails every second request, a slow one waits, a malformed one babbles`() {
        let flapping = sold(.flapping)
        #expect(flapping.ping.status == 200 && flapping.post.status == 503)
        #expect(sold(.slow).ping.wait == .seconds(5))
        let malformed = sold(.malformed).ping
        #expect(malformed.status == 200 && document(malformed) == nil)
    }

    @Test func `a rate-limited buyer says when to come back`() {
        let buyer = FakeBuyer(
            FakeBuyerConfiguration(code: "b", behaviour: .rateLimited, rateLimit: 3), clock: StandingClock())
        let answers = (0..<5).map { _ in buyer.ping(ping) }
        #expect(answers.map(\.status) == [200, 200, 200, 429, 429])
        #expect(answers.last?.headers["retry-after"] == "1")
    }

    @Test func `a post without a known token is rejected`() {
        let buyer = FakeBuyer(FakeBuyerConfiguration(code: "b"))
        #expect(document(buyer.post(post(token: "other"), key: "k"))?["reason"] == "unknown_token")
        #expect(buyer.ping(nil).status == 400)
    }

    @Test func `the fakes are real servers with a book to read`() async throws {
        let buyers = [FakeBuyerConfiguration(code: "one"), FakeBuyerConfiguration(code: "two", behaviour: .reject)]
        try await FakesServer.withRunning(buyers: buyers) { server, url in
            let client = Validation.APIClient(url)
            let bid = try await client.post("/one/ping", ping)
            #expect(bid.json["outcome"] == "bid")
            let token = bid.json["token"]?.string ?? ""
            let sale = try await client.post("/one/post", post(token: token), headers: [("Idempotency-Key", "leg-1")])
            #expect(sale.json["outcome"] == "accepted")
            #expect(try await client.post("/two/ping", ping).json["outcome"] == "decline")
            let changed = try await client.put("/two/behaviour", ["behaviour": "accept"])
            #expect(changed.status == 200 && server.buyer("two")?.behaviour == .accept)
            #expect(try await client.post("/two/ping", ping).json["outcome"] == "bid")
            let book = try await client.get("/one/book")
            #expect(book.json["leads"]?.array?.first?["legId"] == "leg-1")
            #expect(try await client.get("/book").json["buyers"]?.array?.count == 2)
            #expect(try await client.get("/three/book").status == 404)
        }
    }
}

private struct StandingClock: WallClock {
    var now: Timestamp { Timestamp(milliseconds: 1_795_224_568_000) }
}
