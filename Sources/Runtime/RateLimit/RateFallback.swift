package import AurumCore

/// What a node decides while the shared count cannot be reached, by the `degradedMode` of each limit. Asks nobody.
package struct RateFallback: Sendable {
    private let alone: MemoryRateLimiter

    /// - Parameter clock: the node's own; the server's is away as well.
    package init(clock: any WallClock) { alone = MemoryRateLimiter(clock: clock) }

    /// One that is closed closes the others with it: all or nothing.
    /// - Parameter nodes: how many share the limits, as last seen.
    package func decide(all requests: [RateRequest], nodes: Int) -> RateVerdict {
        if requests.contains(where: { $0.limit.degradedMode == .closed }) {
            return RateVerdict(
                isAllowed: false, limit: 0, remaining: 0, retryMicroseconds: 1_000_000, resetMicroseconds: 1_000_000,
                mode: .closed)
        }
        var verdict = alone.decide(requests.map { ($0, Self.own($0.limit, of: nodes)) })
        let shares = requests.contains { $0.limit.degradedMode == .localShare }
        verdict.mode = shares ? .localShare : .localFull
        return verdict
    }

    /// What is owed of a closed limit is not counted here: nothing passes anyway.
    package func owe(_ request: RateRequest, nodes: Int) {
        guard request.limit.degradedMode != .closed else { return }
        alone.owe(request, Self.own(request.limit, of: nodes))
    }

    /// Units that the shared count took may come back here: a key that is at rest stays so.
    package func giveBack(_ request: RateRequest, nodes: Int) {
        request.checkReturn()
        guard request.limit.degradedMode != .closed else { return }
        alone.giveBack(request, Self.own(request.limit, of: nodes))
    }

    /// What this node counts against alone.
    private static func own(_ limit: RateLimit, of nodes: Int) -> RateLimit {
        limit.degradedMode == .localShare ? limit.share(of: nodes) : limit
    }
}
