package import AurumCore

/// A breaker: closed while a dependency answers, open while it does not, half open to find out. Pure: times come in.
package struct BreakerMachine: Sendable {
    package enum State: String, Sendable, CaseIterable {
        case closed, open
        /// Lets a few trials through.
        case halfOpen = "half_open"
        /// Held open by a person until a person releases it.
        case isolated
        /// Kept from opening by a person until a person releases it.
        case metricsOnly = "metrics_only"
    }

    package struct Rules: Sendable {
        package var window: Duration = .seconds(30)
        /// Calls of the window from which it is judged.
        package var callsMin = 20
        /// Of a hundred calls, how many may be bad.
        package var badPercentMax = 50
        /// A call that takes longer is bad.
        package var slow: Duration = .seconds(2)
        package var openFirst: Duration = .seconds(5)
        package var openMax: Duration = .seconds(60)
        package var trials = 10
        package var goodTrials = 8

        package init() {}
    }

    /// Parts of the window that are forgotten one at a time.
    private static let slots = 10

    private struct Slot: Sendable {
        var number: Int64 = -1
        var calls = 0
        var bad = 0
    }

    private let rules: Rules
    package private(set) var state: State
    private var slots = Array(repeating: Slot(), count: BreakerMachine.slots)
    private var openUntil = Timestamp(microseconds: 0)
    private var openFor: Duration
    /// Trials let through and answered since it was half open.
    private var begun = 0
    private var good = 0
    private var bad = 0
    private var trialsUntil = Timestamp(microseconds: 0)

    package init(rules: Rules = Rules()) {
        self.rules = rules
        state = .closed
        openFor = rules.openFirst
    }

    /// Whether a call may go out now; if not, how long until one may.
    package mutating func admit(at now: Timestamp) -> Duration? {
        switch state {
        case .closed, .metricsOnly: return nil
        case .isolated: return rules.openMax
        case .open:
            guard now >= openUntil else { return openUntil - now }
            beginTrials(now)
            begun = 1
            return nil
        case .halfOpen:
            // Trials whose callers vanished are counted as never made.
            if now >= trialsUntil { beginTrials(now) }
            guard begun < rules.trials else { return max(.milliseconds(1), trialsUntil - now) }
            begun += 1
            return nil
        }
    }

    /// What came of a call that was admitted.
    package mutating func record(isGood: Bool, took duration: Duration, at now: Timestamp) {
        let isGood = isGood && duration <= rules.slow
        switch state {
        case .closed:
            count(isGood, now)
            guard !isGood else { return }
            let (calls, bad) = counts(now)
            if calls >= rules.callsMin, bad * 100 >= calls * rules.badPercentMax { open(now) }
        case .halfOpen:
            if isGood { good += 1 } else { bad += 1 }
            if good >= rules.goodTrials { close() } else if bad > rules.trials - rules.goodTrials { open(now) }
        case .open, .isolated, .metricsOnly: break
        }
    }

    /// A call that was admitted did not go out, or its end says nothing: as a trial it may be another's.
    package mutating func withdraw() {
        if state == .halfOpen { begun = max(good + bad, begun - 1) }
    }

    /// A person holds it open.
    package mutating func isolate() { state = .isolated }

    /// A person keeps it from opening, whatever becomes of calls.
    package mutating func observe() { state = .metricsOnly }

    /// A person lets go: it begins closed.
    package mutating func release() { if state == .isolated || state == .metricsOnly { close() } }

    private mutating func beginTrials(_ now: Timestamp) {
        state = .halfOpen
        (begun, good, bad) = (0, 0, 0)
        trialsUntil = now + rules.openMax
    }

    private mutating func open(_ now: Timestamp) {
        // One that fails its trials stays away for twice as long.
        openFor = state == .halfOpen ? min(openFor * 2, rules.openMax) : rules.openFirst
        state = .open
        openUntil = now + openFor
    }

    private mutating func close() {
        state = .closed
        openFor = rules.openFirst
        slots = Array(repeating: Slot(), count: Self.slots)
    }

    private func number(_ now: Timestamp) -> Int64 {
        now.microseconds / (rules.window.microseconds / Int64(Self.slots))
    }

    private mutating func count(_ isGood: Bool, _ now: Timestamp) {
        let number = number(now)
        let index = Int(number % Int64(Self.slots))
        if slots[index].number != number { slots[index] = Slot(number: number) }
        slots[index].calls += 1
        if !isGood { slots[index].bad += 1 }
    }

    private func counts(_ now: Timestamp) -> (calls: Int, bad: Int) {
        let oldest = number(now) - Int64(Self.slots)
        let live = slots.filter { $0.number > oldest }
        return (live.reduce(0) { $0 + $1.calls }, live.reduce(0) { $0 + $1.bad })
    }
}
