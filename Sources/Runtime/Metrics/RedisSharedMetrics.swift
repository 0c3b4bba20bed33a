package import AurumCore
internal import Logging
internal import ServiceLifecycle
package import Telemetry

/// Counts that nodes add up in Redis, once a second. What a node sends carries its name and a number, so that nothing
/// is added twice when an answer is lost.
///
/// Keys, all of one slot: totals by series; the gauges of each node with their time; when each node last wrote; the
/// number of its last addition.
package actor RedisSharedMetrics: SharedMetrics, Service {
    static let interval: Duration = .seconds(1)
    /// Gauges of a node that has not written for so long are not those of a node that lives.
    static let goneAfter: Duration = .seconds(10)
    /// A node that has not written for so long does not send again what it sent then.
    static let forgottenAfter: Duration = .seconds(86_400)
    private static let timeout: Duration = .seconds(1)

    private static let keys = [
        "aurum:{metrics}:totals", "aurum:{metrics}:gauges", "aurum:{metrics}:nodes", "aurum:{metrics}:additions",
    ]

    /// ARGV: the node, the number of its addition, its gauges, `forgottenAfter` in ms; then series and addends. One
    /// total that somebody spoilt must not have the others added again and again.
    private static let add = RedisScript(
        """
        local t = redis.call('TIME')
        local now = tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000)
        local at = string.format('%.0f', now)
        redis.call('ZADD', KEYS[3], at, ARGV[1])
        redis.call('HSET', KEYS[2], ARGV[1], at .. '\\n' .. ARGV[3])
        local old = string.format('%.0f', now - tonumber(ARGV[4]))
        for _, node in ipairs(redis.call('ZRANGEBYSCORE', KEYS[3], '-inf', old, 'LIMIT', 0, 100)) do
          redis.call('ZREM', KEYS[3], node)
          redis.call('HDEL', KEYS[2], node)
          redis.call('HDEL', KEYS[4], node)
        end
        if tonumber(ARGV[2]) <= tonumber(redis.call('HGET', KEYS[4], ARGV[1]) or '0') then return 0 end
        redis.call('HSET', KEYS[4], ARGV[1], ARGV[2])
        for i = 5, #ARGV, 2 do redis.pcall('HINCRBY', KEYS[1], ARGV[i], ARGV[i + 1]) end
        return 1
        """)

    /// ARGV: `goneAfter` in ms. Answers the totals as keys and values, and the gauges of each node that lives.
    private static let read = RedisScript(
        """
        local t = redis.call('TIME')
        local now = tonumber(t[1]) * 1000 + math.floor(tonumber(t[2]) / 1000)
        local live = {}
        local all = redis.call('HGETALL', KEYS[2])
        for i = 2, #all, 2 do
          local at = tonumber(string.match(all[i], '^%d+') or '0')
          if now - at <= tonumber(ARGV[1]) then live[#live + 1] = all[i] end
        end
        return { redis.call('HGETALL', KEYS[1]), live }
        """, isRead: true)

    /// What was sent and may or may not have arrived.
    private struct Addition {
        let number: Int
        let addends: [String: Int64]
    }

    private let client: RedisClient
    private let registry: MetricRegistry
    private let node: String
    private var sent: [String: Int64] = [:]
    private var last = 0
    private var open: Addition?

    package init(client: RedisClient, registry: MetricRegistry, clock: any WallClock) {
        (self.client, self.registry) = (client, registry)
        node = UID(now: clock.now).hex
    }

    /// Adds once a second, and once more at the end.
    package func run() async throws {
        await cancelWhenGracefulShutdown {
            while !Task.isCancelled {
                _ = await self.flush()
                try? await Task.sleep(for: Self.interval)
            }
        }
        // What was open first, then what came since.
        if await flush(), await flush() { await leave() }
    }

    /// Sends what was counted since the last time, or again what nobody knows to have arrived. False when that is still
    /// not known.
    package func flush() async -> Bool {
        let readings = registry.readings(of: ClusterText.definitions)
        let addition = open ?? next(readings.counters)
        // Whoever comes while this waits for its answer sends the same again.
        open = addition
        var arguments: [any RedisArgument] = [
            node, addition.number, Self.encode(readings.gauges), Int(Self.forgottenAfter.microseconds / 1000),
        ]
        for (series, addend) in addition.addends.sorted(by: { $0.key < $1.key }) { arguments += [series, addend] }
        do throws(RedisError) {
            _ = try await client.eval(
                Self.add, keys: Self.keys, arguments: arguments, carriesOperationID: true, within: Self.timeout)
        } catch { return false }
        if open?.number == addition.number { open = nil }
        return true
    }

    private func next(_ counters: [String: Int64]) -> Addition {
        var addends: [String: Int64] = [:]
        for (series, value) in counters {
            let addend = value &- (sent[series] ?? 0)
            if addend > 0 { addends[series] = addend }
        }
        sent = counters
        last += 1
        return Addition(number: last, addends: addends)
    }

    /// A node that ends has no gauges.
    private func leave() async {
        let commands = [
            RedisCommand("HDEL", Self.keys[1], node), RedisCommand("ZREM", Self.keys[2], node),
            RedisCommand("HDEL", Self.keys[3], node),
        ]
        _ = try? await client.batch(commands, within: Self.timeout)
    }

    package func text() async throws(SharedMetricsError) -> String {
        let answer: RESPValue
        do throws(RedisError) {
            answer = try await client.eval(
                Self.read, keys: Self.keys, arguments: [Int(Self.goneAfter.microseconds / 1000)], within: Self.timeout)
        } catch { throw .unavailable }
        guard let parts = answer.array, parts.count == 2, let totals = parts[0].pairs, let live = parts[1].array else {
            throw .unavailable
        }
        var counters: [String: Int64] = [:]
        for pair in totals {
            guard let series = pair.key.string, let value = pair.value.integer else { continue }
            counters[series] = value
        }
        var gauges: [String: Double] = [:]
        for one in live { for (series, value) in Self.decode(one.string ?? "") { gauges[series, default: 0] += value } }
        return ClusterText.render(counters: counters, gauges: gauges, nodes: live.count)
    }

    /// A line for each gauge: its value and its series.
    private static func encode(_ gauges: [String: Double]) -> String {
        gauges.sorted { $0.key < $1.key }.map { "\($0.value) \($0.key)\n" }.joined()
    }

    /// The first line is the time.
    private static func decode(_ text: String) -> [(String, Double)] {
        text.split(separator: "\n").dropFirst().compactMap { line in
            let fields = line.split(separator: " ", maxSplits: 1)
            guard fields.count == 2, let value = Double(fields[0]), value.isFinite else { return nil }
            return (String(fields[1]), value)
        }
    }
}
