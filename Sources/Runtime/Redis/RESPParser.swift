package import NIOCore

/// Reads RESP2 and RESP3 as the bytes come: every value that is complete, none twice, whatever the splits. It takes
/// memory only for bytes that have arrived, never for a length that a server declares, and refuses with
/// `RedisError.protocolError` what is malformed or over a bound of `RedisLimits`; after that it must be thrown away.
/// Attributes are read and dropped. The streamed types of the first RESP3 draft, which no server sends, are malformed.
/// Source: https://redis.io/docs/latest/develop/reference/protocol-spec/
package struct RESPParser: Sendable {
    private enum Kind { case array, map, set, push, attribute }
    private enum Text { case bulk, error, verbatim }

    /// An aggregate whose elements are still coming.
    private struct Open {
        let kind: Kind
        var missing: Int
        var elements: [RESPValue] = []
    }

    private var open: [Open] = []
    /// A text whose length was read and whose bytes are not all here.
    private var text: (kind: Text, length: Int)?
    /// Bytes of an unfinished line in which no end was found.
    private var scanned = 0
    /// Of the reply that is being read.
    private var elements = 0
    private var replyBytes = 0

    package init() {}

    /// Appends every complete value of `buffer` to `values` and moves past it; what is left waits for more bytes.
    package mutating func parse(_ buffer: inout ByteBuffer, into values: inout [RESPValue]) throws(RedisError) {
        let before = values.count
        var offset = 0
        do throws(RedisError) {
            try parse(buffer.readableBytesUInt8Span, &offset, &values)
        } catch {
            buffer.moveReaderIndex(forwardBy: offset)
            throw error
        }
        buffer.moveReaderIndex(forwardBy: offset)
        if buffer.readableBytes == 0, values.count > before { buffer.clear() }
    }

    private mutating func parse(
        _ span: Span<UInt8>, _ offset: inout Int, _ values: inout [RESPValue]
    ) throws(RedisError) {
        while offset < span.count {
            let began = offset
            if let text {
                guard span.count - offset >= text.length + 2 else { return }
                let value = try readText(text.kind, text.length, span, &offset)
                self.text = nil
                try count(offset - began)
                try finish(value, &values)
            } else {
                guard let end = try lineEnd(span, offset) else { return }
                offset = end + 2
                try count(offset - began)
                if let value = try readLine(span[began], span, began + 1, end) { try finish(value, &values) }
            }
        }
    }

    private mutating func count(_ bytes: Int) throws(RedisError) {
        replyBytes += bytes
        guard replyBytes <= RedisLimits.replyBytesMax else { throw .protocolError("a reply is too large") }
    }

    /// Where the line's `\r\n` begins; nil while it has not come.
    private mutating func lineEnd(_ span: Span<UInt8>, _ start: Int) throws(RedisError) -> Int? {
        var at = start + scanned
        while at < span.count {
            let byte = span[at]
            if byte == 0x0d {
                guard at + 1 < span.count else { break }
                guard span[at + 1] == 0x0a else { throw .protocolError("a line has a lone carriage return") }
                scanned = 0
                return at
            }
            guard byte != 0x0a else { throw .protocolError("a line has a lone line feed") }
            at += 1
        }
        scanned = at - start
        guard scanned <= RedisLimits.lineBytesMax else { throw .protocolError("a line is too long") }
        return nil
    }

    /// The value of one line, or nil when it opened a text or an aggregate.
    private mutating func readLine(
        _ type: UInt8, _ span: Span<UInt8>, _ start: Int, _ end: Int
    ) throws(RedisError) -> RESPValue? {
        guard end - start <= RedisLimits.lineBytesMax else { throw .protocolError("a line is too long") }
        switch type {
        case UInt8(ascii: "+"): return .simple(Self.string(span, start, end))
        case UInt8(ascii: "-"): return .error(RedisServerError(Self.string(span, start, end)))
        case UInt8(ascii: ":"): return .integer(try Self.integer(span, start, end))
        case UInt8(ascii: "$"): return try openText(.bulk, span, start, end)
        case UInt8(ascii: "!"): return try openText(.error, span, start, end)
        case UInt8(ascii: "="): return try openText(.verbatim, span, start, end)
        case UInt8(ascii: "*"): return try openAggregate(.array, span, start, end)
        case UInt8(ascii: "%"): return try openAggregate(.map, span, start, end)
        case UInt8(ascii: "~"): return try openAggregate(.set, span, start, end)
        case UInt8(ascii: ">"): return try openAggregate(.push, span, start, end)
        case UInt8(ascii: "|"): return try openAggregate(.attribute, span, start, end)
        case UInt8(ascii: "_"):
            guard start == end else { throw .protocolError("a null has bytes") }
            return .null
        case UInt8(ascii: "#"):
            guard end - start == 1, span[start] == UInt8(ascii: "t") || span[start] == UInt8(ascii: "f") else {
                throw .protocolError("a boolean is neither t nor f")
            }
            return .boolean(span[start] == UInt8(ascii: "t"))
        case UInt8(ascii: ","): return .double(try Self.double(span, start, end))
        case UInt8(ascii: "("): return .bigNumber(try Self.bigNumber(span, start, end))
        default: throw .protocolError("unknown type byte \(type)")
        }
    }

    /// Remembers the length of a text; only `$-1`, the null of RESP2, is a value at once.
    private mutating func openText(
        _ kind: Text, _ span: Span<UInt8>, _ start: Int, _ end: Int
    ) throws(RedisError) -> RESPValue? {
        let length = try Self.integer(span, start, end)
        if length == -1, kind == .bulk { return .null }
        guard length >= 0 else { throw .protocolError("a length is negative") }
        guard length <= RedisLimits.declaredBytesMax else { throw .protocolError("a text is declared too long") }
        text = (kind, Int(length))
        return nil
    }

    private mutating func openAggregate(
        _ kind: Kind, _ span: Span<UInt8>, _ start: Int, _ end: Int
    ) throws(RedisError) -> RESPValue? {
        let declared = try Self.integer(span, start, end)
        if declared == -1, kind == .array { return .null }
        guard declared >= 0 else { throw .protocolError("a count is negative") }
        let perEntry = kind == .map || kind == .attribute ? 2 : 1
        guard declared <= RedisLimits.elementsMax / perEntry else {
            throw .protocolError("an aggregate is declared too large")
        }
        guard kind != .push || open.isEmpty else { throw .protocolError("a push within a reply") }
        guard declared > 0 else { return kind == .attribute ? nil : Self.value(kind, []) }
        guard open.count < RedisLimits.nestingMax else { throw .protocolError("aggregates are nested too deep") }
        open.append(Open(kind: kind, missing: Int(declared) * perEntry))
        return nil
    }

    private func readText(
        _ kind: Text, _ length: Int, _ span: Span<UInt8>, _ offset: inout Int
    ) throws(RedisError) -> RESPValue {
        let start = offset
        let end = start + length
        guard span[end] == 0x0d, span[end + 1] == 0x0a else { throw .protocolError("a text has no end") }
        offset = end + 2
        switch kind {
        case .bulk: return .bulk(Self.bytes(span, start, end))
        case .error: return .error(RedisServerError(Self.string(span, start, end)))
        case .verbatim:
            guard length >= 4, span[start + 3] == UInt8(ascii: ":") else {
                throw .protocolError("a verbatim text has no format")
            }
            return .verbatim(
                format: Self.string(span, start, start + 3), bytes: Self.bytes(span, start + 4, end))
        }
    }

    /// Puts a value where it belongs, and closes every aggregate that is complete with it.
    private mutating func finish(_ value: RESPValue, _ values: inout [RESPValue]) throws(RedisError) {
        var value = value
        while let last = open.indices.last {
            elements += 1
            guard elements <= RedisLimits.elementsMax else { throw .protocolError("a reply has too many values") }
            open[last].elements.append(value)
            open[last].missing -= 1
            guard open[last].missing == 0 else { return }
            let closed = open.removeLast()
            // An attribute says something about the value that follows it, and is none itself.
            if closed.kind == .attribute { return }
            value = Self.value(closed.kind, closed.elements)
        }
        elements = 0
        replyBytes = 0
        values.append(value)
    }

    private static func value(_ kind: Kind, _ elements: [RESPValue]) -> RESPValue {
        switch kind {
        case .array, .attribute: .array(elements)
        case .set: .set(elements)
        case .push: .push(elements)
        case .map:
            .map(
                stride(from: 0, to: elements.count, by: 2).map {
                    RESPPair(key: elements[$0], value: elements[$0 + 1])
                })
        }
    }
}

/// The scalars.
extension RESPParser {
    private static func bytes(_ span: Span<UInt8>, _ start: Int, _ end: Int) -> [UInt8] {
        span.extracting(start..<end).withUnsafeBufferPointer { Array($0) }
    }

    private static func string(_ span: Span<UInt8>, _ start: Int, _ end: Int) -> String {
        span.extracting(start..<end).withUnsafeBufferPointer { String(decoding: $0, as: UTF8.self) }
    }

    /// An optional sign and digits, within 64 bits.
    private static func integer(_ span: Span<UInt8>, _ start: Int, _ end: Int) throws(RedisError) -> Int64 {
        var at = start
        let negative = at < end && span[at] == UInt8(ascii: "-")
        if negative || (at < end && span[at] == UInt8(ascii: "+")) { at += 1 }
        guard at < end, end - at <= 19 else { throw .protocolError("a number is malformed") }
        var number: UInt64 = 0
        while at < end {
            let digit = span[at] &- UInt8(ascii: "0")
            guard digit <= 9 else { throw .protocolError("a number is malformed") }
            number = number * 10 + UInt64(digit)
            at += 1
        }
        if negative {
            guard number <= UInt64(1) << 63 else { throw .protocolError("a number is out of range") }
            return Int64(truncatingIfNeeded: 0 &- number)
        }
        guard let positive = Int64(exactly: number) else { throw .protocolError("a number is out of range") }
        return positive
    }

    private static func double(_ span: Span<UInt8>, _ start: Int, _ end: Int) throws(RedisError) -> Double {
        let text = string(span, start, end)
        switch text {
        case "inf", "+inf": return .infinity
        case "-inf": return -.infinity
        case "nan", "-nan": return .nan
        default:
            let allowed = text.utf8.allSatisfy {
                (0x30...0x39).contains($0) || $0 == 0x2b || $0 == 0x2d || $0 == 0x2e || $0 == 0x65 || $0 == 0x45
            }
            guard allowed, let number = Double(text) else { throw .protocolError("a double is malformed") }
            return number
        }
    }

    private static func bigNumber(_ span: Span<UInt8>, _ start: Int, _ end: Int) throws(RedisError) -> String {
        let text = string(span, start, end)
        let digits = text.hasPrefix("-") || text.hasPrefix("+") ? text.dropFirst() : text[...]
        guard !digits.isEmpty, digits.utf8.allSatisfy({ (0x30...0x39).contains($0) }) else {
            throw .protocolError("a big number is malformed")
        }
        return text
    }
}
