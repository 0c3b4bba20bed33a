import AurumCore
import Database
import Leads
import TestSupport
import Testing

@Suite struct LedgerTests {
    private func balances(_ desk: LeadDesk) async throws -> [String: Int64] {
        let rows = try await desk.report.accounts(org: LeadDesk.org)
        return Dictionary(rows.map { ($0.account, $0.balanceMinor) }, uniquingKeysWith: { $1 })
    }

    private func sold(_ desk: LeadDesk, _ number: Int, _ market: Marketplace) async throws -> UID {
        let receipt = try await desk.accept(desk.draft(number))
        try await desk.work(market)
        let leg = try await desk.legs(receipt.id).first?["id"]?.string
        return try #require(leg.flatMap { UID($0) })
    }

    private func giveBack(_ desk: LeadDesk, _ leg: UID) async throws {
        let ledger = Ledger(registry: desk.open.registry)
        try await desk.database.write("test.return") { tx in
            try ledger.returnLeg(org: LeadDesk.org, leg: leg, reason: "wrongNumber", in: tx)
        }
    }

    @Test func `a network fee of 1500 basis points on 250 is 37.50`() {
        #expect(LedgerRules.feeMinor(priceMinor: 25_000, basisPoints: 1500) == 3750)
    }

    @Test func `a sale is deferred, recognised at the exact end of its window, and never twice`() async throws {
        let desk = try LeadDesk()
        try await desk.add("helios", ["networkFeeBasisPoints": 1500])
        let market = desk.market(ScriptedLeadBuyer())
        _ = try await sold(desk, 1, market)
        #expect(
            try await balances(desk) == [
                "receivable:helios": 18_200, "deferredRevenue": -18_200, "feeExpense": 2730, "payable:network": -2730,
            ])
        let end = desk.clock.now + .seconds(14 * 86_400)
        desk.clock.advance(by: .seconds(14 * 86_400 - 1))
        try await desk.work(market)
        #expect(try await balances(desk)["revenue"] == nil)
        desk.clock.advance(by: .seconds(3601))
        try await desk.work(market)
        try await desk.work(market)
        #expect(try await balances(desk)["revenue"] == -18_200)
        #expect(try await balances(desk)["deferredRevenue"] == 0)
        let at = try await desk.count("SELECT at FROM ledger_entries WHERE kind = 'recognised'")
        #expect(Int64(at) == end.microseconds)
        let overview = try await desk.reads.overview(org: LeadDesk.org)
        #expect(overview.bookedMinor == 18_200)
        #expect(overview.recognisedMinor == 18_200)
        #expect(try await desk.report.problems(org: LeadDesk.org).isEmpty)
    }

    @Test func `a return on the last second reverses what was deferred, one second later it claws back`() async throws {
        for (seconds, kind) in [(14 * 86_400 - 1, "returned"), (14 * 86_400, "clawedBack")] {
            let desk = try LeadDesk()
            try await desk.add("helios", ["networkFeeBasisPoints": 1000])
            let leg = try await sold(desk, 1, desk.market(ScriptedLeadBuyer()))
            desk.clock.advance(by: .seconds(seconds))
            try await giveBack(desk, leg)
            #expect(try await desk.count("SELECT COUNT(*) FROM ledger_entries WHERE kind = \(kind)") == 1)
            let all = try await balances(desk)
            #expect(all["receivable:helios"] == 0)
            #expect(all["feeExpense"] == 0)
            #expect(all["revenueReturns"] == (kind == "clawedBack" ? 18_200 : nil))
            #expect(try await desk.count("SELECT COUNT(*) FROM leads WHERE state = 'returned'") == 1)
            await #expect(throws: LedgerError.notReturnable(kind == "returned" ? .returned : .clawedBack)) {
                try await giveBack(desk, leg)
            }
        }
    }

    @Test func `random sales, returns and recognitions always sum to zero and equal a recount`() async throws {
        let seed: UInt64 = 4000
        var random = SeededRandom(seed: seed)
        let desk = try LeadDesk()
        let codes = ["a", "b", "c"]
        for code in codes {
            try await desk.add(
                code,
                [
                    "networkFeeBasisPoints": 700, "returnWindowDays": 3, "leadTypes": ["communitySolar"],
                    "exclusive": false, "maxLegs": 3,
                ])
        }
        let prices = (0..<10).map { Int64(100 + 137 * $0) }
        let buyer = ScriptedLeadBuyer(ping: { code, ping in
            .bid(.usd(cents: prices[Int(ping.id.low % 10)] + Int64(code.utf8.first ?? 0)), token: nil)
        })
        let market = desk.market(buyer)
        var open: [UID] = []
        var model = (owed: Int64(0), sales: 0, returns: 0)
        var number = 0
        while try await desk.count("SELECT COUNT(*) FROM ledger_entries") < soakCount(4000 * 25) {
            switch Int.random(in: 0..<10, using: &random) {
            case 0..<5:
                for _ in 0..<7 {
                    number += 1
                    _ = try await desk.accept(desk.smallDraft(number))
                }
                try await desk.work(market)
                let legs = try await desk.reads.soldLegs(org: LeadDesk.org, since: desk.clock.now, limit: 1000)
                let fresh = legs.filter { !open.contains($0.leg) && $0.state == .accepted }
                open += fresh.map(\.leg)
                model.owed += fresh.reduce(0) { $0 + $1.price.minorUnits }
                model.sales += fresh.count
                desk.clock.advance(by: .seconds(7))
            case 5..<8:
                for _ in 0..<min(4, open.count) {
                    let leg = open.remove(at: Int.random(in: 0..<open.count, using: &random))
                    let price = try await desk.count("SELECT price_minor FROM legs WHERE id = \(leg)")
                    try await giveBack(desk, leg)
                    model.owed -= Int64(price)
                    model.returns += 1
                }
            default:
                desk.clock.advance(by: .seconds(Int.random(in: 0..<86_400, using: &random)))
                try await desk.work(market)
            }
        }
        let all = try await balances(desk)
        #expect(all.values.reduce(0, +) == 0, "seed \(seed)")
        let owed = codes.reduce(Int64(0)) { $0 + (all["receivable:\($1)"] ?? 0) }
        #expect(owed == model.owed, "seed \(seed)")
        #expect(try await desk.report.problems(org: LeadDesk.org).isEmpty, "seed \(seed)")
        #expect(model.sales > 500 && model.returns > 50)
    }

    @Test func `an entry cannot be lopsided or empty`() throws {
        let leg = UID(high: 1, low: 2)
        let entry = try JournalEntry(
            leg: leg, kind: .legAccepted, debit: .receivable(buyer: "a"), credit: .deferredRevenue,
            amount: .usd(cents: 5), at: Timestamp(milliseconds: 0))
        #expect(entry.sum == 0)
        #expect(throws: LedgerError.notPositive) {
            try JournalEntry(
                leg: leg, kind: .recognised, debit: .deferredRevenue, credit: .revenue, amount: .usd(cents: 0),
                at: Timestamp(milliseconds: 0))
        }
    }
}
