import AurumCore
import NIOCore
import Runtime
import TestSupport
import Testing

/// The parser against frames of every type, broken ones, and a plain model of the protocol.
struct RESPParserTests {
    private static let frames: [(String, RESPValue)] = [
        ("+OK\r\n", .simple("OK")), ("+\r\n", .simple("")),
        ("-ERR unknown command\r\n", .error(RedisServerError("ERR unknown command"))),
        (":0\r\n", .integer(0)), (":+7\r\n", .integer(7)), (":-9223372036854775808\r\n", .integer(.min)),
        (":9223372036854775807\r\n", .integer(.max)),
        ("$-1\r\n", .null), ("*-1\r\n", .null), ("_\r\n", .null),
        ("$0\r\n\r\n", .bulk([])), ("$7\r\na\r\nb$3x\r\n", .bulk(Array("a\r\nb$3x".utf8))),
        ("#t\r\n", .boolean(true)), ("#f\r\n", .boolean(false)),
        (",3.25\r\n", .double(3.25)), (",-1e-7\r\n", .double(-1e-7)), (",inf\r\n", .double(.infinity)),
        (",-inf\r\n", .double(-.infinity)), (",10\r\n", .double(10)),
        (
            "(-3492890328409238509324850943850943825024385\r\n",
            .bigNumber("-3492890328409238509324850943850943825024385")
        ),
        ("!21\r\nSYNTAX invalid syntax\r\n", .error(RedisServerError("SYNTAX invalid syntax"))),
        ("=15\r\ntxt:Some string\r\n", .verbatim(format: "txt", bytes: Array("Some string".utf8))),
        ("*0\r\n", .array([])), ("~0\r\n", .set([])), ("%0\r\n", .map([])),
        ("*2\r\n:1\r\n*2\r\n+a\r\n$1\r\nb\r\n", .array([.integer(1), .array([.simple("a"), .bulk([0x62])])])),
        ("%1\r\n+key\r\n~2\r\n:1\r\n_\r\n", .map([RESPPair(key: .simple("key"), value: .set([.integer(1), .null]))])),
        (">3\r\n+message\r\n+a\r\n$1\r\nx\r\n", .push([.simple("message"), .simple("a"), .bulk([0x78])])),
        ("|1\r\n+ttl\r\n:3600\r\n:5\r\n", .integer(5)), ("|0\r\n:6\r\n", .integer(6)),
        ("*2\r\n|1\r\n+a\r\n*1\r\n:1\r\n:7\r\n:8\r\n", .array([.integer(7), .integer(8)])),
    ]

    private func parse(_ parts: [[UInt8]]) throws(RedisError) -> [RESPValue] {
        var parser = RESPParser()
        var buffer = ByteBuffer()
        var values: [RESPValue] = []
        for part in parts {
            buffer.writeBytes(part)
            try parser.parse(&buffer, into: &values)
        }
        return values
    }

    @Test func `every frame comes out whole, wherever it is split and however many come at once`() throws {
        for (text, expected) in Self.frames {
            let bytes = Array(text.utf8)
            #expect(try parse([bytes]) == [expected], "\(text)")
            #expect(try parse(bytes.map { [$0] }) == [expected], "\(text) byte by byte")
            for split in 1..<bytes.count {
                #expect(
                    try parse([Array(bytes[..<split]), Array(bytes[split...])]) == [expected], "\(text) at \(split)")
            }
        }
        let all = Self.frames.flatMap { Array($0.0.utf8) }
        let expected = Self.frames.map(\.1)
        #expect(try parse([all]) == expected)
        for size in [1, 2, 3, 7, 64] {
            let parts = stride(from: 0, to: all.count, by: size).map { Array(all[$0..<min(all.count, $0 + size)]) }
            #expect(try parse(parts) == expected)
        }
        guard case .double(let number) = try parse([Array(",nan\r\n".utf8)])[0] else { throw RedisError.closed }
        #expect(number.isNaN)
    }

    @Test(arguments: [
        "x\r\n", "\r\n", "+a\n", "+a\rb\r\n", ":\r\n", ":1a\r\n", ":--1\r\n", ":9223372036854775808\r\n",
        ":-9223372036854775809\r\n", ":99999999999999999999\r\n", "$-2\r\n", "$a\r\n", "$67108865\r\n",
        "$3\r\nabcd\r\n",
        "$3\r\nabc\n\r", "*-2\r\n", "*1048577\r\n", "%524289\r\n", "%-1\r\n", "~-1\r\n", "!-1\r\n", "#x\r\n", "#tt\r\n",
        ",\r\n", ",0x1p3\r\n", ",infinity\r\n", "(\r\n", "(-\r\n", "(1.5\r\n", "_x\r\n", "=3\r\ntxt\r\n",
        "=5\r\ntxtab\r\n", "*1\r\n>1\r\n:1\r\n", "$?\r\n", "*?\r\n", "=-1\r\n", ">-1\r\n",
    ])
    func `a malformed or oversized frame is refused`(_ text: String) throws {
        func refuses(_ parts: [[UInt8]]) -> Bool {
            do throws(RedisError) { _ = try parse(parts) } catch {
                if case .protocolError = error { return true }
            }
            return false
        }
        let bytes = Array(text.utf8)
        #expect(refuses([bytes]))
        #expect(refuses(bytes.map { [$0] }))
        #expect(refuses([Array("+OK\r\n".utf8) + bytes]))
    }

    @Test func `nesting to the bound is read and beyond it refused`() throws {
        let deepest = String(repeating: "*1\r\n", count: RedisLimits.nestingMax) + ":1\r\n"
        #expect(try parse([Array(deepest.utf8)]).count == 1)
        #expect(throws: RedisError.self) { _ = try parse([Array(("*1\r\n" + deepest).utf8)]) }
    }

    @Test func `values before a malformed one are kept`() throws {
        var parser = RESPParser()
        var buffer = ByteBuffer(string: ":1\r\n:2\r\n?")
        var values: [RESPValue] = []
        buffer.writeString("\r\n")
        do throws(RedisError) { try parser.parse(&buffer, into: &values) } catch {
            #expect(values == [.integer(1), .integer(2)])
            return
        }
        Issue.record("not refused")
    }

    @Test func `a line, a reply and its values are bounded`() throws {
        let line = "+" + String(repeating: "a", count: RedisLimits.lineBytesMax + 1)
        #expect(throws: RedisError.self) { _ = try parse([Array(line.utf8)]) }
        #expect(throws: RedisError.self) { _ = try parse([Array((line + "\r\n").utf8)]) }
        // Two aggregates that are small enough alone.
        let half = "*600000\r\n" + String(repeating: "_\r\n", count: 600_000)
        #expect(throws: RedisError.self) { _ = try parse([Array(("*2\r\n" + half + half).utf8)]) }
        var parser = RESPParser()
        var buffer = ByteBuffer(string: "*3\r\n")
        var values: [RESPValue] = []
        let big = [UInt8](repeating: 0x61, count: RedisLimits.declaredBytesMax)
        let tail: [UInt8] = [0x0d, 0x0a]
        try parser.parse(&buffer, into: &values)
        #expect(throws: RedisError.protocolError("a reply is too large")) {
            for _ in 0..<2 {
                buffer.writeString("$\(big.count)\r\n")
                buffer.writeBytes(big)
                buffer.writeBytes(tail)
                try parser.parse(&buffer, into: &values)
            }
        }
    }

    @Test func `declared lengths alone take no memory`() throws {
        // Taking what these declare would be terabytes.
        var parsers: [RESPParser] = []
        let bytes = Array((String(repeating: "*1048576\r\n", count: RedisLimits.nestingMax) + "$67108864\r\n").utf8)
        for _ in 0..<2000 {
            var parser = RESPParser()
            var buffer = ByteBuffer(bytes: bytes)
            var values: [RESPValue] = []
            try parser.parse(&buffer, into: &values)
            #expect(values.isEmpty && buffer.readableBytes == 0, "all was taken into a value that has not ended")
            parsers.append(parser)
        }
        #expect(parsers.count == 2000)
    }

    @Test func `random bytes, valid and broken, in random pieces, give what a plain model gives`() throws {
        let seed = UInt64.random(in: 0...UInt64.max)
        let count = soakCount(25) == 25 ? 10_000_000 : 100_000
        print("RESP fuzz: seed \(seed), \(count) inputs")
        var random = SeededRandom(seed: seed)
        var refused = 0
        for number in 0..<count {
            let input = RESPGenerator.input(&random)
            var model = RESPModel(input)
            model.run()
            var parser = RESPParser()
            var buffer = ByteBuffer()
            var values: [RESPValue] = []
            var failed = false
            var offset = 0
            while offset < input.count, !failed {
                let size = Int.random(in: 1...max(1, input.count), using: &random)
                buffer.writeBytes(input[offset..<min(input.count, offset + size)])
                offset += size
                do throws(RedisError) { try parser.parse(&buffer, into: &values) } catch { failed = true }
            }
            if failed { refused += 1 }
            let isSame = failed == model.failed && values == model.values
            try #require(
                isSame, "seed \(seed), input \(number): \(String(decoding: input, as: UTF8.self).debugDescription)")
        }
        #expect(refused > count / 20 && refused < count * 19 / 20, "the inputs are of both kinds")
    }
}
