package import AurumCore
internal import Synchronization

/// Token buckets by name: `rate` a second, `burst` at once. Bounded: a full table forgets the buckets that are full
/// again, which changes no verdict.
package final class RateLimiter: Sendable {
    private struct Bucket: Sendable {
        var tokens: Double
        var at: Timestamp
    }

    static let bucketsMax = 50_000
    private let buckets = Mutex<[String: Bucket]>([:])
    private let rate: Double
    private let burst: Double
    private let clock: any WallClock

    package init(ratePerSecond: Double, burst: Double, clock: any WallClock) {
        self.rate = ratePerSecond
        self.burst = burst
        self.clock = clock
    }

    /// Takes `cost` tokens of `name`, or answers in how many seconds they will be there.
    package func take(_ name: String, cost: Double = 1) -> Result<Void, RetryAfter> {
        let now = clock.now
        return buckets.withLock { buckets in
            if buckets.count >= Self.bucketsMax, buckets[name] == nil { prune(&buckets, now) }
            var bucket = buckets[name] ?? Bucket(tokens: burst, at: now)
            bucket.tokens = min(burst, bucket.tokens + rate * max(0, (now - bucket.at).seconds))
            bucket.at = now
            defer { buckets[name] = bucket }
            guard bucket.tokens >= min(cost, burst) else {
                return .failure(RetryAfter(seconds: max(1, Int((min(cost, burst) - bucket.tokens) / rate + 0.999))))
            }
            bucket.tokens -= cost
            return .success(())
        }
    }

    /// Takes tokens that may not be there: what comes next waits until they are.
    package func owe(_ name: String, cost: Double) {
        buckets.withLock { $0[name]?.tokens -= cost }
    }

    private func prune(_ buckets: inout [String: Bucket], _ now: Timestamp) {
        let rate = rate
        let burst = burst
        buckets = buckets.filter { $0.value.tokens + rate * (now - $0.value.at).seconds < burst }
        if buckets.count >= Self.bucketsMax { buckets.removeAll() }
    }

    package struct RetryAfter: Error, Equatable { package let seconds: Int }
}
