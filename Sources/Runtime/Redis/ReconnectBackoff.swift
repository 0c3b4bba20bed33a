/// How long to wait before the next attempt: doubling from `first` to `limit`, each drawn between half and all of it,
/// so that the clients of a server that returns do not come in one wave.
struct ReconnectBackoff: Sendable {
    let first: Duration
    let limit: Duration
    private var attempt = 0

    init(first: Duration, limit: Duration) {
        self.first = first
        self.limit = limit
    }

    mutating func next(using random: inout some RandomNumberGenerator) -> Duration {
        var delay = first
        for _ in 0..<attempt where delay < limit { delay = delay * 2 }
        if delay < limit { attempt += 1 }
        return min(delay, limit) * Double.random(in: 0.5...1, using: &random)
    }

    mutating func reset() { attempt = 0 }
}
