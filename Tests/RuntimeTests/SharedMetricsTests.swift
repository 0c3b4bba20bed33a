import AurumCore
import Logging
import Runtime
import ServiceLifecycle
import Telemetry
import TestSupport
import Testing

/// Counts of all nodes together: nothing is lost by a clean end, nothing is added twice.
struct SharedMetricsTests {
    private static let (nodes, increments, tasks) = (3, 100_000, 10)

    private func value(_ series: String, _ text: String) -> Double? {
        text.split(separator: "\n").first { $0.hasPrefix(series + " ") }.flatMap {
            Double($0.dropFirst(series.count + 1))
        }
    }

    private func shared(_ redis: RunningRedis, _ registry: MetricRegistry) -> RedisSharedMetrics {
        RedisSharedMetrics(client: redis.client, registry: registry, clock: SystemWallClock())
    }

    /// Every sample belongs to a metric that was declared before it, as Prometheus wants it.
    private func expectWhole(_ text: String) {
        var declared: Set<Substring> = []
        for line in text.split(separator: "\n") {
            let words = line.split(separator: " ")
            if line.hasPrefix("# TYPE ") {
                #expect(declared.insert(words[2]).inserted, "\(words[2]) is declared twice")
                #expect(words[3] == "counter" ? words[2].hasSuffix("_total") : words[3] == "gauge")
            } else if !line.hasPrefix("#") {
                let name = line.prefix { $0 != "{" && $0 != " " }
                #expect(declared.contains(name) && name.hasPrefix("aurum_cluster_"), "\(line)")
                #expect(Double(words.last ?? "") != nil, "\(line)")
            }
        }
        #expect(text.hasSuffix("\n"))
    }

    @Test func `three nodes that count to a hundred thousand each make three hundred thousand after a clean stop`()
        async throws
    {
        let server = try await RedisServer()
        try await withRedis(server.url) { redis in
            try await withThrowingTaskGroup(of: Void.self) { group in
                for _ in 0..<Self.nodes { group.addTask { try await count(server.url) } }
                try await group.waitForAll()
            }
            let text = try await shared(redis, MetricRegistry()).text()
            expectWhole(text)
            let expected = Double(Self.nodes * Self.increments)
            #expect(value("aurum_cluster_conversation_started_total", text) == expected)
            #expect(value("aurum_cluster_leads_created_total{state=\"new\"}", text) == expected / 10)
            #expect(value("aurum_cluster_nodes", text) == 0, "all have ended: \(text)")
            #expect(value("aurum_cluster_websocket_connections{kind=\"live\"}", text) == nil)
        }
    }

    /// One node with a client of its own, which counts while it runs and then ends as a server does.
    private func count(_ url: String) async throws {
        let registry = MetricRegistry()
        try await withRedis(url) { redis in
            let service = shared(redis, registry)
            let group = ServiceGroup(
                configuration: ServiceGroupConfiguration(
                    services: [.init(service: service)],
                    logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }))
            try await withThrowingTaskGroup(of: Void.self) { tasks in
                tasks.addTask { try await group.run() }
                registry.gauge(.webSocketConnections, "live").set(5)
                await withTaskGroup(of: Void.self) { counters in
                    for _ in 0..<Self.tasks {
                        counters.addTask {
                            for number in 0..<Self.increments / Self.tasks {
                                registry.counter(.conversationsStarted).increment()
                                if number.isMultiple(of: 10) { registry.counter(.leadsCreated, "new").increment() }
                            }
                        }
                    }
                }
                #expect(await service.flush())
                await group.triggerGracefulShutdown()
                try await tasks.waitForAll()
            }
        }
    }

    @Test func `gauges are summed over the nodes that live`() async throws {
        let server = try await RedisServer()
        try await withRedis(server.url) { redis in
            let (one, other) = (MetricRegistry(), MetricRegistry())
            let (first, second) = (shared(redis, one), shared(redis, other))
            one.gauge(.webSocketConnections, "chat").set(3)
            other.gauge(.webSocketConnections, "chat").set(4)
            other.gauge(.webSocketConnections, "live").set(1)
            #expect(await first.flush())
            #expect(await second.flush())
            var text = try await first.text()
            expectWhole(text)
            #expect(value("aurum_cluster_websocket_connections{kind=\"chat\"}", text) == 7)
            #expect(value("aurum_cluster_websocket_connections{kind=\"live\"}", text) == 1)
            #expect(value("aurum_cluster_nodes", text) == 2)
            one.gauge(.webSocketConnections, "chat").add(-2)
            #expect(await first.flush())
            text = try await second.text()
            #expect(value("aurum_cluster_websocket_connections{kind=\"chat\"}", text) == 5)
        }
    }

    @Test func `an addition whose answer is lost is not added twice`() async throws {
        let server = try await RedisServer()
        let proxy = try await FaultProxy(to: server.port)
        try await withRedis(proxy.url) { redis in
            let registry = MetricRegistry()
            let metrics = shared(redis, registry)
            let counter = registry.counter(.conversationsStarted)
            var (expected, struck) = (0, 0)
            for round in 1...10 {
                counter.increment(by: round)
                expected += round
                proxy.set(FaultProxy.Fault(.cut(after: 1), .toClient, strikes: 1))
                try await eventually("addition \(round)") { await metrics.flush() }
                struck += proxy.struck
                proxy.set(nil)
            }
            #expect(struck > 0)
            #expect(await redis.client.waitUntilAvailable(within: .seconds(30)))
            #expect(value("aurum_cluster_conversation_started_total", try await metrics.text()) == Double(expected))
        }
    }

    @Test func `without Redis the text is this process' own, and with a lost one there is none`() async throws {
        let registry = MetricRegistry()
        registry.counter(.leadsCreated, "new").increment(by: 2)
        registry.gauge(.webSocketConnections, "chat").set(3)
        registry.counter(.pubSubGaps).increment()
        let text = try MemorySharedMetrics(registry: registry).text()
        expectWhole(text)
        #expect(value("aurum_cluster_leads_created_total{state=\"new\"}", text) == 2)
        #expect(value("aurum_cluster_websocket_connections{kind=\"chat\"}", text) == 3)
        #expect(value("aurum_cluster_nodes", text) == 1 && !text.contains("pubsub"))

        let server = try await RedisServer()
        try await withRedis(server.url) { redis in
            let metrics = shared(redis, registry)
            try await server.kill()
            try await eventually("the end of the connection") { !redis.client.isAvailable }
            await #expect(throws: SharedMetricsError.unavailable) { _ = try await metrics.text() }
            #expect(await !metrics.flush())
            try await server.restart()
            #expect(await redis.client.waitUntilAvailable(within: .seconds(30)))
            try await eventually("the addition") { await metrics.flush() }
            let found = try await metrics.text()
            #expect(value("aurum_cluster_leads_created_total{state=\"new\"}", found) == 2)
        }
    }
}
