package import AurumCore
package import Database
internal import Foundation
package import Logging
internal import ServiceLifecycle
internal import Synchronization
package import Telemetry

/// Sells leads: asks eligible buyers for bids at the same time, reserves caps and the lead for the best, posts it, and
/// lets a verified acknowledgement, never a status code, decide what is booked.
///
/// One instance runs per database. Every step is durable before the next begins, so that a crash at any point leaves
/// each leg in a state that says what is known: reserved legs are posted after a restart, posting ones become unknown.
package final class Marketplace: Service {
    package struct Configuration: Sendable {
        /// Leads routed at once.
        package var concurrency = 8
        /// How often leftovers, recognitions and open answers are looked for.
        package var pollInterval: Duration = .seconds(1)
        /// An answer that stays unknown for so long is given up.
        package var unknownHold: Duration = .seconds(24 * 3600)
        /// How long buyers' past outcomes are reused before they are counted again.
        package var recordsAge: Duration = .seconds(5)

        package init() {}
    }

    private struct State {
        var inFlight: Set<LeadRef> = []
        var records: [String: (at: Timestamp, records: [String: BuyerRecord])] = [:]
        var isStopping = false
    }

    private let store: MarketStore
    private let buyer: any LeadBuyer
    private let clock: any WallClock
    private let registry: MetricRegistry
    private let logger: Logger
    private let configuration: Configuration
    private let state = Mutex(State())
    private let wakes: AsyncStream<Void>
    private let waker: AsyncStream<Void>.Continuation

    package init(
        database: Database, buyer: any LeadBuyer, policies: ScorePolicies, clock: any WallClock,
        registry: MetricRegistry, logger: Logger, configuration: Configuration = Configuration()
    ) {
        store = MarketStore(
            database: database, policies: policies, clock: clock, ledger: Ledger(registry: registry))
        self.buyer = buyer
        self.clock = clock
        self.registry = registry
        self.logger = logger
        self.configuration = configuration
        (wakes, waker) = AsyncStream.makeStream(bufferingPolicy: .bufferingNewest(1))
    }

    /// Tells the worker that a lead was committed. Never blocks.
    package func wake() { waker.yield() }

    /// Works until graceful shutdown: then no new round begins, and posts under way are waited for.
    package func run() async throws {
        try await recover()
        await withDiscardingTaskGroup { group in
            group.addTask { await self.keepTime() }
            for await _ in wakes.cancelOnGracefulShutdown() { await start(in: &group) }
            state.withLock { $0.isStopping = true }
        }
    }

    /// Classifies what an earlier run of the program left open. `run()` does this first.
    package func recover() async throws {
        let count = try await store.recover()
        if count > 0 {
            logger.warning("posts were interrupted; their answers are unknown", metadata: ["legs": "\(count)"])
        }
    }

    /// Routes every lead that is due now, each at most once, and returns when all rounds have ended.
    package func routeDue() async throws {
        var seen: Set<LeadRef> = []
        while true {
            let due = try await store.due(limit: 1000 + seen.count).filter { !seen.contains($0) }
            if due.isEmpty { return }
            seen.formUnion(due)
            await withTaskGroup(of: Void.self) { group in
                for (index, lead) in due.enumerated() {
                    if index >= configuration.concurrency { await group.next() }
                    group.addTask { await self.route(lead) }
                }
            }
        }
    }

    /// Recognition, expiry and repeats whose time has come.
    package func keepBooks() async throws {
        while try await store.recogniseDue(limit: 200) == 200 {}
        _ = try await store.expireUnknowns(hold: configuration.unknownHold)
        for (leg, ready) in try await store.reposts() {
            let answer = await send(ready)
            do {
                try await store.resolve(org: leg.org, leg: leg.id, answer: answer)
            } catch MarketError.notUnknown {
                continue
            }
        }
        registry.gauge(.marketUnknownOpen).set(Double(try await store.openUnknowns()))
    }

    /// Settles a leg whose answer was unknown.
    /// - Throws: `MarketError.unknownLeg`, `notUnknown`.
    package func resolve(org: String, leg: UID, answer: PostAnswer) async throws {
        try await store.resolve(org: org, leg: leg, answer: answer)
        wake()
    }

    // MARK: The worker

    private func keepTime() async {
        try? await cancelWhenGracefulShutdown {
            while !Task.isCancelled {
                do {
                    try await self.keepBooks()
                } catch {
                    self.logger.error("market books failed", metadata: ["code": "market_failed", "error": "\(error)"])
                }
                self.wake()
                try await Task.sleep(for: self.configuration.pollInterval)
            }
        }
    }

    private func start(in group: inout DiscardingTaskGroup) async {
        let busy = state.withLock { $0.inFlight.count }
        guard busy < configuration.concurrency else { return }
        do {
            for lead in try await store.due(limit: configuration.concurrency + busy) where claim(lead) {
                group.addTask {
                    let ended = await self.route(lead)
                    self.release(lead)
                    if ended { self.wake() }
                }
            }
        } catch {
            logger.error("due leads cannot be read", metadata: ["code": "market_failed", "error": "\(error)"])
        }
    }

    private func claim(_ lead: LeadRef) -> Bool {
        let count: Int? = state.withLock { state in
            guard state.inFlight.count < configuration.concurrency, state.inFlight.insert(lead).inserted else {
                return nil
            }
            return state.inFlight.count
        }
        if let count { registry.gauge(.marketInFlight).set(Double(count)) }
        return count != nil
    }

    private func release(_ lead: LeadRef) {
        let count = state.withLock { state in
            state.inFlight.remove(lead)
            return state.inFlight.count
        }
        registry.gauge(.marketInFlight).set(Double(count))
    }

    private var isStopping: Bool { state.withLock { $0.isStopping } }

    // MARK: One round

    /// Runs a round. False when it ended early: it goes on at the next poll.
    @discardableResult
    private func route(_ ref: LeadRef) async -> Bool {
        do {
            guard var round = try await store.open(ref) else { return true }
            for leg in round.leftovers { try await deliver(leg, &round) }
            if round.leftovers.isEmpty {
                try await collectBids(&round)
                if isStopping { return false }
                try await sell(&round)
            }
            let state = try await store.finish(round)
            registry.counter(.leadsRouted, state.rawValue).increment()
            return true
        } catch MarketError.stateChanged {
            return true
        } catch {
            logger.error(
                "routing stopped", metadata: ["code": "routing_failed", "lead": "\(ref.id)", "error": "\(error)"])
            return false
        }
    }

    /// Asks every eligible buyer at the same time and completes the verdicts.
    private func collectBids(_ round: inout Round) async throws {
        let records = try await records(of: round.ref.org)
        let started = ContinuousClock.now
        let open = round.decision.verdicts.filter { $0.refusal == nil }
        for verdict in open.dropFirst(Eligibility.fanOutMax) { round.refuse(verdict.buyer, .fanOutFull) }
        let asked = open.prefix(Eligibility.fanOutMax).compactMap { round.accounts[$0.buyer] }
        for (code, answer, took) in await pings(asked, round) {
            guard let account = round.accounts[code] else { continue }
            registry.counter(.marketPings, answer.label).increment()
            round.take(answer, from: account.buyer, record: records[code] ?? BuyerRecord(), took: took)
        }
        registry.histogram(.marketPingDuration).observe(ContinuousClock.now - started)
    }

    private func pings(_ accounts: [BuyerAccount], _ round: Round) async -> [(String, PingAnswer, Duration)] {
        let lead = round.decision.lead
        return await withTaskGroup(of: (String, PingAnswer, Duration).self) { group in
            for account in accounts {
                let ping = BuyerPing(
                    id: UID(now: clock.now), leadType: lead.type, zip: lead.zip, score: lead.score,
                    attributes: lead.attributes)
                group.addTask {
                    let started = ContinuousClock.now
                    let answer = await self.ask(account, ping)
                    return (account.buyer.code, answer, ContinuousClock.now - started)
                }
            }
            var answers: [(String, PingAnswer, Duration)] = []
            for await answer in group { answers.append(answer) }
            return answers
        }
    }

    /// One buyer's bid within its deadline; a buyer without ping bids its contract price.
    private func ask(_ account: BuyerAccount, _ ping: BuyerPing) async -> PingAnswer {
        let buyer = account.buyer
        guard buyer.ping != nil else { return buyer.price.map { .bid($0, token: nil) } ?? .unreadable("price") }
        let timeout = Duration.milliseconds(buyer.pingTimeoutMilliseconds)
        return await withTaskGroup(of: PingAnswer.self) { group in
            group.addTask {
                await self.buyer.ping(ping, buyer: buyer, credentials: account.credentials, timeout: timeout)
            }
            group.addTask {
                try? await Task.sleep(for: timeout)
                return .late
            }
            let first = await group.next() ?? .late
            group.cancelAll()
            return first
        }
    }

    private func records(of org: String) async throws -> [String: BuyerRecord] {
        let now = clock.now
        let known = state.withLock { $0.records[org] }
        if let known, now - known.at < configuration.recordsAge { return known.records }
        let records = try await store.records(org: org)
        state.withLock { $0.records[org] = (now, records) }
        return records
    }

    /// Offers the lead to the best, then to the next, until it is sold, an answer is open, or nobody is left.
    private func sell(_ round: inout Round) async throws {
        var open = round.decision.ranked
        var sharing: [Int] = []
        while true {
            let started = ContinuousClock.now
            let group = Ranking.choose(open, sharing: sharing)
            if group.isEmpty {
                round.isExhausted = true
                return
            }
            open.removeAll { one in group.contains { $0.buyer == one.buyer } }
            let legs = try await reserve(group, &round)
            registry.histogram(.marketDecisionDuration).observe(ContinuousClock.now - started)
            let answers = try await deliver(legs, &round)
            if answers.contains(where: \.isUnknown) { return }
            for (leg, answer) in zip(legs, answers) where answer.isAccepted {
                if leg.exclusive { return }
                sharing.append(round.accounts[leg.buyer]?.buyer.maxLegs ?? 1)
            }
        }
    }

    private func reserve(_ group: [Candidate], _ round: inout Round) async throws -> [LegRow] {
        var legs: [LegRow] = []
        for one in group {
            round.decision.chosen.append(one.buyer)
            do {
                legs.append(try await store.reserve(one, for: round))
                round.newBids = []
            } catch MarketError.capFull {
                round.decision.record(.capFull, reason: "", buyer: one.buyer)
            }
        }
        return legs
    }

    private func deliver(_ legs: [LegRow], _ round: inout Round) async throws -> [PostAnswer] {
        var answers: [UID: PostAnswer] = [:]
        try await withThrowingTaskGroup(of: (UID, PostAnswer).self) { group in
            for leg in legs { group.addTask { (leg.id, try await self.post(leg)) } }
            for try await (leg, answer) in group { answers[leg] = answer }
        }
        for leg in legs { round.note(answers[leg.id] ?? .unknown("lost"), leg.buyer) }
        return legs.map { answers[$0.id] ?? .unknown("lost") }
    }

    private func deliver(_ leg: LegRow, _ round: inout Round) async throws {
        round.note(try await post(leg), leg.buyer)
    }

    private func post(_ leg: LegRow) async throws -> PostAnswer {
        guard let ready = try await store.beginPost(leg) else { return .notSent("withdrawn") }
        let answer = await send(ready)
        try await store.record(answer, for: leg)
        return answer
    }

    private func send(_ ready: ReadyPost) async -> PostAnswer {
        let started = ContinuousClock.now
        let timeout = Duration.milliseconds(ready.account.buyer.postTimeoutMilliseconds)
        let answer = await buyer.post(
            ready.post, buyer: ready.account.buyer, credentials: ready.account.credentials, timeout: timeout)
        registry.histogram(.marketPostDuration).observe(ContinuousClock.now - started)
        registry.counter(.marketPosts, answer.label).increment()
        return answer
    }
}
