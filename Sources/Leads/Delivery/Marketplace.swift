package import AurumCore
package import Database
internal import Foundation
package import Runtime
internal import Synchronization
package import Telemetry

/// Sells leads: asks eligible buyers for bids at the same time, reserves caps and the lead for the best, posts it, and
/// lets a verified acknowledgement, never a status code, decide what is booked.
///
/// It works in jobs; `handlers` do them. Every step is durable before the next begins, so that a crash at any point
/// leaves each leg in a state that says what is known: reserved legs are posted by the next worker, posting ones become
/// unknown.
package final class Marketplace: Sendable {
    package struct Configuration: Sendable {
        /// An answer that stays unknown for so long is given up.
        package var unknownHold: Duration = .seconds(24 * 3600)
        /// How long buyers' past outcomes are reused before they are counted again.
        package var recordsAge: Duration = .seconds(5)

        package init() {}
    }

    private struct State {
        var inFlight = 0
        var records: [String: (at: Timestamp, records: [String: BuyerRecord])] = [:]
    }

    private let store: MarketStore
    private let buyer: any LeadBuyer
    private let clock: any WallClock
    private let registry: MetricRegistry
    private let configuration: Configuration
    private let state = Mutex(State())

    /// Legs recognised in one transaction.
    private static let recogniseBatch = 200

    package init(
        database: Database, jobs: LeadJobs, buyer: any LeadBuyer, policies: ScorePolicies, clock: any WallClock,
        registry: MetricRegistry, configuration: Configuration = Configuration()
    ) {
        store = MarketStore(
            database: database, policies: policies, clock: clock, ledger: Ledger(registry: registry), jobs: jobs,
            unknownHold: configuration.unknownHold)
        self.buyer = buyer
        self.clock = clock
        self.registry = registry
        self.configuration = configuration
    }

    /// Gives every lead and leg that an earlier release left behind its job. Once, before the queue runs.
    package func adopt() async throws {
        try await store.adopt()
        try await countUnknowns()
    }

    /// What does the jobs of leads.
    package var handlers: [JobHandler] {
        [
            JobHandler(LeadJobs.route, makesCalls: true, onCancel: JobHandler.refuseCancel) {
                try await self.route(LeadRef(org: $0.org, id: $0.uid("lead")), $0)
            },
            JobHandler(LeadJobs.repost, makesCalls: true) { try await self.repost($0) },
            JobHandler(LeadJobs.expire, onCancel: JobHandler.refuseCancel) { job in
                try await self.store.expire(org: job.org, leg: job.uid("leg"), job)
                try await self.countUnknowns()
            },
            JobHandler(LeadJobs.recognise, onCancel: JobHandler.refuseCancel) { job in
                let limit = Self.recogniseBatch
                while try await self.store.recogniseDue(org: job.org, limit: limit, job) == limit {}
            },
        ]
    }

    private func repost(_ job: RunningJob) async throws {
        guard let (leg, ready, attempts) = try await store.repost(org: job.org, leg: job.uid("leg"), job) else {
            return
        }
        let answer = await send(ready)
        try await store.resolve(leg, attempts: attempts, answer: answer, job)
        try await countUnknowns()
    }

    private func countUnknowns() async throws {
        registry.gauge(.marketUnknownOpen).set(Double(try await store.openUnknowns()))
    }

    /// Settles a leg whose answer was unknown.
    /// - Throws: `MarketError.unknownLeg`, `notUnknown`.
    package func resolve(org: String, leg: UID, answer: PostAnswer) async throws {
        try await store.resolve(org: org, leg: leg, answer: answer)
        try await countUnknowns()
    }

    // MARK: One round

    private func route(_ ref: LeadRef, _ job: RunningJob) async throws {
        fly(+1)
        defer { fly(-1) }
        do {
            guard var round = try await store.open(ref, job) else { return }
            for leg in round.leftovers { try await deliver(leg, &round, job) }
            if round.leftovers.isEmpty {
                try await collectBids(&round)
                try await sell(&round, job)
            }
            let state = try await store.finish(round, job)
            registry.counter(.leadsRouted, state.rawValue).increment()
        } catch MarketError.stateChanged {
            // Withdrawn or erased meanwhile, or settled by somebody who was asked.
            try await store.leave(ref, job)
        }
    }

    private func fly(_ change: Int) {
        let count = state.withLock { state in
            state.inFlight += change
            return state.inFlight
        }
        registry.gauge(.marketInFlight).set(Double(count))
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
    private func sell(_ round: inout Round, _ job: RunningJob) async throws {
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
            let legs = try await reserve(group, &round, job)
            registry.histogram(.marketDecisionDuration).observe(ContinuousClock.now - started)
            let answers = try await deliver(legs, &round, job)
            if answers.contains(where: \.isUnknown) { return }
            for (leg, answer) in zip(legs, answers) where answer.isAccepted {
                if leg.exclusive { return }
                sharing.append(round.accounts[leg.buyer]?.buyer.maxLegs ?? 1)
            }
        }
    }

    private func reserve(_ group: [Candidate], _ round: inout Round, _ job: RunningJob) async throws -> [LegRow] {
        var legs: [LegRow] = []
        for one in group {
            round.decision.chosen.append(one.buyer)
            do {
                legs.append(try await store.reserve(one, for: round, job))
                round.newBids = []
            } catch MarketError.capFull {
                round.decision.record(.capFull, reason: "", buyer: one.buyer)
            }
        }
        return legs
    }

    private func deliver(_ legs: [LegRow], _ round: inout Round, _ job: RunningJob) async throws -> [PostAnswer] {
        var answers: [UID: PostAnswer] = [:]
        try await withThrowingTaskGroup(of: (UID, PostAnswer).self) { group in
            for leg in legs { group.addTask { (leg.id, try await self.post(leg, job)) } }
            for try await (leg, answer) in group { answers[leg] = answer }
        }
        for leg in legs { round.note(answers[leg.id] ?? .unknown("lost"), leg.buyer) }
        return legs.map { answers[$0.id] ?? .unknown("lost") }
    }

    private func deliver(_ leg: LegRow, _ round: inout Round, _ job: RunningJob) async throws {
        round.note(try await post(leg, job), leg.buyer)
    }

    private func post(_ leg: LegRow, _ job: RunningJob) async throws -> PostAnswer {
        guard let ready = try await store.beginPost(leg, job) else { return .notSent("withdrawn") }
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
