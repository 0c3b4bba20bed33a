internal import AurumCore

/// One limit: how much of what, counted how, and what happens while the shared count cannot be reached.
package struct RateLimit: Sendable, Equatable {
    package enum Algorithm: String, Sendable, CaseIterable {
        /// A rate with a burst: one number a key, exact. (Generic cell rate algorithm, ITU-T I.371.)
        case gcra
        /// "n in any window": the time of every unit is kept, exact.
        case slidingLog
        /// "n in any window", weighing the window before by what of it still counts: two numbers a key, approximate.
        case slidingCounter
    }

    /// What a node does alone.
    package enum DegradedMode: String, Sendable, CaseIterable {
        /// The limit divided by the nodes last seen, rounded up: for edges.
        case localShare
        /// The whole limit on every node: for sign-in, so that an outage neither opens guessing nor locks people out.
        case localFull
        /// Nothing passes: for quotas that somebody pays for.
        case closed
    }

    /// Units of a `slidingLog`: the times that are kept of one key.
    package static let logUnitsMax = 1000
    /// `window` in microseconds times `limit` and `burst`: below it the arithmetic of every implementation is exact,
    /// Lua's doubles included.
    static let exactMax: Int64 = 1 << 52

    /// What it is called in keys, metrics and health: from a closed set, unique in the product.
    package let name: String
    package let algorithm: Algorithm
    /// Units in `window`.
    package let limit: Int
    package let window: Duration
    /// `window` as the arithmetic wants it: a division of 128 bits for every decision is most of what one costs.
    let windowMicroseconds: Int64
    /// Units at once after a rest; the other algorithms know no other than `limit`.
    package let burst: Int
    package let degradedMode: DegradedMode

    private init(
        _ name: String, _ algorithm: Algorithm, limit: Int, window: Duration, burst: Int, degradedMode: DegradedMode,
        windowMicroseconds: Int64? = nil
    ) {
        precondition(limit > 0 && burst > 0 && window > .zero, "\(name) lets nothing pass")
        let windowMicroseconds = windowMicroseconds ?? window.microseconds
        let (product, isTooLarge) = windowMicroseconds.multipliedReportingOverflow(by: Int64(max(limit, burst)))
        precondition(!isTooLarge && product <= Self.exactMax, "\(name) is too large")
        self.name = name
        self.algorithm = algorithm
        self.limit = limit
        self.window = window
        self.windowMicroseconds = windowMicroseconds
        self.burst = burst
        self.degradedMode = degradedMode
    }

    /// `limit` units in `window` as a steady rate, `burst` at once.
    package static func gcra(
        _ name: String, _ limit: Int, in window: Duration, burst: Int? = nil, degradedMode: DegradedMode = .localShare
    ) -> RateLimit {
        RateLimit(name, .gcra, limit: limit, window: window, burst: burst ?? limit, degradedMode: degradedMode)
    }

    /// At most `limit` units in any window, exactly. At most `logUnitsMax`.
    package static func slidingLog(
        _ name: String, _ limit: Int, in window: Duration, degradedMode: DegradedMode = .localShare
    ) -> RateLimit {
        precondition(limit <= logUnitsMax, "\(name) would keep too many times")
        return RateLimit(name, .slidingLog, limit: limit, window: window, burst: limit, degradedMode: degradedMode)
    }

    /// About `limit` units in any window.
    package static func slidingCounter(
        _ name: String, _ limit: Int, in window: Duration, degradedMode: DegradedMode = .localShare
    ) -> RateLimit {
        RateLimit(name, .slidingCounter, limit: limit, window: window, burst: limit, degradedMode: degradedMode)
    }

    /// At most `limit` units in any window: exactly where so many times can be kept, otherwise about.
    package static func window(
        _ name: String, _ limit: Int, in window: Duration, degradedMode: DegradedMode = .localShare
    ) -> RateLimit {
        limit <= logUnitsMax
            ? slidingLog(name, limit, in: window, degradedMode: degradedMode)
            : slidingCounter(name, limit, in: window, degradedMode: degradedMode)
    }

    /// The same with other units: cheap enough to be made for every decision.
    package func with(limit: Int, burst: Int) -> RateLimit {
        RateLimit(
            name, algorithm, limit: limit, window: window, burst: burst, degradedMode: degradedMode,
            windowMicroseconds: windowMicroseconds)
    }

    /// The share of one of `nodes`, rounded up.
    func share(of nodes: Int) -> RateLimit {
        func part(_ whole: Int) -> Int { (whole + max(1, nodes) - 1) / max(1, nodes) }
        return with(limit: part(limit), burst: part(burst))
    }
}

/// Whose count it is: limits of one organisation are decided together; those of the network stand alone.
package enum RateScope: Sendable, Hashable {
    case org(String)
    /// Before anybody is known: an address, a sign-in.
    case net
}

/// One question to a limiter.
package struct RateRequest: Sendable {
    package let limit: RateLimit
    package let scope: RateScope
    /// Who is counted: a key's id, an address. Never leaves the process as it is.
    package let subject: String
    /// Units, 1 or more.
    package let cost: Int

    package init(_ limit: RateLimit, _ scope: RateScope, _ subject: String, cost: Int = 1) {
        precondition(cost > 0, "a cost below one was asked of \(limit.name)")
        self.limit = limit
        self.scope = scope
        self.subject = subject
        self.cost = cost
    }
}

/// The answer: of several limits, that of the one that binds.
package struct RateVerdict: Sendable, Equatable {
    /// Where the count was.
    package enum Mode: String, Sendable { case memory, shared, localShare, localFull, closed }

    package var isAllowed: Bool
    package var limit: Int
    /// Units that would pass now, after this call.
    package var remaining: Int
    var retryMicroseconds: Int64
    var resetMicroseconds: Int64
    package var mode: Mode = .memory

    /// How long to wait before the same call passes if nobody else comes; zero when it passed.
    package var retryAfter: Duration { .microseconds(retryMicroseconds) }
    /// How long until everything has been forgotten.
    package var resetAfter: Duration { .microseconds(resetMicroseconds) }

    /// Of two verdicts the one that binds: the later to come back, or the one with less left.
    static func binding(_ one: RateVerdict, _ other: RateVerdict) -> RateVerdict {
        if one.isAllowed != other.isAllowed { return one.isAllowed ? other : one }
        if !one.isAllowed { return one.retryMicroseconds >= other.retryMicroseconds ? one : other }
        return one.remaining <= other.remaining ? one : other
    }
}
