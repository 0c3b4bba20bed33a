internal import AurumCore
package import Database
internal import Synchronization
package import Telemetry

/// The fraud rules on the tables: decides before credit and keeps every verdict.
///
/// An install is judged once; asked again, the verdicts that stand answer, so that what a later look or a person
/// decided is not lost. What counts over time (devices behind an address, clicks of a device, patterns of publishers)
/// is what is known at that moment; `FraudReview` looks again when more is.
package struct FraudJudge: TouchJudge {
    private let store: FraudStore
    private let memory: FraudMemory
    private let registry: MetricRegistry

    package init(database: Database, registry: MetricRegistry) {
        store = FraudStore(database: database)
        memory = FraudMemory()
        self.registry = registry
    }

    /// - Returns: the verdict of the install, and one for each candidate in its order. Of more candidates than are
    ///   kept the oldest are judged by their own facts alone.
    /// - Throws: database errors.
    package func verdicts(
        of install: InstallFacts, _ candidates: [CandidateTouch]
    ) async throws -> (install: FraudVerdict, touches: [FraudVerdict]) {
        let began = ContinuousClock.now
        let org = install.org
        let state = try await memory.state(org: org, store)
        let all = FraudInstall(install, candidates)
        var kept = all
        kept.touches = Array(all.touches.suffix(FraudInstall.touchesMax))
        let facts = kept
        let (decided, fresh) = try await answers(facts, org, state)
        var touches: [UID: FraudDecision] = [:]
        for (touch, decision) in zip(facts.touches, decided.touches) { touches[touch.id] = decision }
        if all.touches.count > facts.touches.count {
            let older = Self.alone(all, state)
            for (touch, decision) in zip(all.touches, older.touches) where touches[touch.id] == nil {
                touches[touch.id] = decision
            }
        }
        count(fresh)
        registry.histogram(.fraudDecisionSeconds).observe(ContinuousClock.now - began)
        return (decided.install.verdict, candidates.map { touches[$0.id]?.verdict ?? .clean })
    }

    /// - Returns: what stands after it, and what was decided now.
    private func answers(
        _ facts: FraudInstall, _ org: String, _ state: FraudState
    ) async throws -> (FraudDecisions, [FraudDecision]) {
        // Most installs that are decided anew have every verdict: who only reads keeps no other from writing.
        let known = try await store.database.read("fraud.known") { try Self.known(facts, org, in: $0) }
        if let known { return (known, []) }
        return try await store.database.write("fraud.judge") { transaction in
            try Self.judge(facts, org, state, in: transaction)
        }
    }

    /// What stands; nil where a verdict is missing.
    private static func known(
        _ facts: FraudInstall, _ org: String, in transaction: Transaction
    ) throws -> FraudDecisions? {
        let standing = try FraudStore.standing(facts.id, org, in: transaction)
        guard let install = standing[facts.id]?.decision else { return nil }
        let touches = facts.touches.compactMap { standing[$0.id]?.decision }
        return touches.count == facts.touches.count ? FraudDecisions(install: install, touches: touches) : nil
    }

    /// - Returns: what stands after it, and what was decided now.
    private static func judge(
        _ facts: FraudInstall, _ org: String, _ state: FraudState, in transaction: Transaction
    ) throws -> (FraudDecisions, [FraudDecision]) {
        let standing = try FraudStore.standing(facts.id, org, in: transaction)
        let isNew = standing[facts.id] == nil
        var decided = FraudDecisions(
            install: standing[facts.id]?.decision ?? .clean,
            touches: facts.touches.map { standing[$0.id]?.decision ?? .clean })
        guard isNew || facts.touches.contains(where: { standing[$0.id] == nil }) else { return (decided, []) }
        try FraudStore.keep(facts, org, in: transaction)
        var memo = LimitMemo(state.settings, app: facts.app)
        let velocity = try FraudStore.velocity(facts, org, in: transaction) { memo.limits($0, $1) }
        let made = FraudJudgement.decide(
            facts, velocity, state.settings.lists, patterns: state.patterns[facts.app] ?? [:]
        ) { memo.limits($0, facts.at) }
        var fresh: [FraudDecision] = []
        func add(_ touch: Int?, _ decision: FraudDecision) throws {
            let change = FraudStore.Change(install: facts, touch: touch, decision: decision, number: 0)
            _ = try FraudStore.write(
                change, org, version: state.settings.version, stage: "install", in: transaction)
            fresh.append(decision)
        }
        if isNew {
            decided.install = made.install
            try add(nil, made.install)
        }
        for (place, touch) in facts.touches.enumerated() where standing[touch.id] == nil {
            decided.touches[place] = made.touches[place]
            try add(place, made.touches[place])
        }
        return (decided, fresh)
    }

    /// Without anything around it.
    private static func alone(_ install: FraudInstall, _ state: FraudState) -> FraudDecisions {
        var memo = LimitMemo(state.settings, app: install.app)
        return FraudJudgement.decide(
            install, FraudVelocity(clicks: [], installs: []) { memo.limits($0, $1) }, state.settings.lists,
            patterns: state.patterns[install.app] ?? [:]
        ) { memo.limits($0, install.at) }
    }

    private func count(_ decisions: [FraudDecision]) {
        for decision in decisions {
            registry.counter(.fraudVerdicts, decision.outcome.rawValue).increment()
            for code in decision.codes { registry.counter(.fraudCodes, code.rawValue).increment() }
        }
    }
}

/// Settings by organisation, read again when they changed.
final class FraudMemory: Sendable {
    private let known = Mutex<[String: FraudState]>([:])
    private static let organisationsMax = 256

    /// What holds now.
    /// - Throws: database errors.
    func state(org: String, _ store: FraudStore) async throws -> FraudState {
        let head = try await store.head(org: org)
        if let state = known.withLock({ $0[org] }), state.settings.version == head.version,
            state.patternVersion == head.patterns
        {
            return state
        }
        let state = try await store.state(org: org)
        known.withLock { known in
            if known.count >= Self.organisationsMax { known = [:] }
            known[org] = state
        }
        return state
    }
}
