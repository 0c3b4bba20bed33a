import AurumCore
import Database
import Leads
import Logging
import Runtime
import Synchronization
import Telemetry
import TestSupport
import Testing

@Suite struct MarketplaceTests {
    private func bids(_ cents: [String: Int64]) -> @Sendable (String, BuyerPing) async -> PingAnswer {
        { code, _ in cents[code].map { .bid(.usd(cents: $0), token: "t-\(code)") } ?? .declined("no") }
    }

    @Test func `the best bidder gets the lead, is booked once, and the decision can be computed again`() async throws {
        let desk = try LeadDesk()
        for code in ["low", "high", "shy"] { try await desk.add(code) }
        let buyer = ScriptedLeadBuyer(ping: bids(["low": 15_000, "high": 18_200]))
        let receipt = try await desk.accept(desk.draft(1))
        try await desk.work(buyer)
        #expect(try await desk.state(receipt.id) == "sold")
        let legs = try await desk.legs(receipt.id)
        #expect(legs.map { $0["buyer"]?.string } == ["high"])
        #expect(legs.first?["price_minor"] == 18_200)
        let post = try #require(buyer.seen.posts.first?.post)
        #expect(post.token == "t-high")
        #expect(post.fence.rawValue > 0 && post.headers.contains { $0 == (Fence.header, post.fence.description) })
        #expect(post.contact.email?.exposed == "ana1@example.com")
        #expect(
            CertificateVerifier(keys: desk.issuer.publicKeys).verify(
                Array(post.certificate.canonical.utf8), now: desk.clock.now, email: "ana1@example.com",
                salt: post.certificateSalt) == .valid)
        let pings = buyer.seen.pings.map { $0.ping.json.canonical }
        #expect(pings.count == 3)
        for secret in ["example.com", "Rivera", "9172000001"] {
            #expect(pings.allSatisfy { !$0.contains(secret) }, "\(secret)")
        }
        let record = try #require(try await desk.reads.decisionRecord(org: LeadDesk.org, id: receipt.id))
        #expect(record.recomputed() == ["high"])
        #expect(
            record.sentence.hasPrefix(
                "Sold to HIGH at $182, expected net 139.23 (accepts 0.85, returns 0.10); LOW bid $150"))
        #expect(record.verdicts.first { $0.buyer == "shy" }?.refusal == .declined)
        let explained = try await desk.reads.explain(
            org: LeadDesk.org, leg: try #require(UID(legs[0]["id"]?.string ?? "")))
        #expect(explained?["ledger"]?.array?.count == 2)
        let sold = try await desk.reads.soldLegs(org: LeadDesk.org, since: Timestamp(milliseconds: 0))
        #expect(sold.map(\.visitorID) == ["v-1"])
        #expect(try await desk.reads.overview(org: LeadDesk.org).sold == 1)
    }

    @Test func `the longest return window is that of all buyers who could ever buy`() async throws {
        let desk = try LeadDesk()
        #expect(try await desk.buyers.longestReturnDays(org: LeadDesk.org) == nil)
        try await desk.add("usual")
        #expect(try await desk.buyers.longestReturnDays(org: LeadDesk.org) == 14)
        try await desk.add("slow", ["returnWindowDays": 45, "state": "closed"])
        try await desk.add("draft", ["returnWindowDays": 90, "state": "draft"])
        #expect(try await desk.buyers.longestReturnDays(org: LeadDesk.org) == 45)
        #expect(try await desk.buyers.longestReturnDays(org: "other") == nil)
    }

    @Test func `every event of a sale carries the lead's trace`() async throws {
        let desk = try LeadDesk()
        try await desk.add("helios")
        let draft = desk.draft(1)
        _ = try await desk.accept(draft)
        try await desk.work(ScriptedLeadBuyer())
        let names = try await desk.database.read("test.events") { tx in
            try tx.values(String.self, "SELECT name FROM outbox WHERE trace_id = \(draft.traceID) ORDER BY seq")
        }
        #expect(
            names == [
                "lead.created", "lead.scored", "consent.sealed", "lead.qualified", "lead.routing", "bid.received",
                "delivery.accepted", "ledger.posted", "lead.sold",
            ])
    }

    @Test func `a bid below the reserve price is refused, and a buyer's own reserve wins`() async throws {
        let desk = try LeadDesk()
        try await desk.add("strict", ["reservePrice": .null])
        try await desk.add("easy", ["reservePrice": "100.00"])
        let buyer = ScriptedLeadBuyer(ping: bids(["strict": 24_999, "easy": 10_000]))
        let receipt = try await desk.accept(desk.draft(1))
        try await desk.work(buyer)
        #expect(try await desk.legs(receipt.id).map { $0["buyer"]?.string } == ["easy"])
        let record = try await desk.reads.decisionRecord(org: LeadDesk.org, id: receipt.id)
        #expect(record?.verdicts.first { $0.buyer == "strict" }?.refusal == .belowReserve)
    }

    @Test func `a rejection goes to the next buyer and gives the cap back`() async throws {
        let desk = try LeadDesk()
        try await desk.add("liar", ["caps": [["unit": "day", "limit": 1]]])
        try await desk.add("honest")
        let buyer = ScriptedLeadBuyer(
            ping: bids(["liar": 20_000, "honest": 15_000]),
            post: { code, _ in code == "liar" ? .rejected("no_thanks") : .accepted(id: "1") })
        let receipt = try await desk.accept(desk.draft(1))
        try await desk.work(buyer)
        #expect(try await desk.state(receipt.id) == "sold")
        #expect(Set(try await desk.legs(receipt.id).map { $0["state"]?.string }) == ["rejected", "accepted"])
        #expect(try await desk.count("SELECT reserved + accepted FROM cap_buckets WHERE buyer = 'liar'") == 0)
        let record = try #require(try await desk.reads.decisionRecord(org: LeadDesk.org, id: receipt.id))
        #expect(record.recomputed() == record.chosen)
        #expect(record.sentence.contains("LIAR was chosen first but rejected it (no_thanks)"))
    }

    @Test func `an unknown answer freezes the lead until somebody knows`() async throws {
        for (answer, expected) in [(PostAnswer.accepted(id: "9"), "sold"), (.rejected("late"), "sold")] {
            let desk = try LeadDesk()
            try await desk.add("mute", ["caps": [["unit": "day", "limit": 5]]])
            try await desk.add("second")
            let buyer = ScriptedLeadBuyer(
                ping: bids(["mute": 20_000, "second": 15_000]),
                post: { code, _ in code == "mute" ? .unknown("timeout") : .accepted(id: "2") })
            let market = desk.market(buyer)
            let receipt = try await desk.accept(desk.draft(1))
            try await desk.work(market)
            try await desk.work(market)
            #expect(try await desk.state(receipt.id) == "routing")
            #expect(buyer.seen.posts.count == 1)
            #expect(try await desk.count("SELECT reserved FROM cap_buckets") == 1)
            #expect(try await desk.reads.overview(org: LeadDesk.org).unknown == 1)
            let leg = try #require(try await desk.legs(receipt.id).first?["id"]?.string.flatMap { UID($0) })
            try await market.resolve(org: LeadDesk.org, leg: leg, answer: answer)
            try await desk.work(market)
            #expect(try await desk.state(receipt.id) == expected)
            let sold = try await desk.reads.soldLegs(org: LeadDesk.org, since: Timestamp(milliseconds: 0))
            #expect(sold.map(\.buyer) == [answer == .rejected("late") ? "second" : "mute"])
            #expect(try await desk.report.problems(org: LeadDesk.org).isEmpty)
            await #expect(throws: MarketError.self) {
                try await market.resolve(org: LeadDesk.org, leg: leg, answer: answer)
            }
        }
    }

    @Test func `an answer unknown for a day expires and blocks any resale`() async throws {
        let desk = try LeadDesk()
        try await desk.add("mute")
        try await desk.add("second")
        let buyer = ScriptedLeadBuyer(
            ping: bids(["mute": 20_000, "second": 15_000]), post: { _, _ in .unknown("timeout") })
        let market = desk.market(buyer)
        let receipt = try await desk.accept(desk.draft(1))
        try await desk.work(market)
        desk.clock.advance(by: .seconds(24 * 3600))
        try await desk.work(market)
        try await desk.work(market)
        #expect(try await desk.state(receipt.id) == "unsold")
        #expect(try await desk.legs(receipt.id).map { $0["state"]?.string } == ["expired"])
        #expect(buyer.seen.posts.count == 1)
    }

    @Test func `an idempotent buyer is asked again with the same key until it answers`() async throws {
        let desk = try LeadDesk()
        try await desk.add("careful", ["idempotent": true])
        let buyer = ScriptedLeadBuyer(post: { _, post in post.attempt < 3 ? .unknown("timeout") : .accepted(id: "z") })
        let market = desk.market(buyer)
        let receipt = try await desk.accept(desk.draft(1))
        try await desk.work(market)
        for wait in [59, 1, 299, 1] {
            desk.clock.advance(by: .seconds(wait))
            try await desk.work(market)
        }
        let posts = buyer.seen.posts.map(\.post)
        #expect(posts.map(\.attempt) == [1, 2, 3])
        #expect(Set(posts.map(\.leg)).count == 1)
        #expect(try await desk.state(receipt.id) == "sold")
        #expect(try await desk.count("SELECT COUNT(*) FROM ledger_entries") == 1)
    }

    @Test func `a buyer that was paused is asked again when it is active`() async throws {
        let desk = try LeadDesk()
        try await desk.add("careful", ["idempotent": true])
        let buyer = ScriptedLeadBuyer(post: { _, post in
            switch post.attempt {
            case 1: .unknown("timeout")
            case 2: .refused("http_401")
            default: .accepted(id: "z")
            }
        })
        let market = desk.market(buyer)
        let receipt = try await desk.accept(desk.draft(1))
        let queue = desk.queue(market)
        try await queue.runDue()
        for wait in [60, 300, 900] {
            desk.clock.advance(by: .seconds(wait))
            try await queue.runDue()
        }
        #expect(buyer.seen.posts.count == 2)
        try await desk.run("UPDATE buyers SET state = 'active', updated_at = updated_at + 1")
        desk.clock.advance(by: .seconds(900))
        try await queue.runDue()
        #expect(buyer.seen.posts.map(\.post.attempt) == [1, 2, 3])
        #expect(try await desk.state(receipt.id) == "sold")
    }

    @Test func `a worker whose job has gone to another reserves nothing`() async throws {
        let desk = try LeadDesk()
        for code in ["a", "b"] { try await desk.add(code, ["exclusive": false, "maxLegs": 2]) }
        let (jobs, other) = (desk.jobs, UID(now: desk.clock.now))
        let buyer = ScriptedLeadBuyer(ping: { _, _ in
            // It stood still for longer than its lease.
            _ = try? await jobs.recover()
            _ = try? await jobs.turn(JobTurn(worker: other, limit: 1))
            return .bid(.usd(cents: 18_200), token: "t")
        })
        let receipt = try await desk.accept(desk.draft(1))
        try await desk.queue(desk.market(buyer)).runDue()
        #expect(buyer.seen.pings.count == 2 && buyer.seen.posts.isEmpty)
        #expect(try await desk.legs(receipt.id).isEmpty)
        #expect(try await desk.count("SELECT COUNT(*) FROM jobs WHERE state = 'running'") == 1)
    }

    @Test func `two hundred leads at once never oversell a cap of twenty`() async throws {
        let desk = try LeadDesk()
        try await desk.add("small", ["caps": [["unit": "day", "limit": 20], ["unit": "hour", "limit": 25]]])
        let buyer = ScriptedLeadBuyer(ping: bids(["small": 20_000]))
        for number in 0..<200 { _ = try await desk.accept(desk.draft(number)) }
        #expect(try await desk.reads.overview(org: LeadDesk.org).open == 200)
        try await desk.work(buyer, concurrency: 200)
        let overview = try await desk.reads.overview(org: LeadDesk.org)
        #expect(overview.total == 200 && overview.sold == 20 && overview.unsold == 180)
        #expect(overview.disqualified + overview.open + overview.other == 0)
        #expect(buyer.seen.posts.count == 20)
        #expect(try await desk.count("SELECT accepted FROM cap_buckets WHERE unit = 'day'") == 20)
        #expect(try await desk.count("SELECT accepted FROM cap_buckets WHERE unit = 'hour'") == 20)
        #expect(try await desk.count("SELECT COUNT(*) FROM leads WHERE state = 'sold'") == 20)
        #expect(try await desk.count("SELECT COUNT(*) FROM leads WHERE state = 'unsold'") == 180)
    }

    @Test func `a shared lead goes to as many as share it`() async throws {
        let desk = try LeadDesk()
        for code in ["a", "b", "c", "d"] { try await desk.add(code, ["exclusive": false, "maxLegs": 3]) }
        let buyer = ScriptedLeadBuyer(
            ping: bids(["a": 9000, "b": 8900, "c": 8800, "d": 8700]),
            post: { code, _ in code == "b" ? .rejected("no") : .accepted(id: code) })
        let receipt = try await desk.accept(desk.draft(1))
        try await desk.work(buyer)
        let sold = try await desk.reads.soldLegs(org: LeadDesk.org, since: Timestamp(milliseconds: 0))
        #expect(Set(sold.map(\.buyer)) == ["a", "c", "d"])
        #expect(try await desk.state(receipt.id) == "sold")
        let record = try #require(try await desk.reads.decisionRecord(org: LeadDesk.org, id: receipt.id))
        #expect(record.recomputed() == record.chosen)
    }

    @Test func `a buyer that hangs at ping is late and does not hold the others`() async throws {
        let desk = try LeadDesk()
        try await desk.add("hung", ["pingTimeoutMilliseconds": 500])
        try await desk.add("quick")
        let buyer = ScriptedLeadBuyer(ping: { code, _ in
            if code == "hung" { try? await Task.sleep(for: .seconds(60)) }
            return .bid(.usd(cents: 12_000), token: nil)
        })
        let receipt = try await desk.accept(desk.draft(1))
        let started = ContinuousClock.now
        try await desk.work(buyer)
        #expect(ContinuousClock.now - started < .seconds(5))
        let record = try await desk.reads.decisionRecord(org: LeadDesk.org, id: receipt.id)
        #expect(record?.verdicts.first { $0.buyer == "hung" }?.refusal == .late)
        #expect(try await desk.state(receipt.id) == "sold")
    }

    @Test func `refused credentials pause the buyer and the lead goes on`() async throws {
        let desk = try LeadDesk()
        try await desk.add("locked")
        try await desk.add("second")
        let buyer = ScriptedLeadBuyer(
            ping: bids(["locked": 20_000, "second": 15_000]),
            post: { code, _ in code == "locked" ? .refused("http_401") : .accepted(id: "1") })
        let receipt = try await desk.accept(desk.draft(1))
        try await desk.work(buyer)
        #expect(try await desk.state(receipt.id) == "sold")
        #expect(try await desk.buyers.read(org: LeadDesk.org, code: "locked")?["state"] == "paused")
    }

    // MARK: Restarts

    /// A leg as a crash between two steps of its post leaves it.
    private func crashed(_ desk: LeadDesk, leg state: String) async throws -> UID {
        let receipt = try await desk.accept(desk.draft(1))
        let hung = ScriptedLeadBuyer(post: { _, _ in .unknown("timeout") })
        try await desk.work(hung)
        let from = ["reserved": "", "posting": "reserved", "accepted": "posting"][state] ?? ""
        try await desk.run("UPDATE legs SET from_state = \(from), state = \(state)")
        // The job of the post that was open; its worker is gone.
        try await desk.run("DELETE FROM jobs")
        return receipt.id
    }

    @Test func `a crash between reserve and post is made good after the restart`() async throws {
        let desk = try LeadDesk()
        try await desk.add("helios", ["caps": [["unit": "day", "limit": 1]]])
        let lead = try await crashed(desk, leg: "reserved")
        let buyer = ScriptedLeadBuyer()
        let market = desk.market(buyer)
        try await desk.work(market)
        #expect(try await desk.state(lead) == "sold")
        #expect(buyer.seen.pings.isEmpty)
        #expect(buyer.seen.posts.count == 1)
        #expect(try await desk.count("SELECT accepted FROM cap_buckets") == 1)
    }

    @Test func `a leg that a crash left reserved beside an open answer is posted once that is settled`() async throws {
        let desk = try LeadDesk()
        for code in ["a", "b"] { try await desk.add(code, ["exclusive": false, "maxLegs": 2]) }
        let receipt = try await desk.accept(desk.draft(1))
        let silent = ScriptedLeadBuyer(post: { _, _ in .unknown("timeout") })
        try await desk.work(silent)
        #expect(Set(silent.seen.posts.map(\.buyer)) == ["a", "b"])
        try await desk.run("UPDATE legs SET from_state = '', state = 'reserved' WHERE buyer = 'b'")
        try await desk.run("DELETE FROM jobs")
        let buyer = ScriptedLeadBuyer()
        let market = desk.market(buyer)
        let open = try #require(
            try await desk.legs(receipt.id).first { $0["buyer"] == "a" }?["id"]?.string.flatMap { UID($0) })
        try await market.resolve(org: LeadDesk.org, leg: open, answer: .rejected("late"))
        try await desk.queue(market).runDue()
        #expect(buyer.seen.posts.map(\.buyer) == ["b"])
        #expect(try await desk.state(receipt.id) == "sold")
    }

    @Test func `a crash while posting leaves an unknown leg that nobody posts again`() async throws {
        let desk = try LeadDesk()
        try await desk.add("helios")
        let lead = try await crashed(desk, leg: "posting")
        let buyer = ScriptedLeadBuyer()
        let market = desk.market(buyer)
        try await desk.work(market)
        #expect(try await desk.state(lead) == "routing")
        #expect(try await desk.legs(lead).map { $0["state"]?.string } == ["unknown"])
        #expect(buyer.seen.posts.isEmpty)
    }

    @Test func `a crash after the answer was recorded ends in a sold lead and one booking`() async throws {
        let desk = try LeadDesk()
        try await desk.add("helios")
        try await desk.add("other")
        let receipt = try await desk.accept(desk.draft(1))
        try await desk.work(ScriptedLeadBuyer(ping: bids(["helios": 9000])))
        try await desk.run("UPDATE leads SET from_state = 'qualified', state = 'routing'")
        let buyer = ScriptedLeadBuyer()
        let market = desk.market(buyer)
        try await desk.work(market)
        #expect(try await desk.state(receipt.id) == "sold")
        #expect(buyer.seen.pings.isEmpty)
        #expect(try await desk.count("SELECT COUNT(*) FROM ledger_entries") == 1)
    }

    @Test func `the worker sells what is committed when it is woken and stops when told`() async throws {
        let desk = try LeadDesk()
        try await desk.add("helios")
        let (sales, sold) = AsyncStream<Void>.makeStream()
        let market = desk.market(
            ScriptedLeadBuyer(post: { _, _ in
                sold.yield()
                return .accepted(id: "1")
            }))
        let queue = desk.queue(market)
        let worker = Task { try await queue.run() }
        let first = try await desk.accept(desk.draft(1))
        var iterator = sales.makeAsyncIterator()
        _ = await iterator.next()
        while try await desk.state(first.id) != "sold" { await Task.yield() }
        let second = try await desk.accept(desk.draft(2))
        _ = await iterator.next()
        while try await desk.state(second.id) != "sold" { await Task.yield() }
        worker.cancel()
        _ = await worker.result
    }
}
