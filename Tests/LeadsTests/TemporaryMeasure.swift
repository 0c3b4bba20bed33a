import AurumCore
import Database
import Leads
import Telemetry
import TestSupport
import Testing
@Suite struct TemporaryMeasure {
    @Test func `measure`() async throws {
        let desk = try LeadDesk()
        for index in 0..<200 { try await desk.add("b\(index)", ["caps": [["unit": "day", "limit": 5000]]]) }
        let started = ContinuousClock.now
        for number in 0..<200 { _ = try await desk.accept(desk.draft(number)) }
        print("MEASURE accept serial", (ContinuousClock.now - started) / 200)
        let again = ContinuousClock.now
        await withTaskGroup(of: Void.self) { group in
            for number in 200..<1000 { group.addTask { _ = try? await desk.accept(desk.draft(number)) } }
        }
        print("MEASURE accept concurrent", (ContinuousClock.now - again) / 800)
        let market = desk.market(ScriptedLeadBuyer())
        let routing = ContinuousClock.now
        try await market.routeDue()
        print("MEASURE route 1000 leads with 200 buyers", ContinuousClock.now - routing)
        print(desk.open.registry.prometheusText().split(separator: "\n").filter { $0.contains("decision_duration") || $0.contains("routed") }.joined(separator: "\n"))
        let read = ContinuousClock.now
        for _ in 0..<20 { _ = try await desk.reads.overview(org: LeadDesk.org) }
        print("MEASURE overview", (ContinuousClock.now - read) / 20)
    }
}
