internal import Runtime

extension RateLimiter {
    /// Takes a token or throws the problem of having none.
    func check(_ name: String, cost: Double = 1) throws(Problem) {
        if case .failure(let retry) = take(name, cost: cost) { throw .rateLimited(retryAfterSeconds: retry.seconds) }
    }
}
