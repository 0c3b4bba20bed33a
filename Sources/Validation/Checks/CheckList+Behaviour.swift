internal import AurumCore
internal import Foundation

/// Funnels, retention, sessions and paths over events whose answers are known; the live tail; exports.
extension CheckList {
    static let behaviour: [Check] = [
        Check(
            id: "B01", title: "funnel, retention, cohorts, paths and sessions of known events", phase: "integration",
            suites: ["events", "query"], threshold: "every figure equals the one worked out by hand",
            source: "event engine", body: knownBehaviour),
        Check(
            id: "B02", title: "live tail: from acknowledgement to sight", phase: "performance",
            suites: ["events", "query"], threshold: "p95 < 1,000 ms, n ≥ 100, every event once and in order",
            source: "event engine", body: tailLatency),
        Check(
            id: "B03", title: "an export holds every event once, and the same one again has the same hash",
            phase: "integration", suites: ["events", "query"], threshold: "rows and SHA-256 equal",
            source: "event engine", body: exports),
    ]

    private static let day: Int64 = 86_400_000

    private static func event(_ id: String, _ person: String, _ name: String, at time: Int64, value: String? = nil)
        -> JSONValue
    {
        var members: [String: JSONValue] = [
            "id": .string(id), "type": "track", "name": .string(name), "user_id": .string(person),
            "ts": .integer(time), "campaign": ["source": person.hasSuffix("0") ? "google" : "bing"],
        ]
        if let value { (members["value"], members["currency"]) = (.string(value), "USD") }
        return .object(members)
    }

    // MARK: known figures

    /// Ten persons visit at noon of the first day; seven put something in the cart ten minutes later, three buy five
    /// minutes after that. On the next day five come back, on the seventh day two.
    private static func story(_ start: Int64) -> [JSONValue] {
        var events: [JSONValue] = []
        for number in 0..<10 {
            let person = "b01-\(number)"
            events.append(event("\(person)-visit", person, "visit", at: start))
            if number < 7 { events.append(event("\(person)-cart", person, "cart", at: start + 600_000)) }
            if number < 3 {
                events.append(event("\(person)-buy", person, "buy", at: start + 900_000, value: "10.10"))
            }
            if number >= 5 { events.append(event("\(person)-d1", person, "visit", at: start + day)) }
            if number >= 8 { events.append(event("\(person)-d7", person, "visit", at: start + 7 * day)) }
        }
        return events
    }

    @Sendable private static func knownBehaviour(_ context: CheckContext, _ findings: Findings) async throws {
        let org = try await context.organisation("b01")
        let today = SystemWallClock().now.milliseconds / day * day
        let start = today - 20 * day + day / 2
        let sent = try await context.call { try await org.write.events(story(start)) }
        findings.expect(sent.status == 202, "the events are answered \(sent.status) \(sent.code)")
        func ask(_ kind: String, _ body: JSONValue) async throws -> JSONValue {
            let answer = try await context.call { try await org.read.post("/v1/query/\(kind)", body) }
            findings.expect(answer.status == 200, "\(kind) is answered \(answer.status) \(answer.text.prefix(300))")
            return answer.json
        }
        func numbers(_ rows: JSONValue?, _ member: String) -> [Int64] {
            (rows?.array ?? []).map { $0[member]?.integer ?? -1 }
        }
        let range: [String: JSONValue] = ["from": .integer(start - day), "to": .integer(start + 10 * day)]
        var funnel = range
        funnel["steps"] = [["where": "name = visit"], ["where": "name = cart"], ["where": "name = buy"]]
        funnel["breakdown"] = "campaign.source"
        let steps = try await ask("funnel", .object(funnel))
        findings.expect(numbers(steps["steps"], "persons") == [10, 7, 3], "funnel: \(steps.canonical.prefix(400))")
        let medians = (steps["steps"]?.array ?? []).map { $0["median_seconds"]?.double }
        findings.expect(medians == [nil, 600, 300], "medians: \(medians)")
        let groups = steps["groups"]?.array ?? []
        let firsts = groups.map { "\($0["value"]?.string ?? ""): \(numbers($0["steps"], "persons"))" }
        findings.expect(firsts == ["bing: [9, 6, 2]", "google: [1, 1, 1]"], "breakdown: \(firsts)")

        for (mode, returned) in [("classic", [5, 0, 2]), ("rolling", [5, 5, 5]), ("unbounded", [5, 2, 2])] {
            var retention = range
            retention["mode"] = .string(mode)
            retention["first"] = "name = visit"
            retention["return"] = "name = visit"
            retention["days"] = [1, 3, 7]
            retention["to"] = .integer(start + day / 4)
            let answer = try await ask("retention", .object(retention))
            let found = numbers(answer["days"], "returned")
            findings.expect(
                found == returned.map { Int64($0) } && numbers(answer["days"], "eligible") == [10, 10, 10],
                "\(mode) retention: \(found), expected \(returned)")
        }
        try await knownRest(range, start, ask, findings)
        let bad = try await context.call { try await org.read.post("/v1/query/funnel", ["steps": [], "x": 1]) }
        findings.expect(
            bad.status == 422 && bad.text.contains("\"x\""), "a wrong body is answered \(bad.status) \(bad.code)")
    }

    private static func knownRest(
        _ range: [String: JSONValue], _ start: Int64, _ ask: (String, JSONValue) async throws -> JSONValue,
        _ findings: Findings
    ) async throws {
        let cohorts = try await ask(
            "cohorts", .object(range.merging(["period": "day", "event": "name = buy"]) { $1 }))
        let cell = cohorts["cohorts"]?.array?.first?["periods"]?.array?.first
        findings.expect(
            cell?["persons"]?.integer == 3 && cell?.at("value", "USD") == "30.3",
            "cohorts: \(cohorts.canonical.prefix(400))")
        let paths = try await ask("paths", .object(range.merging(["start": "name = visit", "depth": 3]) { $1 }))
        let branches = (paths["branches"]?.array ?? []).map { branch in
            (branch["path"]?.array ?? []).compactMap(\.string).joined(separator: ">")
                + " \(branch["persons"]?.integer ?? -1)"
        }
        // Number 5 and 6 come back after exactly a day: inside the window, both ends included.
        let expected = ["visit 3", "visit>cart 2", "visit>cart>buy 3", "visit>cart>visit 2"]
        findings.expect(branches.sorted() == expected, "paths: \(branches)")
        let sessions = try await ask("sessions", .object(range))
        let total = sessions["total"]
        findings.expect(
            total?["sessions"]?.integer == 17 && total?["persons"]?.integer == 10
                && total?["bounces"]?.integer == 10 && total?["events"]?.integer == 27
                && total?.at("value", "USD") == "30.3",
            "sessions: \(total?.canonical ?? "none")")
    }

    // MARK: live tail

    @Sendable private static func tailLatency(_ context: CheckContext, _ findings: Findings) async throws {
        let org = try await context.organisation("b02")
        let address = context.target.url.replacingOccurrences(of: "http://", with: "ws://")
        findings.sent(1)
        let socket = try await WebSocketConnection.connect(
            to: address + "/v1/tail?where=name%20%3D%20wanted", headers: [("Authorization", "Bearer \(org.reader)")])
        _ = try await socket.next(within: .seconds(5))
        var recorder = LatencyRecorder()
        let count = 200
        var seen: [String] = []
        for number in 0..<count {
            let id = "b02-\(context.runID)-\(number)"
            let wanted: JSONValue = ["id": .string(id), "type": "track", "name": "wanted", "user_id": "u"]
            let other: JSONValue = ["id": .string(id + "x"), "type": "track", "name": "other", "user_id": "u"]
            let answer = try await context.call { try await org.write.events([wanted, other]) }
            let acknowledged = DispatchTime.now().uptimeNanoseconds
            findings.expect(answer.status == 202, "event \(number) is answered \(answer.status) \(answer.code)")
            guard case .text(let frame, let at) = try await socket.next(within: .seconds(5)) else { continue }
            let value = try? JSONDecoder().decode(JSONValue.self, from: Data(frame.utf8))
            seen.append(value?.at("event", "id")?.string ?? frame)
            recorder.finished(intended: acknowledged, sent: acknowledged, answered: max(acknowledged, at))
        }
        await socket.close()
        findings.expect(
            seen == (0..<count).map { "b02-\(context.runID)-\($0)" },
            "the tail shows \(seen.count) events, not in order")
        findings.keep(recorder, as: "tail")
        let summary = recorder.summary
        findings.measure(Measure("samples", Double(summary.n), "", .atLeast, bar: 100, n: Int(summary.n)))
        findings.measure(Measure("p50", summary.p50, below: 1000, n: summary.n))
        findings.measure(Measure("p95", summary.p95, below: 1000, n: summary.n))
    }

    // MARK: exports

    @Sendable private static func exports(_ context: CheckContext, _ findings: Findings) async throws {
        let org = try await context.organisation("b03")
        let count = 3000
        let events = (0..<count).map { number -> JSONValue in
            ["id": .string("b03-\(number)"), "type": "track", "name": "=formula", "user_id": .string("u\(number % 7)")]
        }
        for start in stride(from: 0, to: count, by: 1000) {
            let answer = try await context.call { try await org.write.events(Array(events[start..<start + 1000])) }
            findings.expect(answer.status == 202, "the events are answered \(answer.status) \(answer.code)")
        }
        var hashes: Set<String> = []
        for _ in 0..<2 {
            let created = try await context.call {
                try await org.read.post(
                    "/v1/exports", ["format": "csv", "compression": "none", "columns": ["id", "name"]])
            }
            let id = created.json["id"]?.string ?? ""
            findings.expect(created.status == 201, "an export is answered \(created.status) \(created.code)")
            let job = try await context.poll(within: .seconds(30)) {
                try await org.read.get("/v1/exports/\(id)")
            } until: {
                $0.json["state"] == "done" || $0.json["state"] == "failed"
            }
            findings.expect(
                job.json["state"] == "done" && job.json["rows"]?.integer == Int64(count),
                "the export ends \(job.text.prefix(300))")
            hashes.insert(job.json["sha256"]?.string ?? "")
            let file = try await context.call { try await org.read.get("/v1/exports/\(id)/file") }
            let lines = file.text.split(separator: "\r\n")
            findings.expect(
                lines.count == count + 1 && lines.dropFirst().allSatisfy { $0.hasSuffix(",'=formula") },
                "the file has \(lines.count) lines")
            findings.expect(file.header("aurum-sha256") == job.json["sha256"]?.string, "the file names another hash")
        }
        findings.expect(hashes.count == 1, "the same export twice has \(hashes.count) hashes")
    }
}
