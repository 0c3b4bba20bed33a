/// Where a command belongs in a cluster.
package enum RedisRoute: Sendable, Equatable {
    /// It has no key: any node will do.
    case anywhere
    case slot(Int)
    /// Its keys lie in several slots.
    case crossSlot
}

/// The slots of a cluster.
package enum RedisSlot {
    package static let count = 16_384

    /// The slot of a key: CRC-16/XMODEM of the key, or of what stands in its first non-empty braces, modulo 16,384.
    /// Source: https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/#key-distribution-model
    package static func of(_ key: some Collection<UInt8>) -> Int {
        var hashed = key[...]
        if let open = key.firstIndex(of: UInt8(ascii: "{")) {
            let rest = key[key.index(after: open)...]
            if let close = rest.firstIndex(of: UInt8(ascii: "}")), close != rest.startIndex {
                hashed = rest[..<close]
            }
        }
        return Int(crc16(hashed)) % count
    }

    package static func of(_ key: String) -> Int { of(Array(key.utf8)) }

    private static func crc16(_ bytes: some Collection<UInt8>) -> UInt16 {
        bytes.reduce(UInt16(0)) { crc, byte in (crc << 8) ^ table[Int((crc >> 8) ^ UInt16(byte))] }
    }

    private static let table: [UInt16] = (0..<256).map { index in
        (0..<8).reduce(UInt16(index) << 8) { value, _ in
            value & 0x8000 == 0 ? value << 1 : (value << 1) ^ 0x1021
        }
    }
}

extension RedisCommand {
    /// Where this command's keys are among its arguments; the name is argument 0.
    private enum Keys {
        case none, first, second, all, fromSecond
        case firstTwo
        case everySecond
        /// A count at this place, and so many keys after it.
        case counted(at: Int)
        /// The first argument, and a count with its keys at 2.
        case firstAndCounted
        /// Half of what follows the word STREAMS.
        case streams
    }

    private static let keys: [String: Keys] = {
        var all: [String: Keys] = [:]
        func put(_ keys: Keys, _ names: String) { for name in names.split(separator: " ") { all[String(name)] = keys } }
        put(
            .none,
            """
            ACL ASKING AUTH CLIENT CLUSTER COMMAND CONFIG DBSIZE ECHO FLUSHALL FLUSHDB FUNCTION HELLO INFO KEYS \
            LASTSAVE LATENCY LOLWUT PING PUBLISH PUBSUB RANDOMKEY READONLY READWRITE ROLE SCAN SCRIPT SELECT SLOWLOG \
            TIME WAIT
            """)
        put(
            .all,
            """
            DEL EXISTS MGET PFCOUNT PFMERGE SDIFF SDIFFSTORE SINTER SINTERSTORE SUNION SUNIONSTORE TOUCH UNLINK WATCH
            """)
        put(.firstTwo, "COPY GEOSEARCHSTORE LMOVE RENAME RENAMENX RPOPLPUSH SMOVE ZRANGESTORE")
        put(.everySecond, "MSET MSETNX")
        put(.counted(at: 2), "EVAL EVALSHA EVAL_RO EVALSHA_RO FCALL FCALL_RO")
        put(.counted(at: 1), "LMPOP SINTERCARD ZDIFF ZINTER ZINTERCARD ZMPOP ZUNION")
        put(.firstAndCounted, "ZDIFFSTORE ZINTERSTORE ZUNIONSTORE")
        put(.second, "MEMORY OBJECT XGROUP XINFO")
        put(.fromSecond, "BITOP")
        put(.streams, "XREAD XREADGROUP")
        return all
    }()

    /// Where it belongs in a cluster. Commands the client does not know have one key, their first argument.
    package var route: RedisRoute {
        let rule = Self.keys[name] ?? .first
        if case .none = rule { return .anywhere }
        let arguments = arguments
        let keys: ArraySlice<ArraySlice<UInt8>>
        switch rule {
        case .none: keys = []
        case .first: keys = Self.slice(arguments, 1, 2)
        case .second: keys = Self.slice(arguments, 2, 3)
        case .all: keys = Self.slice(arguments, 1, .max)
        case .fromSecond: keys = Self.slice(arguments, 2, .max)
        case .firstTwo: keys = Self.slice(arguments, 1, 3)
        case .everySecond:
            keys = stride(from: 1, to: arguments.count, by: 2).map { arguments[$0] }[...]
        case .counted(let at): keys = Self.counted(arguments, at)
        case .firstAndCounted: keys = Self.slice(arguments, 1, 2) + Self.counted(arguments, 2)
        case .streams:
            let word = arguments.firstIndex { String(decoding: $0, as: UTF8.self).uppercased() == "STREAMS" }
            let start = (word ?? arguments.count) + 1
            keys = Self.slice(arguments, start, start + max(0, arguments.count - start) / 2)
        }
        guard let first = keys.first else { return .anywhere }
        let slot = RedisSlot.of(first)
        return keys.dropFirst().allSatisfy { RedisSlot.of($0) == slot } ? .slot(slot) : .crossSlot
    }

    private static func slice(_ all: [ArraySlice<UInt8>], _ from: Int, _ to: Int) -> ArraySlice<ArraySlice<UInt8>> {
        from < all.count ? all[from..<max(from, min(to, all.count))] : []
    }

    private static func counted(_ all: [ArraySlice<UInt8>], _ at: Int) -> ArraySlice<ArraySlice<UInt8>> {
        guard at < all.count, let count = Int(String(decoding: all[at], as: UTF8.self)), count > 0 else { return [] }
        return slice(all, at + 1, at + 1 + min(count, all.count))
    }

    /// The name and the arguments, read back from what we encoded.
    private var arguments: [ArraySlice<UInt8>] {
        var all: [ArraySlice<UInt8>] = []
        all.reserveCapacity(count)
        var rest = encoded[...]
        func line() -> Int? {
            guard let end = rest.firstIndex(of: 0x0d) else { return nil }
            let number = Int(String(decoding: rest[rest.index(after: rest.startIndex)..<end], as: UTF8.self))
            rest = rest[(end + 2)...]
            return number
        }
        _ = line()
        while let length = line() {
            all.append(rest[rest.startIndex..<rest.startIndex + length])
            rest = rest[(rest.startIndex + length + 2)...]
        }
        return all
    }
}
