import AurumCore
import Runtime
import TestSupport
import Testing

struct RateLimiterTests {
    @Test func `a burst passes, the next is told when to come back, and then passes`() {
        let clock = ManualWallClock()
        let limiter = RateLimiter(ratePerSecond: 2, burst: 3, clock: clock)
        for _ in 0..<3 { #expect(throws: Never.self) { try limiter.take("a").get() } }
        let refused = #expect(throws: RateLimiter.RetryAfter.self) { try limiter.take("a").get() }
        #expect(refused?.seconds == 1)
        #expect(throws: Never.self) { try limiter.take("b").get() }
        clock.advance(by: .seconds(1))
        for _ in 0..<2 { #expect(throws: Never.self) { try limiter.take("a").get() } }
        #expect(throws: RateLimiter.RetryAfter.self) { try limiter.take("a").get() }
    }
}
