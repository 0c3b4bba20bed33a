internal import AurumCore
internal import Synchronization

/// Why a call did not go out: nothing was sent.
package enum GuardRefusal: Error, Sendable, Equatable {
    case breakerOpen(retryAfter: Duration)
    case bulkheadFull
    /// A plan of faults kept it back.
    case injected

    /// A stable code.
    package var reason: String {
        switch self {
        case .breakerOpen: "breaker_open"
        case .bulkheadFull: "bulkhead_full"
        case .injected: Self.injectedReason
        }
    }

    /// Also of answers that a plan of faults made up.
    package static let injectedReason = "fault_injected"
}

/// What a caller makes of an answer.
package enum GuardJudgement: Sendable {
    case good
    case bad
    /// Bad, and nothing was changed by it: may be tried again.
    case badAndSafe
    /// The same, and the dependency asked for so long a rest before: `Retry-After`.
    case badAndSafeAfter(Duration)
}

/// How calls of one kind are guarded.
package struct GuardOptions: Sendable {
    /// Tries in all.
    package var triesMax = 3
    package var backoffFirst: Duration = .milliseconds(100)
    package var backoffMax: Duration = .seconds(5)
    /// Whether slowness counts against the dependency.
    package var judgesSlowness = true

    package init() {}
}

/// Stands before one dependency: retry within the budget, breaker, bulkhead, from the outside in. Timeouts are the
/// call's own. In a process for tests a plan of faults strikes behind all of them, where the network would.
package final class Guard: Sendable {
    package static let runningMax = 64
    package static let waitingMax = 64
    package static let waitMax: Duration = .milliseconds(500)
    /// A caller that gave up after so much of a call's time waited for the dependency, which counts as bad.
    private static let patience = 0.9

    package let name: String
    private let breaker: Mutex<BreakerMachine>
    private let bulkhead: Bulkhead
    private let budget: RetryBudget
    private let clock: any WallClock
    private let faults: FaultInjector?
    private let onChange: @Sendable (BreakerMachine.State) -> Void

    init(
        name: String, rules: BreakerMachine.Rules, budget: RetryBudget, clock: any WallClock,
        faults: FaultInjector? = nil, onChange: @escaping @Sendable (BreakerMachine.State) -> Void
    ) {
        self.name = name
        self.budget = budget
        self.clock = clock
        self.faults = faults
        self.onChange = onChange
        breaker = Mutex(BreakerMachine(rules: rules))
        bulkhead = Bulkhead(runningMax: Self.runningMax, waitingMax: Self.waitingMax, waitMax: Self.waitMax)
    }

    package var state: BreakerMachine.State { breaker.withLock { $0.state } }

    package func isolate() { change { $0.isolate() } }
    package func observe() { change { $0.observe() } }
    package func release() { change { $0.release() } }

    /// Makes the call, if the dependency is not given up.
    /// - Parameters:
    ///   - total: no try begins when its waiting would end later, whatever rest the dependency asks for.
    ///   - lost: what an answer that never came is; without it no answer is lost on purpose.
    ///   - call: one try with the time that is left; its own timeout is not longer.
    package func call<Answer: Sendable>(
        within total: Duration, _ options: GuardOptions = GuardOptions(), lost: Answer? = nil,
        judge: @Sendable (Answer) -> GuardJudgement, _ call: @Sendable (_ left: Duration) async -> Answer
    ) async throws(GuardRefusal) -> Answer {
        let start = ContinuousClock.now
        budget.begin()
        defer { budget.end() }
        var outcome = await attempt(options, judge, left: total, lost, call)
        var backoff = options.backoffFirst
        var tries = 1
        while let rest = Self.rest(after: outcome, judge), tries < options.triesMax, !Task.isCancelled {
            // Who asks for more rest than the caller has time for is not called again, and nobody waits for it.
            let pause = max(backoff * Double.random(in: 0...1), rest)
            let left = total - (ContinuousClock.now - start) - pause
            guard left > .zero, budget.beginRetry(.http) else { break }
            defer { budget.endRetry() }
            try? await Task.sleep(for: pause)
            let next = await attempt(options, judge, left: left, lost, call)
            // The first answer is worth more than a refusal by the breaker it has just opened.
            if case .failure(let refusal) = next, refusal != .injected { break }
            outcome = next
            backoff = min(backoff * 2, options.backoffMax)
            tries += 1
        }
        return try outcome.get()
    }

    /// How long the dependency is to be left alone before it is tried again; nil when it must not be.
    private static func rest<Answer>(
        after outcome: Result<Answer, GuardRefusal>, _ judge: (Answer) -> GuardJudgement
    ) -> Duration? {
        switch outcome {
        case .success(let answer):
            switch judge(answer) {
            case .good, .bad: nil
            case .badAndSafe: .zero
            case .badAndSafeAfter(let rest): rest
            }
        case .failure(let refusal): refusal == .injected ? .zero : nil
        }
    }

    private func attempt<Answer: Sendable>(
        _ options: GuardOptions, _ judge: @Sendable (Answer) -> GuardJudgement, left: Duration, _ lost: Answer?,
        _ call: @Sendable (_ left: Duration) async -> Answer
    ) async -> Result<Answer, GuardRefusal> {
        if let wait = change({ $0.admit(at: clock.now) }) { return .failure(.breakerOpen(retryAfter: wait)) }
        let asked = ContinuousClock.now
        let isIn = await bulkhead.enter(within: left)
        defer { if isIn { bulkhead.leave() } }
        let sent = ContinuousClock.now
        // What was spent waiting is not there for the call.
        let remaining = left - (sent - asked)
        guard isIn, remaining > .zero else {
            change { $0.withdraw() }
            return .failure(.bulkheadFull)
        }
        let began = clock.now
        let outcome = await send(lost, within: remaining, call)
        let now = clock.now
        let isGood = if case .success(let answer) = outcome, case .good = judge(answer) { true } else { false }
        // A caller that gave up early says nothing about the dependency.
        guard isGood || !Task.isCancelled || ContinuousClock.now - sent >= remaining * Self.patience else {
            change { $0.withdraw() }
            return outcome
        }
        let took = options.judgesSlowness ? max(.zero, now - began) : .zero
        change { $0.record(isGood: isGood, took: took, at: now) }
        return outcome
    }

    /// Makes the call, with the fault that strikes it; `injected` when it was not sent.
    private func send<Answer: Sendable>(
        _ lost: Answer?, within left: Duration, _ call: @Sendable (_ left: Duration) async -> Answer
    ) async -> Result<Answer, GuardRefusal> {
        guard let fault = faults?.strike(name) else { return .success(await call(left)) }
        let started = ContinuousClock.now
        switch fault.kind {
        case .error, .partition: return .failure(.injected)
        case .latency, .pause:
            try? await Task.sleep(for: min(fault.wait, left))
            let rest = left - (ContinuousClock.now - started)
            return rest > .zero ? .success(await call(rest)) : .failure(.injected)
        case .drop:
            let answer = await call(left)
            return .success(lost ?? answer)
        case .duplicate:
            let answer = await call(left)
            let rest = left - (ContinuousClock.now - started)
            return .success(rest > .zero ? await call(rest) : answer)
        }
    }

    @discardableResult
    private func change<Result: Sendable>(_ body: (inout BreakerMachine) -> Result) -> Result {
        let (result, changed) = breaker.withLock { breaker in
            let before = breaker.state
            let result = body(&breaker)
            return (result, breaker.state == before ? nil : breaker.state)
        }
        if let changed { onChange(changed) }
        return result
    }
}
