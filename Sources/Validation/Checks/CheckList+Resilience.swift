internal import AurumCore
internal import Synchronization

/// The server is killed under load and must have kept what it acknowledged.
extension CheckList {
    static let resilience: [Check] = [
        Check(
            id: "R01", title: "SIGKILL under load", phase: "resilience", suites: ["events", "conversation", "leads"],
            threshold: "every acknowledged event, message and lead found once; ready again ≤ 5 s",
            source: "platform validation", needsOwnServer: true, seconds: 120, body: killed)
    ]

    /// What senders were told is safe.
    private final class Acknowledged: Sendable {
        private let state = Mutex<[String: Set<String>]>([:])
        private let stopped = Mutex(false)

        func add(_ ids: [String], of person: String) { state.withLock { $0[person, default: []].formUnion(ids) } }
        var byPerson: [String: Set<String>] { state.withLock { $0 } }
        var count: Int { state.withLock { $0.values.reduce(0) { $0 + $1.count } } }
        var isStopped: Bool { stopped.withLock { $0 } }
        func stop() { stopped.withLock { $0 = true } }
    }

    private static let senders = 4
    private static let eventsABody = 40
    /// Persons are small enough to be read back in one answer.
    private static let bodiesAPerson = 20

    @Sendable private static func killed(_ context: CheckContext, _ findings: Findings) async throws {
        guard let server = context.server else { return }
        let org = try await context.organisation("r01")
        try await context.addBuyer("scattered", to: org)
        var random = SeededRandom(seed: context.seed)
        let acknowledged = Acknowledged()
        var recoveries: [Double] = []
        let rounds = [.standard, .full].contains(context.profile) ? 20 : 2
        for round in 0..<rounds {
            let leads = try await acknowledgedLeads(context, findings, org, round: round)
            let talk = try await startTalk(context, findings, org, round: round)
            let pause = Double.random(in: 0.4...1.2, using: &random)
            let ready = try await underLoad(context, findings, org, acknowledged, round: round) {
                try await Task.sleep(for: .seconds(pause))
                await server.kill()
                let clock = ContinuousClock()
                let start = clock.now
                _ = try await server.restart()
                return (clock.now - start).seconds
            }
            recoveries.append(ready)
            try await leadsAreThere(context, findings, org, leads)
            try await talkIsThere(context, findings, org, talk)
        }
        try await eventsAreThere(context, findings, org, acknowledged)
        findings.measure(Measure("kills", Double(rounds), "", n: rounds))
        findings.measure(Measure("start to ready, longest", recoveries.max() ?? 0, "s", .atMost, bar: 5, n: rounds))
        findings.measure(Measure("acknowledged events", Double(acknowledged.count), "", .atLeast, bar: 1000, n: rounds))
    }

    /// Sends bodies from several tasks until `fault` is over and a little longer.
    private static func underLoad(
        _ context: CheckContext, _ findings: Findings, _ org: Organisation, _ acknowledged: Acknowledged, round: Int,
        fault: @Sendable @escaping () async throws -> Double
    ) async throws -> Double {
        let flag = Acknowledged()
        return try await withThrowingTaskGroup(of: Double?.self) { group in
            for sender in 0..<senders {
                group.addTask {
                    var body = 0
                    while !flag.isStopped, !Task.isCancelled {
                        let person = "r01-\(round)-\(sender)-\(body / bodiesAPerson)-\(context.runID)"
                        await sendBody(context, findings, org, acknowledged, person: person, number: body)
                        body += 1
                    }
                    return nil
                }
            }
            group.addTask {
                defer { flag.stop() }
                let took = try await fault()
                try await Task.sleep(for: .milliseconds(300))
                return took
            }
            var took = 0.0
            for try await result in group { if let result { took = result } }
            return took
        }
    }

    private static func sendBody(
        _ context: CheckContext, _ findings: Findings, _ org: Organisation, _ acknowledged: Acknowledged,
        person: String, number: Int
    ) async {
        let ids = (0..<eventsABody).map { "\(person)-\(number)-\($0)" }
        let events: [JSONValue] = ids.map {
            ["id": .string($0), "type": "track", "name": "r01", "anonymous_id": .string(person)]
        }
        guard let answer = try? await context.call({ try await org.write.events(events) }) else {
            // Refused or cut off while the server is down: nothing was promised.
            try? await Task.sleep(for: .milliseconds(20))
            return
        }
        guard answer.status == 202, answer.json["final"] == true else { return }
        let kept = (answer.json["stored"]?.integer ?? 0) + (answer.json["duplicate"]?.integer ?? 0)
        if kept == Int64(ids.count) { acknowledged.add(ids, of: person) }
    }

    private static func eventsAreThere(
        _ context: CheckContext, _ findings: Findings, _ org: Organisation, _ acknowledged: Acknowledged
    ) async throws {
        var lost = 0
        var twice = 0
        for (person, ids) in acknowledged.byPerson {
            let answer = try await context.call {
                try await org.read.get("/v1/events?anonymous_id=\(person)&limit=1000")
            }
            guard findings.expect(answer.status == 200, "GET /v1/events answered \(answer.status) \(answer.code)")
            else { return }
            let found = answer.json["events"]?.array?.compactMap { $0["id"]?.string } ?? []
            lost += ids.subtracting(found).count
            twice += found.count - Set(found).count
        }
        findings.measure(Measure("acknowledged events lost", Double(lost), "", .equals, bar: 0, n: acknowledged.count))
        findings.measure(Measure("events stored twice", Double(twice), "", .equals, bar: 0, n: acknowledged.count))
    }

    private static func acknowledgedLeads(
        _ context: CheckContext, _ findings: Findings, _ org: Organisation, round: Int
    ) async throws -> Set<String> {
        var ids: Set<String> = []
        for index in 0..<5 {
            let body = LeadBodies.rooftop(number: context.number(round * 100 + index))
            let answer = try await context.call { try await org.manage.post("/v1/leads", body) }
            if findings.expect(answer.status == 201, "a lead is answered \(answer.status): \(answer.text.prefix(200))"),
                let id = answer.json["id"]?.string
            {
                ids.insert(id)
            }
        }
        return ids
    }

    private static func leadsAreThere(
        _ context: CheckContext, _ findings: Findings, _ org: Organisation, _ leads: Set<String>
    ) async throws {
        for id in leads {
            let answer = try await context.call { try await org.read.get("/v1/leads/\(id)") }
            findings.expect(answer.status == 200, "acknowledged lead \(id) is answered \(answer.status) after the kill")
            let (row, _) = try await context.settled(id, in: org, within: .seconds(20))
            findings.expect(
                row["state"] == "sold", "lead \(id) is \(row["state"]?.string ?? "not shown") after the kill")
            let sales = context.fakes.buyer("scattered")?.book.count { UID($0.leadID) == UID(id) } ?? 0
            findings.expect(sales == 1, "the buyer holds lead \(id) \(sales) times")
        }
    }

    private static func startTalk(
        _ context: CheckContext, _ findings: Findings, _ org: Organisation, round: Int
    ) async throws -> (token: String, said: [String], lastSeq: Int) {
        let persona = Persona.ideal(number: context.number(round * 100 + 50))
        var talk = try await ChatTalk.open(
            base: context.target.url, siteKey: org.site,
            hello: ChatHello(
                visitorID: "r01-\(round)-\(context.runID)", traceID: UID(now: SystemWallClock().now).hex,
                page: context.target.url + "/"))
        var said: [String] = []
        for _ in 0..<3 {
            guard let slots = talk.turn.slotAsked else { break }
            let words = persona.answer(to: slots, quickReplies: talk.turn.quickReplies)
            findings.sent(1)
            let turn = try await talk.sayPatiently(words)
            if turn.frames.contains(where: { $0["type"] == "accepted" }) { said.append(words) }
        }
        findings.expect(said.count == 3, "only \(said.count) messages were accepted before the kill")
        return (talk.resumeToken, said, talk.lastSeq)
    }

    private static func talkIsThere(
        _ context: CheckContext, _ findings: Findings, _ org: Organisation,
        _ before: (token: String, said: [String], lastSeq: Int)
    ) async throws {
        var talk = try await ChatTalk.open(
            base: context.target.url, siteKey: org.site,
            hello: ChatHello(
                visitorID: "r01", traceID: UID(now: SystemWallClock().now).hex, page: context.target.url + "/",
                resumeToken: before.token, lastSeq: 0))
        findings.sent(1)
        while talk.lastSeq < before.lastSeq, try await talk.nextFrame(within: .seconds(3)) != nil {}
        let sequence = talk.frames.compactMap { $0["seq"]?.integer }
        findings.expect(
            sequence == Array(1...Int64(max(1, before.lastSeq))),
            "after the kill the frames are \(sequence), not 1 to \(before.lastSeq)")
        let kept = talk.welcome["visitorMessages"]?.array?.compactMap { $0["text"]?.string } ?? []
        findings.expect(
            kept == before.said, "after the kill the visitor's words are \(kept), accepted were \(before.said)")
        await talk.bye()
    }
}
