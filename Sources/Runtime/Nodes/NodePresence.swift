package import AurumCore
internal import ServiceLifecycle
internal import Synchronization

/// How many nodes use one Redis: each writes its name every few seconds, by the server's clock.
package final class NodePresence: Service {
    static let interval: Duration = .seconds(5)
    /// A node that has not written for so long is gone.
    static let goneAfter: Duration = .seconds(16)

    private let client: RedisClient
    private let node: String
    private let seen = Atomic<Int>(1)

    package init(client: RedisClient, clock: any WallClock) {
        self.client = client
        node = UID(now: clock.now).hex
    }

    /// Nodes as last seen; kept while Redis is away.
    package var count: Int { seen.load(ordering: .relaxed) }

    private static let script = RedisScript(
        """
        local t = redis.call('TIME')
        local now = tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000)
        redis.call('ZADD', KEYS[1], string.format('%.0f', now), ARGV[1])
        redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%.0f', now - tonumber(ARGV[2])))
        return redis.call('ZCARD', KEYS[1])
        """)

    package func run() async throws {
        try? await cancelWhenGracefulShutdown { [self] in
            while !Task.isCancelled {
                await announce()
                try await Task.sleep(for: Self.interval)
            }
        }
        _ = try? await client.call(RedisCommand("ZREM", Self.key, node), within: .seconds(1))
    }

    private static let key = "aurum:{nodes}:presence"

    /// Writes this node's name and counts.
    package func announce() async {
        let answer = try? await client.eval(
            Self.script, keys: [Self.key], arguments: [node, Int(Self.goneAfter.microseconds / 1000)],
            within: .seconds(1))
        if case .integer(let count)? = answer { seen.store(max(1, Int(count)), ordering: .relaxed) }
    }
}
