import AurumCore
import Runtime
import Testing

/// What every limiter does, whatever clock it counts by. Windows are an hour, so that no test waits.
struct RateLimiterConformance {
    let limiter: any RateLimiter
    /// Fresh subjects, so that runs on one server do not meet.
    let prefix = UID(now: SystemWallClock().now).hex

    func run() async {
        for algorithm in RateLimit.Algorithm.allCases { await limits(algorithm) }
        await debts()
        await allOrNothing()
        await together()
    }

    private func request(_ limit: RateLimit, _ subject: String, cost: Int = 1) -> RateRequest {
        RateRequest(limit, .org("acme"), "\(prefix) \(limit.name) \(subject)", cost: cost)
    }

    private func limits(_ algorithm: RateLimit.Algorithm) async {
        let limit = RateLimit.make(algorithm, 5, .seconds(3600))
        for left in [4, 3, 1] {
            let verdict = await limiter.decide(request(limit, "a", cost: left == 1 ? 2 : 1))
            #expect(verdict.isAllowed && verdict.remaining == left && verdict.limit == 5)
            #expect(verdict.retryAfter == .zero && verdict.resetAfter > .zero)
        }
        let refused = await limiter.decide(request(limit, "a", cost: 2))
        #expect(!refused.isAllowed && refused.retryAfter > .zero && refused.remaining == 1)
        #expect(refused.retryAfter <= .seconds(7200))
        // A refusal takes nothing, and others have their own count.
        #expect(await limiter.decide(request(limit, "a")).isAllowed)
        #expect(!(await limiter.decide(request(limit, "a")).isAllowed))
        #expect(await limiter.decide(request(limit, "b", cost: 5)).isAllowed)
        #expect(await limiter.decide(RateRequest(limit, .org("other"), "\(prefix) \(limit.name) a")).isAllowed)
        #expect(await limiter.decide(RateRequest(limit, .net, "\(prefix) \(limit.name) a")).isAllowed)
    }

    private func debts() async {
        let limit = RateLimit.gcra("debt", 10, in: .seconds(3600))
        await limiter.owe(request(limit, "a", cost: 12))
        let refused = await limiter.decide(request(limit, "a"))
        #expect(!refused.isAllowed && refused.retryAfter > .seconds(3600 / 10 * 2))
        // More than the burst passes when nothing is owed.
        #expect(await limiter.decide(request(limit, "b", cost: 25)).isAllowed)
        #expect(!(await limiter.decide(request(limit, "b")).isAllowed))
    }

    private func allOrNothing() async {
        let wide = RateLimit.gcra("wide", 100, in: .seconds(3600))
        let tight = RateLimit.slidingLog("tight", 2, in: .seconds(3600))
        let counted = RateLimit.slidingCounter("counted", 50, in: .seconds(3600))
        let all = [request(wide, "a"), request(tight, "a"), request(counted, "a")]
        for left in [1, 0] {
            let verdict = await limiter.decide(all: all)
            #expect(verdict.isAllowed && verdict.limit == 2 && verdict.remaining == left)
        }
        for _ in 0..<5 {
            let refused = await limiter.decide(all: all)
            #expect(!refused.isAllowed && refused.limit == 2 && refused.retryAfter > .zero)
        }
        #expect(await limiter.decide(request(wide, "a")).remaining == 97)
        #expect(await limiter.decide(request(counted, "a")).remaining == 47)
    }

    private func together() async {
        let limit = RateLimit.gcra("together", 1000, in: .seconds(36_000))
        let subject = request(limit, "all")
        let allowed = await withTaskGroup(of: Int.self) { group in
            for _ in 0..<20 {
                group.addTask {
                    var allowed = 0
                    for _ in 0..<75 where await limiter.decide(subject).isAllowed { allowed += 1 }
                    return allowed
                }
            }
            return await group.reduce(0, +)
        }
        // A token comes back every 36 seconds: none, unless the machine stands still for that long.
        #expect((1000...1001).contains(allowed))
    }
}

struct MemoryRateLimiterTests {
    @Test func `the memory twin conforms`() async {
        await RateLimiterConformance(limiter: MemoryRateLimiter(clock: SystemWallClock())).run()
    }

    @Test func `a full table forgets those who were away longest, and nobody who is there`() {
        let limiter = MemoryRateLimiter(clock: SystemWallClock())
        let limit = RateLimit.gcra("flood", 1, in: .seconds(3600))
        for number in 0..<(MemoryRateLimiter.keysMax * 2) {
            if number % 1000 == 0 { _ = limiter.decide(RateRequest(limit, .net, "regular")) }
            _ = limiter.decide(RateRequest(limit, .net, "stranger \(number)"))
        }
        #expect(limiter.count <= MemoryRateLimiter.keysMax)
        #expect(!limiter.decide(RateRequest(limit, .net, "regular")).isAllowed)
        #expect(limiter.decide(RateRequest(limit, .net, "stranger 0")).isAllowed)
    }
}
