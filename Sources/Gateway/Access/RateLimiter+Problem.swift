internal import AurumCore
internal import Runtime

extension RateLimiter {
    /// Takes the units or throws the problem of having none.
    func check(_ request: RateRequest) async throws(Problem) {
        let verdict = await decide(request)
        if !verdict.isAllowed { throw .rateLimited(retryAfterSeconds: verdict.retryAfter.secondsRoundedUp) }
    }
}

extension Duration {
    /// Whole seconds for `Retry-After`: at least one, never too few.
    var secondsRoundedUp: Int { max(1, Int((microseconds + 999_999) / 1_000_000)) }
}
