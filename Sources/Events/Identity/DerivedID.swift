internal import AurumCore

/// Ids of events that bring none.
enum DerivedID {
    /// Hex of the first 16 bytes of SHA-256(app, index in the request, event bytes with object keys sorted): the same
    /// request sent again gives the same ids.
    static func fromBytes(app: String, index: Int, _ event: UnsafeBufferPointer<UInt8>) -> String {
        let message = Array(app.utf8) + Array(String(index).utf8) + KeySortedJSON.bytes(event)
        return Hex.encode(SHA256Digest.of(message).prefix(16))
    }

    /// The id that the server gives: the request's nonce and the index. Never sent twice.
    static func ofServer(nonce: UInt64, index: Int) -> String {
        UID(high: nonce, low: UInt64(index)).hex
    }

    /// The id of an event that was quarantined, where its text still shows one.
    static func salvaged(from event: UnsafeBufferPointer<UInt8>) -> String? {
        guard let document = try? JSONReader.object(event, depthMax: 64) else { return nil }
        guard let id = document["id"]?.string ?? document["messageId"]?.string, !id.isEmpty,
            id.utf8.count <= ContractLimits.identifierBytes
        else { return nil }
        return id
    }
}

/// JSON text with the members of every object in the order of their names' bytes, values untouched.
enum KeySortedJSON {
    /// - Parameter text: one value that the grammar has accepted.
    static func bytes(_ text: UnsafeBufferPointer<UInt8>) -> [UInt8] {
        guard let start = text.baseAddress else { return [] }
        var grammar = JSONGrammar(start, end: start + text.count)
        var out: [UInt8] = []
        append(&grammar, &out)
        return out
    }

    private static func append(_ grammar: inout JSONGrammar, _ out: inout [UInt8]) {
        grammar.skipSpace()
        switch grammar.peek {
        case 0x7b: appendObject(&grammar, &out)
        case 0x5b: appendArray(&grammar, &out)
        default:
            let start = grammar.cursor
            guard grammar.skipValue() else { return }
            out.append(contentsOf: UnsafeBufferPointer(start: start, count: grammar.cursor - start))
        }
    }

    private static func appendObject(_ grammar: inout JSONGrammar, _ out: inout [UInt8]) {
        var members: [(name: [UInt8], value: [UInt8])] = []
        grammar.advance()
        grammar.skipSpace()
        while grammar.peek == 0x22 {
            let start = grammar.cursor
            guard grammar.string() else { break }
            let name = Array(UnsafeBufferPointer(start: start, count: grammar.cursor - start))
            grammar.skipSpace()
            guard grammar.take(0x3a) else { break }
            var value: [UInt8] = []
            append(&grammar, &value)
            members.append((name, value))
            grammar.skipSpace()
            guard grammar.take(0x2c) else { break }
            grammar.skipSpace()
        }
        _ = grammar.take(0x7d)
        out.append(0x7b)
        for (index, member) in members.sorted(by: { $0.name.lexicographicallyPrecedes($1.name) }).enumerated() {
            if index > 0 { out.append(0x2c) }
            out.append(contentsOf: member.name + [0x3a] + member.value)
        }
        out.append(0x7d)
    }

    private static func appendArray(_ grammar: inout JSONGrammar, _ out: inout [UInt8]) {
        grammar.advance()
        grammar.skipSpace()
        out.append(0x5b)
        var isFirst = true
        while !grammar.isAtEnd, grammar.peek != 0x5d {
            if !isFirst { out.append(0x2c) }
            isFirst = false
            append(&grammar, &out)
            grammar.skipSpace()
            guard grammar.take(0x2c) else { break }
            grammar.skipSpace()
        }
        _ = grammar.take(0x5d)
        out.append(0x5d)
    }
}

/// What the row table keeps of an event's name, for filters: equal names have equal hashes.
enum NameHash {
    /// May read 7 bytes past the name.
    @inline(__always)
    static func of(_ bytes: UnsafePointer<UInt8>, _ count: Int) -> UInt32 {
        var hash: UInt64 = 0x9E37_79B9_7F4A_7C15 ^ UInt64(truncatingIfNeeded: count)
        var index = 0
        while index < count {
            hash = (hash ^ (ByteScan.word(bytes + index) & ByteScan.mask(count &- index))) &* 0xD6E8_FEB8_6659_FD93
            hash ^= hash &>> 32
            index &+= 8
        }
        return UInt32(truncatingIfNeeded: hash)
    }

    static func of(_ name: String) -> UInt32 {
        let bytes = Array(name.utf8) + [UInt8](repeating: 0, count: 8)
        return bytes.withUnsafeBufferPointer { buffer in
            buffer.baseAddress.map { of($0, buffer.count - 8) } ?? 0
        }
    }

    private static let types: [UInt32] = (0...EventType.internal.rawValue).map { raw in
        EventType(rawValue: raw).map { of($0.name) } ?? 0
    }

    /// Of an event without a name: its type is its name.
    @inline(never)
    static func ofType(_ type: Int) -> UInt32 { types.indices.contains(type) ? types[type] : 0 }
}
