import AurumCore
import Database
import Leads
import TestSupport
import Testing

@Suite struct LeadStateTests {
    @Test func `every legal step of a lead is the published table and nothing else`() {
        let table: [LeadState: Set<LeadState>] = [
            .collecting: [.qualified, .disqualified, .nurturing], .qualified: [.routing, .nurturing, .duplicate],
            .disqualified: [.collecting], .duplicate: [], .routing: [.sold, .unsold], .sold: [.returned],
            .unsold: [.routing, .nurturing], .returned: [.routing, .nurturing], .nurturing: [.qualified],
            .withdrawn: [], .erased: [],
        ]
        for from in LeadState.allCases {
            var expected = table[from] ?? []
            if from != .erased { expected.insert(.erased) }
            if from != .erased, from != .withdrawn { expected.insert(.withdrawn) }
            let found = Set(LeadTransition.all.filter { $0.from == from }.map(\.to))
            #expect(found == expected, "from \(from)")
        }
    }

    @Test(arguments: Dialect.allCases)
    func `leads and sales come in pages that leave none out, also where many are of one moment`(
        _ engine: Dialect
    ) async throws {
        let desk = try LeadDesk(on: engine)
        try await desk.add("helios")
        let begin = desk.clock.now
        for number in 1...3 { _ = try await desk.accept(desk.draft(number)) }
        desk.clock.advance(by: .seconds(60))
        let between = desk.clock.now
        try await desk.work(ScriptedLeadBuyer())
        func credited(_ before: Timestamp, _ after: UID?, _ limit: Int) async throws -> [CreditedLead] {
            try await desk.reads.credited(org: LeadDesk.org, since: begin, before: before, after: after, limit: limit)
        }
        let all = try await credited(.end, nil, 100)
        #expect(all.count == 6 && all.prefix(3).allSatisfy(\.isSold) && all.suffix(3).allSatisfy { !$0.isSold })
        for size in 1...7 {
            var (found, before, after): ([CreditedLead], Timestamp, UID?) = ([], .end, nil)
            while true {
                let page = try await credited(before, after, size)
                found += page
                guard page.count == size, let last = page.last else { break }
                (before, after) = (last.at, last.id)
            }
            #expect(found == all, "pages of \(size)")
        }
        #expect(try await credited(between, nil, 100) == Array(all.suffix(3)), "a moment without an id is left out")
        #expect(try await credited(begin, nil, 100).isEmpty)
    }

    @Test func `the store holds the same steps and refuses every other one`() async throws {
        let desk = try LeadDesk()
        let receipt = try await desk.accept(desk.draft(1))
        let leadSteps = Set(LeadTransition.all.map { "\($0.from.rawValue)>\($0.to.rawValue)" })
        for from in LeadState.allCases {
            for to in LeadState.allCases {
                let allowed = leadSteps.contains("\(from.rawValue)>\(to.rawValue)")
                let done = await wasDone {
                    try await desk.run(
                        """
                        UPDATE leads SET from_state = \(from.rawValue), state = \(to.rawValue) WHERE id = \(receipt.id)
                        """)
                }
                #expect(done == allowed, "\(from) to \(to)")
            }
        }
        let edges = try await desk.count("SELECT COUNT(*) FROM leg_edges WHERE from_state <> ''")
        #expect(edges == LegTransition.all.count)
        for step in LegTransition.all {
            let known = try await desk.count(
                """
                SELECT COUNT(*) FROM leg_edges WHERE from_state = \(step.from.rawValue) AND to_state = \(step.to.rawValue)
                """)
            #expect(known == 1, "\(step.from) to \(step.to)")
        }
    }

    @Test func `a leg without a certificate that covers its buyer is refused by the store`() async throws {
        let desk = try LeadDesk()
        try await desk.add("helios")
        let covered = try await desk.accept(desk.draft(1))
        let named = try await desk.accept(
            desk.draft(2, scope: nil, sellers: [NamedSeller(code: "other", name: "Other")]))
        func insert(_ lead: LeadReceipt, scope: String, buyer: String = "helios") async -> Bool {
            await wasDone {
                try await desk.run(
                    """
                    INSERT INTO legs (org, id, lead_id, lead_type, trace_id, buyer, exclusive, from_state, state,
                        certificate_id, consent_scope, price_minor, fee_minor, currency, probability_ppm, offer, caps,
                        attempts, reason, return_window_micros, created_at, updated_at)
                    VALUES ('acme', \(UID(now: desk.clock.now)), \(lead.id), 'rooftop', \(lead.id), \(buyer), 0, '',
                        'reserved', \(lead.certificateID), \(scope), 1, 0, 'USD', 1, '{}', '[]', 0, '', 1, 1, 1)
                    """)
            }
        }
        #expect(await insert(named, scope: "product:rooftop") == false)
        #expect(await insert(named, scope: "seller:other") == false)
        #expect(await insert(named, scope: "seller:helios") == false)
        #expect(await insert(covered, scope: "seller:helios") == false)
        #expect(await insert(covered, scope: "product:rooftop"))
    }

    private func wasDone(_ body: () async throws -> Void) async -> Bool {
        do {
            try await body()
            return true
        } catch { return false }
    }
}
