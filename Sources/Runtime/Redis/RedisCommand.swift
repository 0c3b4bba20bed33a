/// One command with its arguments, encoded when it is made.
package struct RedisCommand: Sendable {
    /// Upper case, for example `SET`.
    package let name: String
    /// The name and the arguments.
    package let count: Int
    /// What goes over the wire.
    package let encoded: [UInt8]
    /// Whether it changes nothing, so that it may be sent again when its connection broke.
    package var isRead: Bool { saysRead ?? Self.reads.contains(name) }
    private let saysRead: Bool?
    /// Whether it may be sent twice because its arguments carry an id by which the server's side tells a repetition.
    package private(set) var carriesOperationID = false

    /// Whether the client may send it again on its own.
    package var isRepeatable: Bool { isRead || carriesOperationID }

    /// - Parameter isRead: overrides what the client knows about the name, for example for a script that only reads.
    package init(_ name: String, _ arguments: any RedisArgument..., isRead: Bool? = nil) {
        self.init(name, arguments: arguments, isRead: isRead)
    }

    package init(_ name: String, arguments: [any RedisArgument], isRead: Bool? = nil) {
        self.name = name
        saysRead = isRead
        count = arguments.count + 1
        var size = Self.headerBytes(count) + Self.bulkBytes(name.utf8.count)
        for argument in arguments { size += Self.bulkBytes(argument.redisByteCount) }
        encoded = [UInt8](unsafeUninitializedCapacity: size) { [count, size] bytes, used in
            used = size
            guard var place = UnsafeMutableRawPointer(bytes.baseAddress) else { return }
            Self.writeHeader(UInt8(ascii: "*"), count, to: &place)
            Self.writeBulk(name, name.utf8.count, to: &place)
            for argument in arguments { Self.writeBulk(argument, argument.redisByteCount, to: &place) }
        }
    }

    /// The same command, declared safe to send twice: its arguments carry an operation id that the script or the data
    /// type on the server's side checks.
    package func carryingOperationID() -> RedisCommand {
        var copy = self
        copy.carriesOperationID = true
        return copy
    }

    private static func headerBytes(_ number: Int) -> Int { 3 + digits(number) }
    private static func bulkBytes(_ length: Int) -> Int { headerBytes(length) + length + 2 }

    /// A type, a number that is not negative, and the end of the line.
    private static func writeHeader(_ type: UInt8, _ number: Int, to place: inout UnsafeMutableRawPointer) {
        place.storeBytes(of: type, as: UInt8.self)
        let digits = digits(number)
        var rest = number
        for at in stride(from: digits, to: 0, by: -1) {
            place.storeBytes(of: UInt8(ascii: "0") + UInt8(rest % 10), toByteOffset: at, as: UInt8.self)
            rest /= 10
        }
        place += 1 + digits
        writeLineEnd(to: &place)
    }

    private static func writeBulk(_ argument: some RedisArgument, _ size: Int, to place: inout UnsafeMutableRawPointer)
    {
        writeHeader(UInt8(ascii: "$"), size, to: &place)
        argument.writeRedisBytes(to: place)
        place += size
        writeLineEnd(to: &place)
    }

    private static func writeLineEnd(to place: inout UnsafeMutableRawPointer) {
        place.storeBytes(of: 0x0d, as: UInt8.self)
        place.storeBytes(of: 0x0a, toByteOffset: 1, as: UInt8.self)
        place += 2
    }

    /// Decimal digits of a number, its sign included.
    static func digits(_ number: Int) -> Int {
        var count = number < 0 ? 2 : 1
        var rest = number.magnitude
        while rest >= 10 {
            rest /= 10
            count += 1
        }
        return count
    }

    /// Commands that change nothing (COMMAND's flag `readonly`, as far as they are of use here).
    private static let reads: Set<String> = [
        "BITCOUNT", "BITPOS", "DBSIZE", "DUMP", "ECHO", "EVALSHA_RO", "EVAL_RO", "EXISTS", "EXPIRETIME", "FCALL_RO",
        "GET", "GETBIT", "GETRANGE", "HELLO", "HEXISTS", "HGET", "HGETALL", "HKEYS", "HLEN", "HMGET", "HRANDFIELD",
        "HSCAN", "HSTRLEN", "HVALS", "INFO", "KEYS", "LASTSAVE", "LINDEX", "LLEN", "LPOS", "LRANGE", "MGET", "OBJECT",
        "PEXPIRETIME", "PFCOUNT", "PING", "PTTL", "RANDOMKEY", "SCAN", "SCARD", "SDIFF", "SINTER", "SINTERCARD",
        "SISMEMBER", "SMEMBERS", "SMISMEMBER", "SRANDMEMBER", "SSCAN", "STRLEN", "SUNION", "TIME", "TTL", "TYPE",
        "XINFO", "XLEN", "XRANGE", "XREAD", "XREVRANGE", "ZCARD", "ZCOUNT", "ZDIFF", "ZINTER", "ZLEXCOUNT", "ZMSCORE",
        "ZRANDMEMBER", "ZRANGE", "ZRANGEBYLEX", "ZRANGEBYSCORE", "ZRANK", "ZREVRANGE", "ZREVRANGEBYSCORE", "ZREVRANK",
        "ZSCAN", "ZSCORE", "ZUNION",
    ]
}
