internal import AurumCore
internal import Events
internal import TestSupport
import Testing

/// What the policy costs on the thread that parses. The bars are far above the figures that it prints: they catch a
/// mistake, not a busy machine.
@Suite(.serialized) struct PolicyCostTests {
    private static let eventsPerBody = 1000
    private static let rounds = 15

    private static func body(_ round: Int, _ more: String = "") -> [UInt8] {
        let lines = (0..<eventsPerBody).map { number in
            "{\"id\":\"\(round)-\(number)\",\"type\":\"track\",\"name\":\"Signed Up\",\"user_id\":\"user_\(number)\",\(more)"
                + "\"ts\":\"2026-11-21T11:00:00.000Z\",\"props\":{\"plan\":\"pro\",\"price\":\(number % 100),\"seats\":3,"
                + "\"code\":\"AB-\(number)\",\"note\":\"abc\",\"items\":[{\"sku\":\"a\"},{\"sku\":\"b\"}],\"other\":true}}\n"
        }
        return Array(lines.joined().utf8)
    }

    /// Nanoseconds an event on the calling thread, the best of some rounds.
    private static func cost(_ log: EventLog, _ more: String = "") async throws -> Double {
        var best = Double.infinity
        for round in 0..<rounds {
            let body = body(round, more)
            let receipt: Receipt = try await withCheckedThrowingContinuation { continuation in
                body.withUnsafeBytes { bytes in
                    let began = ContinuousClock.now
                    log.capture.submit(bytes, format: .ndjson, source: testSource, receivedAt: testNow) {
                        continuation.resume(with: $0)
                    }
                    best = min(best, (ContinuousClock.now - began).seconds * 1e9 / Double(eventsPerBody))
                }
            }
            #expect(receipt.stored == eventsPerBody, "\(receipt.problems.first.map { "\($0)" } ?? "")")
        }
        return best
    }

    @Test func `a typical plan costs little, and an app without one nothing to speak of`() async throws {
        let bare = try openEvents(VolatileLogStorage())
        let without = try await Self.cost(bare)
        await bare.close()
        let idle = try await PolicyDesk.open()
        let idling = try await Self.cost(idle.log)
        await idle.log.close()
        let planned = try await PolicyDesk.open()
        _ = try await planned.policies.apps.putPlan(org: "acme", app: "shop", PlanTests.document)
        _ = try await planned.policies.apps.put(org: "acme", app: "shop", ["plan_mode": "enforce"])
        let planning = try await Self.cost(planned.log)
        await planned.log.close()
        let address = try await PolicyDesk.open()
        let cutting = try await Self.cost(address.log, "\"context\":{\"ip\":\"203.0.113.9\"},")
        await address.log.close()
        let sealed = try await PolicyDesk.open()
        let sealing = try await Self.cost(sealed.log, "\"traits\":{\"email\":\"a@b.example\"},")
        await sealed.log.close()
        print(
            "policy cost, ns an event: none \(Int(without)), idle \(Int(idling)), plan \(Int(planning)), "
                + "address \(Int(cutting)), one sealed field \(Int(sealing))")
        #expect(planning - idling < 10_000 && idling - without < 3000)
    }
}
