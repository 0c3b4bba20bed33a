import AurumCore
import Logging
import Runtime
import Telemetry
import TestSupport
import Testing

/// TLS, users, older protocols, and servers that are of no use.
struct RedisSignInTests {
    @Test func `TLS works with the right authority, by name and by address`() async throws {
        let certificates = try await TestCertificates()
        let server = try await RedisServer(tls: certificates)
        for host in ["localhost", "127.0.0.1"] {
            try await withRedis("rediss://\(host):\(server.port)?ca=\(certificates.authority)") { redis in
                let found1 = try await redis.client.call(RedisCommand("ECHO", "secret")).string
                #expect(found1 == "secret")
                let subscription = redis.client.subscribe(channels: ["a"])
                #expect(await subscription.waitUntilActive(within: .seconds(30)))
                // More than one record, and more than one read.
                let big = [UInt8](repeating: 7, count: 3_000_000)
                let found2 = try await redis.client.call(RedisCommand("ECHO", big)).bytes
                #expect(found2 == big)
            }
        }
    }

    @Test func `TLS is refused for another name, an unknown authority, and a version below 1.2`() async throws {
        let other = try await TestCertificates(names: "DNS:other.example")
        let server = try await RedisServer(tls: other)
        try await expectNoConnection("rediss://localhost:\(server.port)?ca=\(other.authority)")
        try await expectNoConnection("rediss://127.0.0.1:\(server.port)?ca=\(other.authority)")
        let own = try await TestCertificates()
        let second = try await RedisServer(tls: own)
        try await expectNoConnection("rediss://localhost:\(second.port)")
        let old = try await RedisServer(
            ["--tls-protocols", "TLSv1.1", "--tls-ciphers", "DEFAULT@SECLEVEL=0"], tls: own)
        try await expectNoConnection("rediss://localhost:\(old.port)?ca=\(own.authority)")
        #expect(throws: RedisConfiguration.Problem.self) {
            try RedisClient(
                configuration: RedisConfiguration(url: "rediss://localhost?ca=/absent.pem"), registry: MetricRegistry(),
                health: HealthRegistry(clock: ManualWallClock()), logger: .init(label: "test"))
        }
    }

    @Test func `users and passwords are those of the URL, and a wrong one is said in health`() async throws {
        let server = try await RedisServer([
            "--requirepass", "pass word", "--user", "ann", "on", ">s@cret", "~ann:*", "+@all",
        ])
        try await withRedis("redis://:pass%20word@127.0.0.1:\(server.port)/2") { redis in
            let found3 = try await redis.client.call(RedisCommand("ACL", "WHOAMI")).string
            #expect(found3 == "default")
            let info = try await redis.client.call(RedisCommand("CLIENT", "INFO")).string ?? ""
            #expect(info.contains("name=aurum ") && info.contains("db=2 ") && info.contains("resp=3"), "\(info)")
        }
        try await withRedis("redis://ann:s%40cret@127.0.0.1:\(server.port)") { redis in
            let found4 = try await redis.client.call(RedisCommand("ACL", "WHOAMI")).string
            #expect(found4 == "ann")
            let denied = await #expect(throws: RedisError.self) {
                try await redis.client.call(RedisCommand("GET", "b"))
            }
            guard case .server(code: "NOPERM", _) = denied else { throw RedisError.closed }
        }
        try await expectNoConnection("redis://:wrong@127.0.0.1:\(server.port)", saying: "refused user or password")
        try await expectNoConnection(server.url, saying: "refused user or password")
    }

    @Test func `a server without HELLO is spoken to in RESP2, messages and maps included`() async throws {
        let server = try await RedisServer(["--rename-command", "HELLO", "", "--requirepass", "secret"])
        try await withRedis("redis://:secret@127.0.0.1:\(server.port)") { redis in
            let client = redis.client
            let info = try await client.call(RedisCommand("CLIENT", "INFO")).string ?? ""
            #expect(info.contains("name=aurum ") && info.contains("resp=2"), "\(info)")
            _ = try await client.call(RedisCommand("HSET", "hash", "field", "value"))
            let pairs = try await client.call(RedisCommand("HGETALL", "hash")).pairs
            #expect(pairs == [RESPPair(key: .bulk(Array("field".utf8)), value: .bulk(Array("value".utf8)))])
            let subscription = client.subscribe(channels: ["a"])
            #expect(await subscription.waitUntilActive(within: .seconds(30)))
            _ = try await client.call(RedisCommand("PUBLISH", "a", "x"))
            for await message in subscription {
                #expect(message == .message(channel: "a", pattern: nil, payload: [0x78]))
                break
            }
        }
    }

    @Test func `a Sentinel and a lone node of a cluster are refused with a sentence`() async throws {
        let cluster = try await RedisServer(["--cluster-enabled", "yes", "--cluster-port", "\(try FreePort.next())"])
        try await expectNoConnection(cluster.url, saying: "several of its hosts")
        let single = try await RedisServer()
        try await expectNoConnection("\(single.url),127.0.0.1:\(single.port)", saying: "in no cluster")
        let sentinel = try await RedisServer(sentinel: true)
        try await expectNoConnection(sentinel.url, saying: "Sentinel, which is not supported")
    }

    @Test func `nobody listening is said in health, and calls fail at once`() async throws {
        let port = try FreePort.next()
        try await expectNoConnection("redis://127.0.0.1:\(port)", saying: "cannot connect")
    }

    /// Two attempts at least, none of which succeeds.
    private func expectNoConnection(_ url: String, saying sentence: String? = nil) async throws {
        try await withRedis(url, waits: false) {
            $0.reconnectFirst = .milliseconds(10)
        } _: { redis in
            try await eventually("a reason in health") { redis.health.snapshot["redis"]?.details != nil }
            let state = redis.health.snapshot["redis"]
            #expect(state?.state == .down && state?.required == false)
            if let sentence {
                let details = state?.details?.joined() ?? ""
                #expect(details.contains(sentence), "\(url): \(details)")
            }
            #expect(!redis.client.isAvailable)
            await #expect(throws: RedisError.unavailable) { try await redis.client.call(RedisCommand("PING")) }
        }
    }
}
