import Runtime
import Telemetry
import TestSupport
import Testing

/// The client against a real server.
struct RedisClientTests {
    @Test func `commands, batches and scripts are answered, in order, over four connections`() async throws {
        let server = try await RedisServer()
        try await withRedis(server.url) { redis in
            let client = redis.client
            #expect(try await client.call(RedisCommand("SET", "key", "value", "PX", 60_000)) == .simple("OK"))
            let found9 = try await client.call(RedisCommand("GET", "key")).string
            #expect(found9 == "value")
            #expect(try await client.call(RedisCommand("GET", "absent")) == .null)
            let binary: [UInt8] = [0, 13, 10, 255, 36]
            _ = try await client.call(RedisCommand("SET", "binary", binary))
            let found10 = try await client.call(RedisCommand("GET", "binary")).bytes
            #expect(found10 == binary)
            var commands = (1...100).map { RedisCommand("INCRBY", "count", $0) }
            commands.append(RedisCommand("LPUSH", "count", "x"))
            let answers = try await client.batch(commands)
            for (index, answer) in answers.prefix(100).enumerated() {
                let sum = (index + 1) * (index + 2) / 2
                #expect(answer == .integer(Int64(sum)))
            }
            guard case .error(let error) = answers[100] else { throw RedisError.closed }
            #expect(error.code == "WRONGTYPE")
            await #expect(throws: RedisError.server(code: error.code, message: error.message)) {
                try await client.call(RedisCommand("LPUSH", "count", "x"))
            }
            let script = RedisScript("return {KEYS[1], ARGV[1], redis.call('GET', KEYS[1])}")
            for _ in 0..<2 {
                let value = try await client.eval(script, keys: ["key"], arguments: [7])
                #expect(value.array?.map(\.string) == ["key", "7", "value"])
            }
            #expect(redis.metrics.prometheusText().contains("aurum_redis_connections"))
            #expect(redis.health.snapshot["redis"]?.state == .ok)
        }
    }

    /// Batches leave from the threads of their callers until the socket is full, the rest by the event loop.
    @Test func `batches that a server takes late, and calls among them, are answered in order`() async throws {
        let server = try await RedisServer()
        try await withRedis(server.url) { configuration in
            configuration.connectionsPerNode = 1
        } _: { redis in
            let client = redis.client
            server.pause()
            defer { server.resume() }
            let right = try await withThrowingTaskGroup(of: Bool.self) { group in
                for task in 0..<150 {
                    group.addTask {
                        guard !task.isMultiple(of: 5) else {
                            return try await client.call(RedisCommand("ECHO", "call \(task)")).string == "call \(task)"
                        }
                        let texts = (0..<20).map { "\(task)-\($0)-" + String(repeating: "x", count: 2900 + task) }
                        let answers = try await client.batch(texts.map { RedisCommand("ECHO", $0) })
                        return answers.map(\.string) == texts
                    }
                }
                // Some seven megabytes: more than the sockets hold.
                try await eventually("all calls under way") {
                    redis.metrics.gauge(.redisInFlight).value == 120 * 20 + 30
                }
                // A deadline is kept behind a full socket, too.
                let began = ContinuousClock.now
                await #expect(throws: RedisError.timeout) {
                    try await client.call(RedisCommand("GET", "late"), within: .milliseconds(200))
                }
                #expect(ContinuousClock.now - began < .seconds(10))
                server.resume()
                return try await group.reduce(into: 0) { $0 += $1 ? 1 : 0 }
            }
            #expect(right == 150)
        }
    }

    @Test func `a thousand tasks at once each get their own answer`() async throws {
        let server = try await RedisServer()
        try await withRedis(server.url) { redis in
            try await withThrowingTaskGroup(of: Void.self) { group in
                for task in 0..<1000 {
                    group.addTask {
                        for turn in 0..<20 {
                            let text = "\(task)-\(turn)"
                            let echoed = try await redis.client.call(RedisCommand("ECHO", text)).string
                            #expect(echoed == text)
                        }
                    }
                }
                try await group.waitForAll()
            }
        }
    }
}
