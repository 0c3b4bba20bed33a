internal import AurumCore
internal import Foundation
internal import Synchronization

/// What the server leans on goes away under load and comes back.
extension CheckList {
    static let outages: [Check] = [
        Check(
            id: "R02", title: "Redis killed under load, and back", phase: "resilience", suites: ["runtime", "leads"],
            threshold: "degraded is shown ≤ 2 s, nothing is refused, every lead sold once, ledger zero; "
                + "all roles on Redis again ≤ 10 s",
            source: "runtime", profiles: [.standard, .full], needsOwnServer: true, seconds: 400, body: redisLost),
        Check(
            id: "R03", title: "PostgreSQL killed under load, and back", phase: "resilience",
            suites: ["database", "leads"],
            threshold: "503 within 8 s meanwhile, every acknowledged lead there and sold once, ledger zero; "
                + "taken again ≤ 10 s",
            source: "database", profiles: [.standard, .full], needsOwnServer: true, seconds: 500, body: postgresLost),
        Check(
            id: "R11", title: "a network to Redis that goes silent and is slow then, under load", phase: "resilience",
            suites: ["runtime", "leads"],
            threshold: "degraded is shown ≤ 6 s, nothing is refused, every lead sold once, ledger zero; "
                + "all roles on Redis again ≤ 10 s after the silence, over 100 ms each way",
            source: "runtime", profiles: [.standard, .full], needsOwnServer: true, seconds: 400, body: redisSilent),
    ]

    /// How long things are as they should be, and how long the other server is away.
    private struct Spans {
        let before: Duration
        let away: Duration
        let after: Duration

        init(_ profile: ValidationProfile) {
            switch profile {
            case .tiny, .smoke: (before, away, after) = (.seconds(3), .seconds(12), .seconds(4))
            case .standard: (before, away, after) = (.seconds(10), .seconds(15), .seconds(15))
            case .full: (before, away, after) = (.seconds(15), .seconds(20), .seconds(25))
            }
        }
    }

    /// Leads that were offered, and what was said to them.
    private final class Offered: Sendable {
        private struct State {
            var acknowledged: [String] = []
            var statuses: [Int: Int] = [:]
            var longest = Duration.zero
            var broken = 0
            var isStopped = false
        }

        private let state = Mutex(State())

        func add(_ answer: APIAnswer?, took: Duration) {
            state.withLock { state in
                state.longest = max(state.longest, took)
                guard let answer else { return state.broken += 1 }
                state.statuses[answer.status, default: 0] += 1
                if answer.status == 201, let id = answer.json["id"]?.string { state.acknowledged.append(id) }
            }
        }

        func stop() { state.withLock { $0.isStopped = true } }
        var isStopped: Bool { state.withLock { $0.isStopped } }
        var acknowledged: [String] { state.withLock { $0.acknowledged } }
        var statuses: [Int: Int] { state.withLock { $0.statuses } }
        var longest: Duration { state.withLock { $0.longest } }
        var broken: Int { state.withLock { $0.broken } }
    }

    private static let sellers = 3
    private static let leadPause: Duration = .milliseconds(400)
    /// A post that was under way when the database went is asked again after a minute.
    private static let soldWithin: Duration = .seconds(180)

    // MARK: The two checks

    @Sendable private static func redisLost(_ context: CheckContext, _ findings: Findings) async throws {
        guard KillableRedis.isInstalled else {
            return findings.isVoid(["\(KillableRedis.program) is not on this machine"])
        }
        try await lose(try KillableRedis(), context, findings) { context, spans in
            let shown = try await health(context, within: .seconds(10)) { $0["rate_limits"] == "degraded" }
            findings.measure(Measure("degraded is shown after", shown.seconds, "s", .atMost, bar: 2, n: 1))
            let ready = try await context.call { try await context.admin.get("/health/ready") }
            findings.expect(ready.status == 200, "without Redis /health/ready is answered \(ready.status)")
            try await Task.sleep(for: max(.zero, spans.away - shown))
        } back: {
            try await redisIsBack($0)
        } judge: {
            nothingWasRefused($0, findings)
        }
    }

    /// The network says nothing, then everything late; last it is as it was.
    @Sendable private static func redisSilent(_ context: CheckContext, _ findings: Findings) async throws {
        guard KillableRedis.isInstalled else {
            return findings.isVoid(["\(KillableRedis.program) is not on this machine"])
        }
        let network = try await RelayNetwork(to: KillableRedis())
        try await lose(network, context, findings) { context, spans in
            let shown = try await health(context, within: .seconds(20)) { $0["rate_limits"] == "degraded" }
            findings.measure(Measure("degraded is shown after", shown.seconds, "s", .atMost, bar: 6, n: 1))
            let ready = try await context.call { try await context.admin.get("/health/ready") }
            findings.expect(ready.status == 200, "over a silent network /health/ready is answered \(ready.status)")
            try await Task.sleep(for: max(.zero, spans.away - shown))
            network.slowDown()
            let returned = try await redisIsBack(context)
            findings.measure(Measure("all roles on a slow Redis after", returned.seconds, "s", .atMost, bar: 10, n: 1))
            try await Task.sleep(for: spans.after)
            let answer = try await context.call { try await context.admin.get("/health") }
            findings.expect(
                isOnRedis(states(answer)), "over a slow network health is \(answer.text.prefix(600))")
        } back: {
            try await redisIsBack($0)
        } judge: {
            nothingWasRefused($0, findings)
        }
    }

    private static func isOnRedis(_ states: [String: String]) -> Bool {
        ["redis", "rate_limits", "cache", "pubsub"].allSatisfy { states[$0] == "ok" }
    }

    private static func redisIsBack(_ context: CheckContext) async throws -> Duration {
        try await health(context, within: .seconds(60), isOnRedis)
    }

    private static func nothingWasRefused(_ offered: Offered, _ findings: Findings) {
        let others = offered.statuses.filter { $0.key != 201 }
        findings.expect(others.isEmpty && offered.broken == 0, "leads were refused or cut off: \(offered.statuses)")
    }

    @Sendable private static func postgresLost(_ context: CheckContext, _ findings: Findings) async throws {
        guard let postgres = context.postgres else {
            return findings.isVoid(["the programs of PostgreSQL are not on this machine"])
        }
        try await lose(try await postgres(), context, findings) { context, spans in
            let shown = try await health(context, within: .seconds(30)) { $0["database"] == "down" }
            findings.measure(Measure("down is shown after", shown.seconds, "s", .atMost, bar: 12, n: 1))
            let ready = try await context.call { try await context.admin.get("/health/ready") }
            findings.expect(ready.status == 503, "without the database /health/ready is answered \(ready.status)")
            try await Task.sleep(for: max(.zero, spans.away - shown))
        } back: { context in
            // Errors of the last minutes keep it degraded for as long as they are of the last minutes.
            try await health(context, within: .seconds(60)) { ["ok", "degraded"].contains($0["database"] ?? "") }
        } judge: { offered in
            let others = offered.statuses.filter { ![201, 503].contains($0.key) }
            findings.expect(
                others.isEmpty && offered.broken == 0, "answers were neither 201 nor 503: \(offered.statuses)")
            findings.expect((offered.statuses[503] ?? 0) > 0, "nothing was refused while the database was away")
            findings.measure(Measure("longest answer", offered.longest.seconds, "s", .atMost, bar: 8, n: 1))
        }
    }

    // MARK: What they share

    /// Sells leads on a server of its own while `other` is killed and comes back.
    private static func lose(
        _ other: any OutsideServer, _ context: CheckContext, _ findings: Findings,
        away: @escaping @Sendable (CheckContext, Spans) async throws -> Void,
        back: @escaping @Sendable (CheckContext) async throws -> Duration,
        judge: @Sendable (Offered) -> Void
    ) async throws {
        guard let own = context.server else { return }
        let server = await own.sibling(settings: other.settings)
        do {
            try await other.start()
            let context = context.on(try await server.start(), server)
            _ = try await back(context)
            let org = try await context.organisation(findings.name.lowercased())
            try await context.addBuyer("scattered", to: org)
            let spans = Spans(context.profile)
            let offered = Offered()
            let returned = try await underSales(context, org, offered) {
                try await Task.sleep(for: spans.before)
                try await other.kill()
                try await away(context, spans)
                try await other.start()
                let returned = try await back(context)
                try await Task.sleep(for: spans.after)
                return returned
            }
            findings.measure(Measure("as it was after", returned.seconds, "s", .atMost, bar: 10, n: 1))
            findings.measure(Measure("leads offered", Double(offered.statuses.values.reduce(0, +)), "", n: 1))
            judge(offered)
            try await leadsAreSold(context, findings, org, offered.acknowledged)
        } catch {
            await server.stop()
            await other.end()
            throw error
        }
        await server.stop()
        await other.end()
    }

    /// Offers leads from several tasks until `body` is over.
    private static func underSales(
        _ context: CheckContext, _ org: Organisation, _ offered: Offered,
        _ body: @escaping @Sendable () async throws -> Duration
    ) async throws -> Duration {
        try await withThrowingTaskGroup(of: Duration?.self) { group in
            for seller in 0..<sellers {
                group.addTask {
                    var number = seller * 10_000
                    while !offered.isStopped, !Task.isCancelled {
                        await offer(context, org, offered, number)
                        number += 1
                        try? await Task.sleep(for: leadPause)
                    }
                    return nil
                }
            }
            group.addTask {
                defer { offered.stop() }
                return try await body()
            }
            var returned = Duration.zero
            for try await result in group { if let result { returned = result } }
            return returned
        }
    }

    private static func offer(_ context: CheckContext, _ org: Organisation, _ offered: Offered, _ number: Int) async {
        let body = LeadBodies.rooftop(number: context.number(number))
        let start = ContinuousClock.now
        let answer = try? await context.call { try await org.manage.post("/v1/leads", body) }
        offered.add(answer, took: ContinuousClock.now - start)
    }

    /// Asks for the states of all components until they are as wanted, and answers how long that took.
    private static func health(
        _ context: CheckContext, within limit: Duration, _ isWanted: ([String: String]) -> Bool
    ) async throws -> Duration {
        let start = ContinuousClock.now
        let answer = try await context.poll(within: limit) {
            try await context.admin.get("/health")
        } until: {
            isWanted(states($0))
        }
        guard isWanted(states(answer)) else {
            throw CheckError.unexpected("after \(limit) health is still \(answer.text.prefix(600))")
        }
        return ContinuousClock.now - start
    }

    private static func states(_ answer: APIAnswer) -> [String: String] {
        (answer.json["components"]?.object ?? [:]).compactMapValues { $0["state"]?.string }
    }

    /// Every acknowledged lead is sold once, in Aurum's table and in the buyer's book, and the ledger is zero.
    private static func leadsAreSold(
        _ context: CheckContext, _ findings: Findings, _ org: Organisation, _ leads: [String]
    ) async throws {
        findings.expect(Set(leads).count == leads.count, "one lead was acknowledged twice")
        findings.measure(Measure("leads acknowledged", Double(leads.count), "", .atLeast, bar: 10, n: leads.count))
        let deadline = ContinuousClock.now + soldWithin
        var unsold: [String] = []
        for id in leads {
            let left = max(.seconds(1), deadline - ContinuousClock.now)
            let answer = try await context.poll(within: left, every: .milliseconds(200)) {
                try await org.read.get("/v1/leads/\(id)")
            } until: {
                $0.status == 404 || $0.json["state"] == "sold"
            }
            if answer.json["state"] != "sold" { unsold.append("\(id): \(answer.status) \(answer.text.prefix(200))") }
            let sales = context.fakes.buyer("scattered")?.book.count { UID($0.leadID) == UID(id) } ?? 0
            findings.expect(sales == 1, "the buyer holds lead \(id) \(sales) times")
        }
        findings.measure(
            Measure("acknowledged leads not sold", Double(unsold.count), "", .equals, bar: 0, n: leads.count))
        findings.expect(unsold.isEmpty, "not sold: \(unsold.prefix(3).joined(separator: "; "))")
        let ledger = try await context.call { try await org.read.get("/v1/ledger") }
        let sum = ledger.json["accounts"]?.array?.compactMap { $0["balance_minor"]?.integer }.reduce(0, +)
        findings.expect(sum == 0, "the ledger sums to \(sum.map { "\($0)" } ?? ledger.text)")
        let keeper = context.client(try await context.key(org.name, ["system:read"]))
        let dead = try await context.call { try await keeper.get("/v1/jobs?state=dead") }
        findings.expect(dead.json["jobs"] == .array([]), "jobs are dead: \(dead.text.prefix(300))")
    }
}
