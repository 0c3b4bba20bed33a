internal import AurumCore

/// JSON text as values, for reading stored events back and for looking at broken ones. Not for the hot path.
struct JSONReader {
    enum Failure: Error, Equatable { case notJSON, tooDeep }

    private let bytes: UnsafeBufferPointer<UInt8>
    private var index = 0
    private let depthMax: Int

    /// Reads exactly one value. Of names given twice the last wins. Whole numbers become integers while they fit.
    static func value(_ bytes: UnsafeBufferPointer<UInt8>, depthMax: Int = 64) throws(Failure) -> JSONValue {
        var reader = JSONReader(bytes: bytes, depthMax: depthMax)
        let value = try reader.value(0)
        reader.skipSpace()
        guard reader.index == bytes.count else { throw .notJSON }
        return value
    }

    /// Reads exactly one object.
    static func object(_ bytes: UnsafeBufferPointer<UInt8>, depthMax: Int = 64) throws(Failure) -> [String: JSONValue] {
        guard case .object(let members) = try value(bytes, depthMax: depthMax) else { throw .notJSON }
        return members
    }

    private init(bytes: UnsafeBufferPointer<UInt8>, depthMax: Int) {
        self.bytes = bytes
        self.depthMax = depthMax
    }

    private var peek: UInt8 { index < bytes.count ? bytes[index] : 0 }

    private mutating func skipSpace() {
        while [0x20, 0x09, 0x0a, 0x0d].contains(peek), index < bytes.count { index += 1 }
    }

    private mutating func take(_ byte: UInt8) throws(Failure) {
        guard peek == byte else { throw .notJSON }
        index += 1
    }

    private mutating func value(_ depth: Int) throws(Failure) -> JSONValue {
        guard depth <= depthMax else { throw .tooDeep }
        skipSpace()
        switch peek {
        case 0x7b: return try objectValue(depth)
        case 0x5b: return try arrayValue(depth)
        case 0x22: return .string(try string())
        case 0x74: return try literal("true", .bool(true))
        case 0x66: return try literal("false", .bool(false))
        case 0x6e: return try literal("null", .null)
        default: return try number()
        }
    }

    private mutating func literal(_ word: StaticString, _ value: JSONValue) throws(Failure) -> JSONValue {
        for offset in 0..<word.utf8CodeUnitCount { try take(word.utf8Start[offset]) }
        return value
    }

    private mutating func objectValue(_ depth: Int) throws(Failure) -> JSONValue {
        try take(0x7b)
        var members: [String: JSONValue] = [:]
        skipSpace()
        if peek == 0x7d {
            index += 1
            return .object(members)
        }
        while true {
            skipSpace()
            let name = try string()
            skipSpace()
            try take(0x3a)
            members[name] = try value(depth + 1)
            skipSpace()
            if peek == 0x7d {
                index += 1
                return .object(members)
            }
            try take(0x2c)
        }
    }

    private mutating func arrayValue(_ depth: Int) throws(Failure) -> JSONValue {
        try take(0x5b)
        var values: [JSONValue] = []
        skipSpace()
        if peek == 0x5d {
            index += 1
            return .array(values)
        }
        while true {
            values.append(try value(depth + 1))
            skipSpace()
            if peek == 0x5d {
                index += 1
                return .array(values)
            }
            try take(0x2c)
        }
    }

    private mutating func string() throws(Failure) -> String {
        try take(0x22)
        let start = index
        while index < bytes.count, bytes[index] != 0x22 {
            guard bytes[index] >= 0x20 else { throw .notJSON }
            index += bytes[index] == 0x5c ? 2 : 1
        }
        guard index < bytes.count, let base = bytes.baseAddress else { throw .notJSON }
        let count = index - start
        index += 1
        let decoded = [UInt8](unsafeUninitializedCapacity: count) { buffer, filled in
            if let out = buffer.baseAddress { filled = JSONEscape.decode(base + start, count, into: out) }
        }
        return String(decoding: decoded, as: UTF8.self)
    }

    private mutating func number() throws(Failure) -> JSONValue {
        guard let base = bytes.baseAddress else { throw .notJSON }
        var grammar = JSONGrammar(base + index, end: base + bytes.count)
        let start = index
        guard peek == 0x2d || peek &- 0x30 < 10, grammar.skipValue() else { throw .notJSON }
        index = grammar.cursor - base
        let text = String(decoding: bytes[start..<index], as: UTF8.self)
        if let whole = Int64(text) { return .integer(whole) }
        guard let value = Double(text), value.isFinite else { return .string(text) }
        return .number(value)
    }
}
