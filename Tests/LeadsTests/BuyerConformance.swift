import AurumCore
import Connectors
import Leads
import Runtime
import Telemetry
import TestSupport
import Testing
import Validation

/// How a buyer behaves, as every implementation of `LeadBuyer` must report it.
struct BuyerCase: Sendable, CustomStringConvertible {
    enum Ping: Sendable { case bid, declined, unreadable, late }
    enum Post: Sendable { case accepted, rejected, unknown }

    let behaviour: BuyerBehaviour
    let ping: Ping
    let post: Post

    var description: String { behaviour.rawValue }

    static let all = [
        BuyerCase(behaviour: .accept, ping: .bid, post: .accepted),
        BuyerCase(behaviour: .reject, ping: .declined, post: .rejected),
        BuyerCase(behaviour: .lying, ping: .bid, post: .rejected),
        BuyerCase(behaviour: .duplicate, ping: .bid, post: .rejected),
        BuyerCase(behaviour: .createdWithRejectBody, ping: .bid, post: .rejected),
        BuyerCase(behaviour: .timeoutAfterAccept, ping: .bid, post: .unknown),
        BuyerCase(behaviour: .malformed, ping: .unreadable, post: .unknown),
        BuyerCase(behaviour: .slow, ping: .late, post: .unknown),
    ]
}

/// The suite that every `LeadBuyer` runs: the same behaviours, the same answers.
struct BuyerConformance: Sendable {
    let client: any LeadBuyer
    let buyer: Buyer

    static func buyer(base: String) throws -> Buyer {
        let body: JSONValue = [
            "name": "B", "ping": .string(base + "/ping"), "post": .string(base + "/post"), "leadTypes": ["rooftop"],
            "pingTimeoutMilliseconds": 500,
        ]
        return try BuyerBody(body, code: "b", leadTypes: ["rooftop"], allowLoopback: true).buyer
    }

    /// A buyer that answers has all the time it needs; one that never does is not waited for.
    private func patience(_ hangs: Bool) -> Duration { hangs ? .milliseconds(500) : .seconds(60) }

    func check(_ one: BuyerCase) async {
        let now = SystemWallClock().now
        let ping = BuyerPing(id: UID(now: now), leadType: "rooftop", zip: "11215", score: 80, attributes: [:])
        let bid = await client.ping(
            ping, buyer: buyer, credentials: BuyerCredentials(), timeout: patience(one.ping == .late))
        var token: String?
        switch (bid, one.ping) {
        case (.bid(let price, let given), .bid):
            token = given
            #expect(price.minorUnits > 0 && given != nil)
        case (.declined(let reason), .declined): #expect(reason == "no_demand")
        case (.unreadable, .unreadable), (.late, .late): break
        default: Issue.record("\(one): ping gave \(bid)")
        }
        let post = BuyerPost(
            leg: UID(now: now), lead: UID(now: now), token: token ?? "none", contact: LeadContact(zip: "11215"),
            attributes: [:], certificate: [:], certificateSalt: "00", attempt: 1, fence: Fence(rawValue: 1))
        let answer = await client.post(
            post, buyer: buyer, credentials: BuyerCredentials(),
            timeout: patience(one.post == .unknown && one.behaviour != .malformed))
        switch (answer, one.post) {
        case (.accepted(let id), .accepted): #expect(id != nil)
        case (.rejected(let reason), .rejected): #expect(!reason.isEmpty)
        case (.unknown(let reason), .unknown): #expect(!reason.isEmpty)
        case (.rejected("unknown_token"), _) where one.ping != .bid: break
        default: Issue.record("\(one): post gave \(answer)")
        }
    }

    /// A post whose task is cancelled returns soon and never claims to know what came of it.
    /// - Parameter isBefore: whether it is cancelled before it is made, for buyers who answer at once.
    func checkCancellation(isBefore: Bool = false) async {
        let now = SystemWallClock().now
        let post = BuyerPost(
            leg: UID(now: now), lead: UID(now: now), token: "x", contact: LeadContact(), attributes: [:],
            certificate: [:], certificateSalt: "", attempt: 1, fence: Fence(rawValue: 1))
        let task = Task {
            if isBefore { withUnsafeCurrentTask { $0?.cancel() } }
            return await client.post(post, buyer: buyer, credentials: BuyerCredentials(), timeout: .seconds(60))
        }
        task.cancel()
        let answer = await task.value
        switch answer {
        case .unknown, .notSent: break
        default: Issue.record("a cancelled post gave \(answer)")
        }
    }
}

@Suite struct BuyerConformanceTests {
    @Test(arguments: BuyerCase.all)
    func `a buyer over HTTP is reported as it behaves`(one: BuyerCase) async throws {
        let configuration = FakeBuyerConfiguration(code: "b", behaviour: one.behaviour, delay: .seconds(30))
        try await withBuyers([configuration]) { _, url, client in
            let suite = BuyerConformance(client: client, buyer: try BuyerConformance.buyer(base: url + "/b"))
            await suite.check(one)
            if one.behaviour == .timeoutAfterAccept { await suite.checkCancellation() }
        }
    }

    @Test(arguments: BuyerCase.all)
    func `a buyer behind its guard is reported the same`(one: BuyerCase) async throws {
        let configuration = FakeBuyerConfiguration(code: "b", behaviour: one.behaviour, delay: .seconds(30))
        let clock = SystemWallClock()
        let guards = GuardBook(registry: MetricRegistry(), health: HealthRegistry(clock: clock), clock: clock)
        try await withBuyers([configuration]) { _, url, client in
            let buyer = try BuyerConformance.buyer(base: url + "/b")
            let guarded = GuardedLeadBuyer(client, guards: guards)
            await BuyerConformance(client: guarded, buyer: buyer).check(one)
            let name = try #require(guards.states.first?.name)
            #expect(name == "buyer:b@127.0.0.1")
            guards.hold(only: [name])
            let ping = BuyerPing(
                id: UID(now: clock.now), leadType: "rooftop", zip: "11215", score: 80, attributes: [:])
            let refused = await guarded.ping(
                ping, buyer: buyer, credentials: BuyerCredentials(), timeout: .seconds(60))
            #expect(refused == .unreachable("breaker_open"))
        }
    }

    @Test func `a buyer that asks for patience is pinged again after it, and says so itself`() async throws {
        let configuration = FakeBuyerConfiguration(code: "b", behaviour: .rateLimited, rateLimit: 1)
        let clock = SystemWallClock()
        let guards = GuardBook(registry: MetricRegistry(), health: HealthRegistry(clock: clock), clock: clock)
        try await withBuyers([configuration]) { _, url, client in
            let buyer = try BuyerConformance.buyer(base: url + "/b")
            let guarded = GuardedLeadBuyer(client, guards: guards)
            @Sendable func ping(_ way: some LeadBuyer) async -> PingAnswer {
                let ping = BuyerPing(
                    id: UID(now: clock.now), leadType: "rooftop", zip: "11215", score: 80, attributes: [:])
                return await way.ping(ping, buyer: buyer, credentials: BuyerCredentials(), timeout: .seconds(60))
            }
            // One a second: at least one of two is told to wait, and both have a bid in the end.
            for _ in 0..<2 {
                let answer = await ping(guarded)
                if case .bid = answer {} else { Issue.record("\(answer)") }
            }
            var answer = await ping(client)
            for _ in 0..<100 {
                if case .bid = answer { answer = await ping(client) }
            }
            #expect(answer == .busy("http_429", retryAfter: .seconds(1)))
        }
    }

    @Test(arguments: BuyerCase.all)
    func `a scripted buyer is reported as it behaves`(one: BuyerCase) async throws {
        let client = ScriptedLeadBuyer(
            ping: { _, _ in
                switch one.ping {
                case .bid: .bid(.usd(cents: 100), token: "t")
                case .declined: .declined("no_demand")
                case .unreadable: .unreadable("http_200")
                case .late: .late
                }
            },
            post: { _, _ in
                if Task.isCancelled { return .notSent("cancelled") }
                return switch one.post {
                case .accepted: .accepted(id: "1")
                case .rejected: .rejected("no")
                case .unknown: .unknown("timeout")
                }
            })
        let suite = BuyerConformance(client: client, buyer: try BuyerConformance.buyer(base: "http://127.0.0.1:1"))
        await suite.check(one)
        await suite.checkCancellation(isBefore: true)
    }
}
