/// One value as the server sent it, in RESP2 or RESP3.
package enum RESPValue: Sendable, Equatable {
    case null
    case simple(String)
    case error(RedisServerError)
    case integer(Int64)
    case double(Double)
    case boolean(Bool)
    case bulk([UInt8])
    case array([RESPValue])
    case map([RESPPair])
    case set([RESPValue])
    /// Out of band: never the answer to a command.
    case push([RESPValue])
    /// Decimal digits with an optional sign; may be larger than any integer here.
    case bigNumber(String)
    /// Text with a three-letter format, `txt` or `mkd`.
    indirect case verbatim(format: String, bytes: [UInt8])

    /// The bytes of a text; nil for everything else.
    package var bytes: [UInt8]? {
        switch self {
        case .bulk(let bytes), .verbatim(_, let bytes): bytes
        case .simple(let text), .bigNumber(let text): Array(text.utf8)
        default: nil
        }
    }

    /// A text as UTF-8, repaired where it is none; nil for everything else.
    package var string: String? {
        switch self {
        case .bulk(let bytes), .verbatim(_, let bytes): String(decoding: bytes, as: UTF8.self)
        case .simple(let text), .bigNumber(let text): text
        default: nil
        }
    }

    /// A whole number, or a text or boolean that says one.
    package var integer: Int64? {
        switch self {
        case .integer(let number): number
        case .boolean(let flag): flag ? 1 : 0
        default: string.flatMap { Int64($0) }
        }
    }

    /// A number, or a text that says one.
    package var double: Double? {
        switch self {
        case .double(let number): number
        case .integer(let number): Double(number)
        default: string.flatMap { Double($0) }
        }
    }

    /// The elements of an array, set or push; a map's keys and values one after the other.
    package var array: [RESPValue]? {
        switch self {
        case .array(let values), .set(let values), .push(let values): values
        case .map(let pairs): pairs.flatMap { [$0.key, $0.value] }
        default: nil
        }
    }

    /// The pairs of a map, or of an array of keys and values, which is what RESP2 sends instead.
    package var pairs: [RESPPair]? {
        if case .map(let pairs) = self { return pairs }
        guard case .array(let values) = self, values.count.isMultiple(of: 2) else { return nil }
        return stride(from: 0, to: values.count, by: 2).map { RESPPair(key: values[$0], value: values[$0 + 1]) }
    }

    package var isNull: Bool { self == .null }

    /// The value itself, or the server's error thrown.
    package func get() throws(RedisError) -> RESPValue {
        if case .error(let error) = self { throw .server(code: error.code, message: error.message) }
        return self
    }
}

/// One entry of a map.
package struct RESPPair: Sendable, Equatable {
    package var key: RESPValue
    package var value: RESPValue

    package init(key: RESPValue, value: RESPValue) {
        self.key = key
        self.value = value
    }
}

/// An error that the server answered, for example `WRONGTYPE Operation against a key …`.
package struct RedisServerError: Sendable, Equatable {
    /// The whole line.
    package let text: String

    package init(_ text: String) { self.text = text }

    /// The first word: `ERR`, `MOVED`, `NOSCRIPT`, `WRONGTYPE` …
    package var code: String { String(text.prefix { $0 != " " }) }

    /// Whether the server carries out nothing at the moment, whatever is asked: an outage, and no word on a command.
    var isOutage: Bool { ["CLUSTERDOWN", "LOADING", "MASTERDOWN"].contains(code) }

    /// What follows the first word.
    package var message: String { String(text.dropFirst(code.count + 1)) }
}
