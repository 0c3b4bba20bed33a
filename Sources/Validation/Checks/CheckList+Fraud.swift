internal import AurumCore

/// Clicks of a device in numbers that no person makes, an install at once after its click, and one that is honest.
extension CheckList {
    private static let floodClicks = 25
    /// A device may have so many clicks in a minute.
    private static let minuteClicks = 20

    @Sendable static func fraud(_ context: CheckContext, _ findings: Findings) async throws {
        let org = try await context.organisation("a11")
        let run = String(context.runID.prefix(12))
        let sent = try await context.call { try await org.write.events(fraudEvents(run, SystemWallClock().now)) }
        findings.expect(
            sent.status == 202 && sent.json["quarantined"] == 0,
            "the events are answered \(sent.status) \(sent.text.prefix(300))")
        // The newest click that is not beyond the number, the click before the impossible one, and the only one.
        let credited = ["flood": "\(minuteClicks - 1)", "fast": "before", "calm": "only"]
        let list = try await context.poll(within: .seconds(20), every: .milliseconds(200)) {
            try await org.read.get("/v1/attribution/installs?limit=100")
        } until: {
            $0.json["installs"]?.array?.count == credited.count
        }
        let installs = list.json["installs"]?.array ?? []
        findings.expect(installs.count == credited.count, "the installs are \(list.text.prefix(400))")
        for (device, click) in credited {
            let install = installs.first { $0["id"]?.string == "\(run)-\(device)-install" } ?? .null
            findings.expect(
                install.at("touch", "id")?.string == "\(run)-\(device)-\(click)",
                "the install of \(device) should be by \(click): \(install.canonical.prefix(400))")
        }
        let calm = installs.first { $0["id"]?.string == "\(run)-calm-install" } ?? .null
        findings.expect(calm.at("fraud", "verdict") == "clean", "the honest install is \(calm.canonical.prefix(300))")
        try await verdictsAgree(context, findings, org, run)
        try await fraudRefusals(context, findings, org)
    }

    private static func fraudEvents(_ run: String, _ now: Timestamp) -> [JSONValue] {
        func event(_ type: String, _ device: String, _ name: String, _ age: Duration) -> JSONValue {
            [
                "id": .string("\(run)-\(device)-\(name)"), "type": .string(type),
                "ts": .string((now - age).rfc3339), "anonymous_id": .string("\(run)-\(device)-\(name)"),
                "device_id": .string("\(run)-\(device)"), "campaign": ["name": "validate-fraud", "network": "flooder"],
            ]
        }
        var events = (0..<floodClicks).map { event("click", "flood", "\($0)", .seconds(3600 - $0)) }
        events += [
            event("click", "fast", "before", .seconds(7200)), event("click", "fast", "after", .milliseconds(600_500)),
            event("click", "calm", "only", .seconds(3600)),
        ]
        return events + ["flood", "fast", "calm"].map { event("install", $0, "install", .seconds(600)) }
    }

    private static func verdictsAgree(
        _ context: CheckContext, _ findings: Findings, _ org: Organisation, _ run: String
    ) async throws {
        func rejected(_ code: String) async throws -> Set<String> {
            let answer = try await context.call {
                try await org.read.get("/v1/fraud/verdicts?outcome=rejected&code=\(code)&limit=100")
            }
            let verdicts = answer.json["verdicts"]?.array ?? []
            findings.expect(
                verdicts.allSatisfy { $0["barred"] == true && $0["codes"] == [.string(code)] },
                "verdicts of \(code) are \(answer.text.prefix(400))")
            return Set(verdicts.compactMap { $0["event_id"]?.string })
        }
        let flooded = try await rejected("click_velocity")
        findings.expect(
            flooded == Set((minuteClicks..<floodClicks).map { "\(run)-flood-\($0)" }),
            "rejected for their number are \(flooded.sorted())")
        let fast = try await rejected("ctit_impossible")
        findings.expect(fast == ["\(run)-fast-after"], "rejected for their time are \(fast.sorted())")
        let answer = try await context.call {
            try await org.read.get("/v1/fraud/verdicts?outcome=suspect&code=click_velocity&limit=100")
        }
        let suspects = answer.json["verdicts"]?.array ?? []
        findings.expect(
            suspects.count == minuteClicks && suspects.allSatisfy { $0["barred"] == false },
            "\(suspects.count) clicks are suspect, not \(minuteClicks)")
        let clean = try await context.call { try await org.read.get("/v1/fraud/verdicts?outcome=clean&limit=100") }
        let subjects = Set((clean.json["verdicts"]?.array ?? []).compactMap { $0["event_id"]?.string })
        let expected = ["calm-only", "calm-install", "fast-before", "fast-install", "flood-install"]
        findings.expect(subjects == Set(expected.map { "\(run)-\($0)" }), "clean are \(subjects.sorted())")
    }

    private static func fraudRefusals(
        _ context: CheckContext, _ findings: Findings, _ org: Organisation
    ) async throws {
        for query in ["code=nothing", "outcome=maybe", "history=true", "limit=0"] {
            let answer = try await context.call { try await org.read.get("/v1/fraud/verdicts?\(query)") }
            findings.expect(answer.status == 400, "\(query) is answered \(answer.status)")
        }
        let refused = try await context.call { try await org.read.put("/v1/fraud/rules", ["off": []]) }
        findings.expect(refused.status == 403, "a reader sets rules: \(refused.status)")
        let other = try await context.organisation("a11-other")
        let empty = try await context.call { try await other.read.get("/v1/fraud/verdicts") }
        findings.expect(
            empty.status == 200 && empty.json["verdicts"]?.array?.isEmpty == true,
            "another organisation is answered \(empty.status) \(empty.text.prefix(200))")
    }
}
