import Runtime
import Telemetry
import TestSupport
import Testing

/// What networks do to a connection, and what callers are told. Whatever happens: every call ends, an answer is the
/// caller's own, and a counter holds at least what was acknowledged and at most that and what ended unknown.
struct RedisFaultTests {
    private static let faults: [FaultProxy.Fault] = {
        typealias Fault = FaultProxy.Fault
        var all: [Fault] = []
        // Past the answer to HELLO (some 150 bytes), within the answers of commands, and within HELLO itself.
        for after in [1, 40, 150, 200, 333, 700] {
            all.append(Fault(.cut(after: after), .toClient))
            all.append(Fault(.reset(after: after), .toClient))
        }
        for after in [1, 30, 60, 100, 300] {
            all.append(Fault(.cut(after: after), .toServer))
            all.append(Fault(.reset(after: after), .toServer))
        }
        all.append(Fault(.swallow(after: 300), .toClient, strikes: 2))
        all.append(Fault(.swallow(after: 300), .toServer, strikes: 2))
        all.append(Fault(.delay(milliseconds: 5), .toClient, strikes: 100))
        all.append(Fault(.delay(milliseconds: 5), .toServer, strikes: 100))
        all.append(Fault(.chop, .toClient, strikes: 100))
        all.append(Fault(.chop, .toServer, strikes: 100))
        all.append(Fault(.insert(Array("?".utf8), after: 400), .toClient))
        all.append(Fault(.insert(Array("+OK\r\n:1\r\n".utf8), after: 0), .toClient))
        return all
    }()

    @Test func `thirty faults are on the list`() { #expect(Self.faults.count == 30) }

    private struct Tally: Sendable {
        var acknowledged = 0
        var unknown = 0
        var refused = 0
        var wrong = 0
    }

    /// By one call, or by one batch.
    private func count(_ client: RedisClient, _ counts: Int) async throws(RedisError) {
        let command = RedisCommand("INCR", "count")
        if counts == 1 {
            _ = try await client.call(command)
        } else {
            _ = try await client.batch(Array(repeating: command, count: counts))
        }
    }

    /// Calls of some tasks until all of them have made theirs; a third of them batches.
    private func load(_ client: RedisClient, tasks: Int = 8, calls: Int = 15) async -> Tally {
        let tally = Guarded(Tally())
        await withTaskGroup(of: Void.self) { group in
            for task in 0..<tasks {
                group.addTask {
                    for turn in 0..<calls {
                        let text = "\(task)-\(turn)-" + String(repeating: "x", count: turn)
                        let counts = turn.isMultiple(of: 3) ? 3 : 1
                        do throws(RedisError) {
                            try await count(client, counts)
                            tally.withLock { $0.acknowledged += counts }
                        } catch {
                            tally.withLock {
                                if error == .outcomeUnknown { $0.unknown += counts } else { $0.refused += counts }
                            }
                            _ = await client.waitUntilAvailable(within: .seconds(30))
                        }
                        let echoed = try? await client.call(RedisCommand("ECHO", text)).string
                        if let echoed, echoed != text { tally.withLock { $0.wrong += 1 } }
                    }
                }
            }
        }
        return tally.withLock { $0 }
    }

    @Test func `under each of thirty faults nothing is lost, doubled or mixed up, and the client comes back`()
        async throws
    {
        let server = try await RedisServer()
        var unknown = 0
        for (number, fault) in Self.faults.enumerated() {
            let proxy = try await FaultProxy(to: server.port)
            try await withRedis(proxy.url) { configuration in
                configuration.commandTimeout = .milliseconds(500)
                configuration.keepAliveTimeout = .milliseconds(200)
                configuration.connectTimeout = .milliseconds(1000)
                configuration.reconnectFirst = .milliseconds(2)
                configuration.reconnectMax = .milliseconds(20)
            } _: { redis in
                _ = try await redis.client.call(RedisCommand("SET", "count", 0), within: .seconds(30))
                proxy.set(fault)
                let tally = await load(redis.client)
                let name = "fault \(number), \(fault): \(tally)"
                proxy.set(nil)
                #expect(tally.wrong == 0, "\(name)")
                unknown += tally.unknown
                // The way is clear: the client must come back by itself, and the counter tell the truth.
                var value: Int64?
                try await eventually("the client's return after \(name)") {
                    value = try? await redis.client.call(RedisCommand("GET", "count")).integer
                    return value != nil
                }
                let count = Int(value ?? -1)
                #expect(count >= tally.acknowledged && count <= tally.acknowledged + tally.unknown, "\(name), \(count)")
            }
            await proxy.stop()
        }
        #expect(unknown > 0, "some fault must hit a command in flight")
    }

    @Test
    func `a server that is killed under load and comes back takes commands again, and says which ones are unknown`()
        async throws
    {
        let server = try await RedisServer()
        try await withRedis(server.url) { redis in
            let client = redis.client
            let changes = client.availability()
            let isDone = Guarded(false)
            let tally = try await withThrowingTaskGroup(of: Tally.self) { group in
                for _ in 0..<8 {
                    group.addTask {
                        var tally = Tally()
                        while !isDone.withLock({ $0 }), !Task.isCancelled {
                            do throws(RedisError) {
                                _ = try await client.call(RedisCommand("INCR", "count"))
                                tally.acknowledged += 1
                            } catch {
                                if error == .outcomeUnknown { tally.unknown += 1 } else { tally.refused += 1 }
                                _ = await client.waitUntilAvailable(within: .seconds(1))
                            }
                        }
                        return tally
                    }
                }
                try await eventually("some load") {
                    try await client.call(RedisCommand("GET", "count")).integer ?? 0 > 100
                }
                try await server.kill()
                for await isAvailable in changes where !isAvailable { break }
                #expect(redis.health.snapshot["redis"]?.reason == "redis_unreachable")
                await #expect(throws: RedisError.unavailable) { try await client.call(RedisCommand("GET", "count")) }
                try await server.restart()
                try await eventually("load on the new server") {
                    (try? await client.call(RedisCommand("GET", "count")).integer ?? 0) ?? 0 > 100
                }
                isDone.withLock { $0 = true }
                return try await group.reduce(into: Tally()) { all, one in
                    all.acknowledged += one.acknowledged
                    all.unknown += one.unknown
                    all.refused += one.refused
                }
            }
            #expect(tally.acknowledged + tally.unknown > 200)
            // The new server began with nothing: its count is of calls that it acknowledged.
            let count = Int(try await client.call(RedisCommand("GET", "count")).integer ?? 0)
            #expect(count <= tally.acknowledged + tally.unknown)
            try await eventually("health") { redis.health.snapshot["redis"]?.state == .ok }
            try await eventually("all connections") { redis.metrics.counter(.redisReconnects).value == 4 }
        }
    }

    @Test func `a server that stops answering ends reads with timeout and writes with an unknown outcome`() async throws
    {
        let server = try await RedisServer()
        try await withRedis(server.url) { configuration in
            configuration.connectionsPerNode = 1
            configuration.commandTimeout = .milliseconds(300)
            configuration.keepAliveTimeout = .milliseconds(300)
        } _: { redis in
            let client = redis.client
            server.pause()
            await #expect(throws: RedisError.timeout) { try await client.call(RedisCommand("GET", "a")) }
            await #expect(throws: RedisError.outcomeUnknown) { try await client.call(RedisCommand("INCR", "a")) }
            let marked = RedisCommand("INCR", "a").carryingOperationID()
            await #expect(throws: RedisError.self) { try await client.call(marked) }
            // Found dead by the missing sign of life, not by TCP.
            for await isAvailable in client.availability() where !isAvailable { break }
            server.resume()
            #expect(await client.waitUntilAvailable(within: .seconds(30)))
        }
    }

    @Test func `an idle connection whose server is gone without a word is found by the keep-alive`() async throws {
        let server = try await RedisServer()
        try await withRedis(server.url) { configuration in
            configuration.keepAliveAfter = .milliseconds(50)
            configuration.keepAliveTimeout = .milliseconds(500)
        } _: { redis in
            server.pause()
            for await isAvailable in redis.client.availability() where !isAvailable { break }
            server.resume()
            #expect(await redis.client.waitUntilAvailable(within: .seconds(30)))
        }
    }

    @Test func `a way that swallows everything is said in health within two seconds, while the connection stands`()
        async throws
    {
        let server = try await RedisServer()
        let proxy = try await FaultProxy(to: server.port)
        try await withRedis(proxy.url) { configuration in
            let usual = try? RedisConfiguration(url: proxy.url)
            configuration.keepAliveAfter = usual?.keepAliveAfter ?? .zero
            // The usual time until health says so is a part of this one, of which a busy machine may use all.
            #expect(configuration.keepAliveAfter + configuration.silenceShownAfter < .seconds(2))
            #expect(configuration.keepAliveAfter + configuration.keepAliveTimeout == .seconds(3))
            configuration.keepAliveTimeout = .seconds(60)
        } _: { redis in
            let client = redis.client
            let silent = redis.metrics.gauge(.redisSilentConnections)
            #expect(silent.value == 0)
            let began = ContinuousClock.now
            proxy.turn(.dark)
            async let answer = client.call(RedisCommand("GET", "a"))
            try await eventually("silence in health") {
                redis.health.snapshot["redis"]?.reason == "redis_silent"
            }
            // A busy machine delays it; the end of the connection would take a minute.
            #expect(ContinuousClock.now - began < .seconds(20))
            let said = redis.health.snapshot["redis"]
            #expect(said?.state == .degraded && said?.details?.joined().contains("127.0.0.1") == true, "\(said as Any)")
            #expect(silent.value >= 1 && client.isAvailable)
            proxy.turn(.clear)
            #expect(try await answer == .null)
            try await eventually("health") { redis.health.snapshot["redis"]?.state == .ok }
            #expect(silent.value == 0 && redis.metrics.counter(.redisReconnects).value == 0)
        }
        await proxy.stop()
    }

    @Test func `a silent connection that is closed is silent no longer`() async throws {
        let server = try await RedisServer()
        try await withRedis(server.url) { configuration in
            configuration.keepAliveAfter = .milliseconds(50)
            configuration.silenceShownAfter = .milliseconds(50)
            configuration.keepAliveTimeout = .milliseconds(500)
        } _: { redis in
            let silent = redis.metrics.gauge(.redisSilentConnections)
            server.pause()
            try await eventually("silence") { silent.value >= 1 }
            try await eventually("the loss") { redis.health.snapshot["redis"]?.reason == "redis_unreachable" }
            server.resume()
            #expect(await redis.client.waitUntilAvailable(within: .seconds(30)))
            try await eventually("nothing silent") { silent.value == 0 }
        }
    }

    @Test func `a cancelled call ends at once, and those behind it get their own answers`() async throws {
        let server = try await RedisServer()
        try await withRedis(server.url) {
            $0.connectionsPerNode = 1
        } _: { redis in
            let client = redis.client
            server.pause()
            let began = ContinuousClock.now
            await withTaskGroup(of: RedisError?.self) { group in
                group.addTask {
                    do throws(RedisError) { _ = try await client.call(RedisCommand("ECHO", "cancelled")) } catch {
                        return error
                    }
                    return nil
                }
                group.cancelAll()
                #expect(await group.next() == .some(.cancelled))
            }
            #expect(ContinuousClock.now - began < .seconds(20))
            async let later = client.call(RedisCommand("ECHO", "mine"))
            server.resume()
            let mine = try await later
            #expect(mine.string == "mine")
        }
    }

    @Test func `one connection owes at most its bound, and more is refused and not queued`() async throws {
        let server = try await RedisServer()
        try await withRedis(server.url) {
            $0.connectionsPerNode = 1
        } _: { redis in
            let client = redis.client
            let many = (0..<RedisLimits.inFlightMax).map { _ in RedisCommand("INCR", "count") }
            await #expect(throws: RedisError.backpressure) {
                try await client.batch(many + [RedisCommand("INCR", "count")])
            }
            server.pause()
            async let first = client.batch(many)
            let owed = redis.metrics.gauge(.redisInFlight)
            try await eventually("a full connection") { owed.value == Double(RedisLimits.inFlightMax) }
            await #expect(throws: RedisError.backpressure) { try await client.call(RedisCommand("PING")) }
            server.resume()
            let answers = try await first
            #expect(answers.last == .integer(Int64(RedisLimits.inFlightMax)))
            let found5 = try await client.call(RedisCommand("GET", "count")).integer
            #expect(found5 == Int64(RedisLimits.inFlightMax))
        }
    }
}
