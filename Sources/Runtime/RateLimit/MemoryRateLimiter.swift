package import AurumCore
internal import Synchronization

/// Limits of one process. What was not asked for longest is forgotten when the table is full.
package final class MemoryRateLimiter: RateLimiter {
    /// Keys of each algorithm. Half of it is always remembered.
    package static let keysMax = 100_000

    struct Key: Hashable, Sendable {
        let name: String
        let scope: RateScope
        let subject: String
    }

    /// The keys of each algorithm. The lock is held for one decision.
    fileprivate struct Tables: Sendable {
        var gcra = RecencyTable<Key, GCRA>(entriesMax: keysMax)
        var log = RecencyTable<Key, SlidingLog>(entriesMax: keysMax)
        var counter = RecencyTable<Key, SlidingCounter>(entriesMax: keysMax)
    }

    private let tables = Mutex(Tables())
    private let clock: any WallClock
    private let meters: RateMeters?

    /// - Parameters:
    ///   - clock: one that is set back refuses what was used meanwhile for as long: a server gives a `SteadyClock`.
    ///   - meters: where decisions are counted; nil where somebody else counts them.
    package init(clock: any WallClock, meters: RateMeters? = nil) {
        self.clock = clock
        self.meters = meters
    }

    package func decide(_ request: RateRequest) -> RateVerdict {
        let now = clock.now.microseconds
        let verdict = tables.withLock { $0.decide(request, request.limit, now) }
        meters?.count(request.limit, verdict)
        return verdict
    }

    package func decide(all requests: [RateRequest]) -> RateVerdict {
        requests.checkScopes()
        let verdict = decide(requests.map { ($0, $0.limit) })
        for request in requests { meters?.count(request.limit, verdict) }
        return verdict
    }

    /// The same with limits of the caller's, such as shares.
    func decide(_ asked: [(RateRequest, RateLimit)]) -> RateVerdict {
        let now = clock.now.microseconds
        return tables.withLock { tables in
            if asked.count == 1 { return tables.decide(asked[0].0, asked[0].1, now) }
            var binding: RateVerdict?
            for (request, limit) in asked {
                let verdict = tables.verdict(request, limit, now)
                binding = binding.map { .binding($0, verdict) } ?? verdict
            }
            guard let binding, binding.isAllowed else { return binding ?? .nothingAsked }
            for (request, limit) in asked { tables.book(request, limit, now) }
            return binding
        }
    }

    package func owe(_ request: RateRequest) { owe(request, request.limit) }

    /// The same with a limit of the caller's.
    func owe(_ request: RateRequest, _ limit: RateLimit) {
        let now = clock.now.microseconds
        tables.withLock { $0.book(request, limit, now) }
    }

    package func giveBack(_ request: RateRequest) { giveBack(request, request.limit) }

    /// The same with a limit of the caller's.
    func giveBack(_ request: RateRequest, _ limit: RateLimit) {
        request.checkReturn()
        let now = clock.now.microseconds
        tables.withLock { $0.giveBack(request, limit, now) }
    }

    /// Keys that are remembered.
    package var count: Int { tables.withLock { $0.gcra.count + $0.log.count + $0.counter.count } }
}

extension RateVerdict {
    fileprivate static let nothingAsked = RateVerdict(
        isAllowed: true, limit: 0, remaining: 0, retryMicroseconds: 0, resetMicroseconds: 0)
}

extension MemoryRateLimiter.Tables {
    fileprivate mutating func decide(_ request: RateRequest, _ limit: RateLimit, _ now: Int64) -> RateVerdict {
        let key = MemoryRateLimiter.Key(name: limit.name, scope: request.scope, subject: request.subject)
        let cost = Int64(request.cost)
        return switch limit.algorithm {
        case .gcra: gcra.update(key, default: GCRA()) { $0.take(limit, cost: cost, now: now) }
        case .slidingLog: log.update(key, default: SlidingLog()) { $0.take(limit, cost: cost, now: now) }
        case .slidingCounter: counter.update(key, default: SlidingCounter()) { $0.take(limit, cost: cost, now: now) }
        }
    }

    fileprivate func verdict(_ request: RateRequest, _ limit: RateLimit, _ now: Int64) -> RateVerdict {
        let key = MemoryRateLimiter.Key(name: limit.name, scope: request.scope, subject: request.subject)
        let cost = Int64(request.cost)
        return switch limit.algorithm {
        case .gcra: (gcra.value(key) ?? GCRA()).verdict(limit, cost: cost, now: now)
        case .slidingLog: (log.value(key) ?? SlidingLog()).verdict(limit, cost: cost, now: now)
        case .slidingCounter: (counter.value(key) ?? SlidingCounter()).verdict(limit, cost: cost, now: now)
        }
    }

    fileprivate mutating func book(_ request: RateRequest, _ limit: RateLimit, _ now: Int64) {
        let key = MemoryRateLimiter.Key(name: limit.name, scope: request.scope, subject: request.subject)
        let cost = Int64(request.cost)
        switch limit.algorithm {
        case .gcra: gcra.update(key, default: GCRA()) { $0.book(limit, cost: cost, now: now) }
        case .slidingLog: log.update(key, default: SlidingLog()) { $0.book(limit, cost: cost, now: now) }
        case .slidingCounter: counter.update(key, default: SlidingCounter()) { $0.book(limit, cost: cost, now: now) }
        }
    }

    fileprivate mutating func giveBack(_ request: RateRequest, _ limit: RateLimit, _ now: Int64) {
        let key = MemoryRateLimiter.Key(name: limit.name, scope: request.scope, subject: request.subject)
        gcra.update(key, default: GCRA()) { $0.giveBack(limit, cost: Int64(request.cost), now: now) }
    }
}

extension RateMachine {
    /// Books what passes.
    fileprivate mutating func take(_ limit: RateLimit, cost: Int64, now: Int64) -> RateVerdict {
        let verdict = verdict(limit, cost: cost, now: now)
        if verdict.isAllowed { book(limit, cost: cost, now: now) }
        return verdict
    }
}
