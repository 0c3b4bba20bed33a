internal import AurumCore

/// What a look at the server found.
package enum SharedLook: Sendable {
    /// A value that no tag was raised after, how long it lives on, and the generations of its tags.
    case entry(SharedEntry, left: Duration, generations: [String])
    case missing(generations: [String])
    /// Nobody can say.
    case away

    /// - Parameters:
    ///   - bytes: what lies there, if anything does.
    ///   - left: its life in milliseconds.
    ///   - generations: of its tags, as they are now.
    package init(_ bytes: [UInt8]?, left: Int64, generations: [String]) {
        // What saw other generations was invalidated since.
        guard let bytes, let entry = SharedEntry(bytes), entry.generations == generations, left > 0 else {
            self = .missing(generations: generations)
            return
        }
        self = .entry(entry, left: .milliseconds(left), generations: generations)
    }
}

/// One making of a value of the fleet: a look at the server, then the fleet's one flight, then the factory. It decides;
/// `RedisCache` asks the server, waits and runs the factory. Who has no value yet is given a stale one at once; it is
/// made anew by another making behind it.
///
/// Times are those of the node's steady clock. What the server says of a life counts from before it was asked, so that
/// a node that stood still meanwhile does not serve a value for longer.
package struct FleetMaking: Sendable {
    /// What to do next, and what to call with the outcome.
    package enum Step: Sendable {
        /// At the value and its tags: `looked`.
        case look
        /// Ask for the lease of the flight: `boarded`.
        case board
        /// For news of another node's flight, or for `pollInterval`: `waited`.
        case wait
        /// The factory, while the lease is renewed if there is one: `made` or `failed`.
        case run(isLeased: Bool)
        /// And give the lease back: `stored`, whatever the server says.
        case store(SharedEntry, life: Duration)
        /// Give the lease back: `abandoned`.
        case abandon
        case serve(MadeValue)
        /// With what the factory threw, or `CacheError.timedOut`.
        case fail
    }

    /// Now, and whether invalidations of other nodes are heard.
    package struct Moment: Sendable {
        let now: Nanoseconds
        let hasNews: Bool

        package init(_ now: Nanoseconds, hasNews: Bool) {
            self.now = now
            self.hasNews = hasNews
        }

        /// How long a node may use what it remembers.
        fileprivate var bound: Duration { hasNews ? FleetMaking.localFor : FleetMaking.localAloneFor }
    }

    /// How long a node that makes a value may be silent before another takes over.
    package static let flightLease: Duration = .seconds(3)
    package static let flightRenewal: Duration = .seconds(1)
    /// Less than a renewal, so that one that is lost does not cost the lease.
    package static let renewalTimeout: Duration = .milliseconds(500)
    /// Between looks at a value that another node makes, should nobody say that it is there.
    package static let pollInterval: Duration = .milliseconds(50)
    /// Longest wait for another node.
    package static let waitMax: Duration = .seconds(10)
    /// How long a node uses what it remembers, fresh or stale: with news of invalidations, and without.
    package static let localFor: Duration = .seconds(60)
    package static let localAloneFor: Duration = .seconds(1)
    /// What is stale on the server is looked at again so soon.
    private static let staleAgain: Duration = .milliseconds(100)

    private enum Phase: Sendable { case looking, boarding, boarded, running(isLeased: Bool), storing, leaving(After) }
    private enum After: Sendable { case serve(Copy, hasFailed: Bool), runAlone, fail }

    /// What the server had.
    private struct Copy: Sendable {
        let entry: SharedEntry
        let asked: Nanoseconds
        let left: Duration

        func left(at now: Nanoseconds) -> Duration { left - now.since(asked) }

        func made(_ moment: Moment) -> MadeValue {
            let left = left(at: moment.now)
            let whole = max(.zero, min(left, moment.bound - moment.now.since(asked)))
            let fresh = min(max(FleetMaking.staleAgain, left - entry.staleFor), whole)
            var made = MadeValue(value: entry.value, freshFor: fresh, staleFor: whole - fresh, cost: entry.cost)
            made.isNew = false
            made.isStale = left <= entry.staleFor
            return made
        }
    }

    private let policy: CachePolicy
    private let isBehind: Bool
    private let begun: Nanoseconds
    private var phase = Phase.looking
    private var isFirst = true
    /// What is there while another is made.
    private var held: Copy?
    private var generations: [String] = []
    private var ranAt: Nanoseconds
    private var value: [UInt8]?
    private var cost: Duration = .zero

    /// - Parameter isBehind: callers have a value meanwhile. Begins with `Step.look`.
    package init(_ policy: CachePolicy, isBehind: Bool, at now: Nanoseconds) {
        self.policy = policy
        self.isBehind = isBehind
        (begun, ranAt) = (now, now)
    }

    /// - Parameter asked: before the look was sent.
    package mutating func looked(
        _ look: SharedLook, asked: Nanoseconds, at moment: Moment, random: inout some RandomNumberGenerator
    ) -> Step {
        var copy: Copy?
        switch look {
        case .away: return away(moment)
        case .missing(let seen): generations = seen
        case .entry(let entry, let left, let seen):
            generations = seen
            copy = Copy(entry: entry, asked: asked, left: left)
        }
        guard let found = copy, found.left(at: moment.now) > .zero else { return missing(moment) }
        let fresh = found.left(at: moment.now) - found.entry.staleFor
        if case .boarded = phase {
            // It, or another in its place, may have landed between the look and the lease.
            guard held?.entry != found.entry, fresh > .zero else {
                held = found
                return run(isLeased: true, moment)
            }
            phase = .leaving(.serve(found, hasFailed: false))
            return .abandon
        }
        if fresh <= .zero, !isBehind { return .serve(found.made(moment)) }
        let isDue =
            fresh <= .zero
            || EarlyRefresh.isDue(
                remaining: fresh.seconds, cost: found.entry.cost.seconds, beta: policy.beta, random: &random)
        guard isFirst, isDue else { return .serve(found.made(moment)) }
        // Somebody makes it anew; who is not it serves what there is.
        held = found
        phase = .boarding
        return .board
    }

    private mutating func away(_ moment: Moment) -> Step {
        guard case .boarded = phase else { return run(isLeased: false, moment) }
        phase = .leaving(.runAlone)
        return .abandon
    }

    private mutating func missing(_ moment: Moment) -> Step {
        if case .boarded = phase { return run(isLeased: true, moment) }
        phase = .boarding
        return .board
    }

    private mutating func run(isLeased: Bool, _ moment: Moment) -> Step {
        phase = .running(isLeased: isLeased)
        ranAt = moment.now
        return .run(isLeased: isLeased)
    }

    /// - Parameter isOurs: whether the lease was had for certain.
    package mutating func boarded(_ isOurs: Bool, at moment: Moment) -> Step {
        if isOurs {
            phase = .boarded
            return .look
        }
        if let held, held.left(at: moment.now) > .zero { return .serve(held.made(moment)) }
        (held, isFirst, phase) = (nil, false, .looking)
        return moment.now.since(begun) < Self.waitMax ? .wait : .fail
    }

    package mutating func waited() -> Step { .look }

    package mutating func made(
        _ made: [UInt8]?, at moment: Moment, random: inout some RandomNumberGenerator
    ) -> Step {
        (value, cost) = (made, moment.now.since(ranAt))
        guard case .running(isLeased: true) = phase else {
            // Nobody could say that it was invalidated.
            return .serve(own(within: Self.localAloneFor))
        }
        guard made?.count ?? 0 <= CacheLimits.valueBytesMax else {
            phase = .storing
            return .abandon
        }
        phase = .storing
        let (known, stale) = made == nil ? (CacheLimits.negativeFor, .zero) : (policy.freshFor, policy.staleFor)
        let spread = Double(made == nil ? CacheLimits.negativeJitterPercent : CacheLimits.jitterPercent) / 100
        let fresh = known * (1 + Double.random(in: -spread...spread, using: &random))
        let entry = SharedEntry(value: made, staleFor: stale, cost: cost, generations: generations)
        return .store(entry, life: fresh + stale)
    }

    private func own(within bound: Duration) -> MadeValue {
        let fresh = min(policy.freshFor, bound)
        return MadeValue(
            value: value, freshFor: fresh, staleFor: min(policy.staleFor, bound - fresh), cost: cost)
    }

    package mutating func stored(at moment: Moment) -> Step { .serve(own(within: moment.bound)) }

    package mutating func failed(at moment: Moment) -> Step {
        // Behind a value the failure is noted; who waited takes what there is.
        let rest = isBehind ? nil : held
        guard case .running(isLeased: true) = phase else {
            guard let rest, rest.left(at: moment.now) > .zero else { return .fail }
            return .serve(rest.made(moment))
        }
        phase = .leaving(rest.map { .serve($0, hasFailed: true) } ?? .fail)
        return .abandon
    }

    package mutating func abandoned(at moment: Moment) -> Step {
        switch phase {
        case .leaving(.serve(let copy, _)) where copy.left(at: moment.now) > .zero: return .serve(copy.made(moment))
        case .leaving(.serve(_, hasFailed: false)):
            // Its time ran out while the lease was given back.
            (held, isFirst, phase) = (nil, false, .looking)
            return moment.now.since(begun) < Self.waitMax ? .look : .fail
        case .leaving(.runAlone): return run(isLeased: false, moment)
        // Too large to be stored.
        case .storing: return .serve(own(within: moment.bound))
        default: return .fail
        }
    }
}
