import NIOCore
import Runtime
import Testing

/// Where commands belong in a cluster, and what a URL says.
struct RedisRoutingTests {
    @Test func `slots are those of the cluster specification`() {
        // CRC16 of "123456789" is 0x31C3 by the specification.
        #expect(RedisSlot.of("123456789") == 0x31C3 % 16_384)
        #expect(RedisSlot.of("foo") == 12_182 && RedisSlot.of("bar") == 5061 && RedisSlot.of("hello") == 866)
        #expect(RedisSlot.of("{user1000}.following") == RedisSlot.of("user1000"))
        #expect(RedisSlot.of("foo{}{bar}") == RedisSlot.of(Array("foo{}{bar}".utf8)))
        #expect(RedisSlot.of("foo{{bar}}zap") == RedisSlot.of("{bar"))
        #expect(RedisSlot.of("foo{bar}{zap}") == RedisSlot.of("bar"))
        #expect(RedisSlot.of("") == 0)
    }

    @Test(arguments: [
        (RedisCommand("GET", "foo"), RedisRoute.slot(12_182)), (RedisCommand("PING"), .anywhere),
        (RedisCommand("MGET", "foo", "{foo}2"), .slot(12_182)), (RedisCommand("MGET", "foo", "bar"), .crossSlot),
        (RedisCommand("MSET", "foo", "bar", "{foo}", "hello"), .slot(12_182)),
        (RedisCommand("MSET", "foo", "x", "bar", "x"), .crossSlot),
        (RedisCommand("EVALSHA", "sha", 2, "foo", "{foo}1", "bar"), .slot(12_182)),
        (RedisCommand("EVAL", "return 1", 0, "foo"), .anywhere),
        (RedisCommand("EVAL", "return 1", 2, "foo", "bar"), .crossSlot),
        (RedisCommand("OBJECT", "ENCODING", "foo"), .slot(12_182)),
        (RedisCommand("ZUNIONSTORE", "foo", 1, "bar"), .crossSlot),
        (RedisCommand("ZUNION", 1, "bar"), .slot(5061)),
        (RedisCommand("XREAD", "COUNT", 1, "STREAMS", "foo", "{foo}", "0", "0"), .slot(12_182)),
        (RedisCommand("BITOP", "AND", "foo", "bar"), .crossSlot), (RedisCommand("RENAME", "foo", "bar"), .crossSlot),
        (RedisCommand("EVAL", "x"), .anywhere), (RedisCommand("GET"), .anywhere),
        (RedisCommand("PUBLISH", "foo", "x"), .anywhere), (RedisCommand("SPUBLISH", "foo", "x"), .slot(12_182)),
        (RedisCommand("UNKNOWN.COMMAND", "foo"), .slot(12_182)),
    ])
    func `a command goes where its keys are`(_ command: RedisCommand, _ route: RedisRoute) {
        #expect(command.route == route)
    }

    @Test func `a command is encoded as an array of its words, whatever their types`() {
        let command = RedisCommand("SET", "k", -10, Int64.min, UInt64.max, 1.5, [1, 2] as [UInt8], "é"[...])
        let text = String(decoding: command.encoded, as: UTF8.self)
        let words = ["SET", "k", "-10", "-9223372036854775808", "18446744073709551615", "1.5", "\u{1}\u{2}", "é"]
        let expected = words.map { "$\($0.utf8.count)\r\n\($0)\r\n" }.joined()
        #expect(text == "*8\r\n" + expected && command.count == 8)
        #expect(RedisCommand("GET", "k").isRead && !RedisCommand("SET", "k", "v").isRead)
        #expect(RedisCommand("SET", "k", "v").carryingOperationID().isRepeatable)
        #expect(RedisScript("return 1").sha == "e0e1f9fabfc9d4800c877a703b823ac0578ff8db")
    }

    @Test func `a URL gives hosts, user, password, database and TLS`() throws {
        let one = try RedisConfiguration(url: "redis://localhost")
        #expect(one.addresses == [.init(host: "localhost", port: 6379)] && !one.isCluster && !one.usesTLS)
        #expect(one.user == nil && one.password == nil && one.database == 0)
        let all = try RedisConfiguration(url: "rediss://ann:p%40ss%3A%2F@db.example:6380/3?ca=/etc/ca%20of/us.pem")
        #expect(all.user == "ann" && all.password == "p@ss:/" && all.database == 3 && all.usesTLS)
        #expect(all.authoritiesFile == "/etc/ca of/us.pem")
        #expect("\(all)" == "rediss://db.example:6380/3")
        let password = try RedisConfiguration(url: "redis://:secret@[::1]:7000,b,c:7002")
        #expect(password.user == nil && password.password == "secret" && password.isCluster)
        #expect(password.addresses.map(\.port) == [7000, 6379, 7002] && password.addresses[0].host == "::1")
        #expect(!"\(password)".contains("secret"))
    }

    @Test(arguments: [
        "", "localhost", "http://a", "redis://", "redis://a:0", "redis://a:x", "redis://a,,b", "redis://a/x",
        "redis://a,b/1", "redis://user@a", "redis://a?ca=/x", "rediss://a?verify=no", "redis://:%zz@a", "redis://[::1",
        "redis+sentinel://a", "sentinel://a:26379",
    ])
    func `a wrong URL is refused with a sentence`(_ url: String) throws {
        let problem = #expect(throws: RedisConfiguration.Problem.self) { try RedisConfiguration(url: url) }
        let sentence = try #require(problem).description
        #expect(sentence.contains("Redis") || sentence.contains("rediss"), "\(sentence)")
        if url.contains("sentinel") { #expect(sentence.contains("not supported")) }
    }
}
