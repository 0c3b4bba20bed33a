internal import AurumCore

/// What stands around the events of a Segment body.
package enum SegmentEnvelope {
    /// The `writeKey` of the top level; nil when the body has none or cannot be read. Costs one pass over the bytes.
    package static func writeKey(of body: UnsafeRawBufferPointer) -> String? { scan(body)?.writeKey }

    /// Whether the body is one of RudderStack's clients, which name a `channel` in every event. Looks no further than
    /// the first event.
    package static func namesChannel(_ body: UnsafeRawBufferPointer) -> Bool {
        guard let start = body.baseAddress?.assumingMemoryBound(to: UInt8.self) else { return false }
        var grammar = JSONGrammar(start, end: start + body.count)
        grammar.skipSpace()
        guard grammar.take(0x7b) else { return false }
        return findChannel(&grammar, inEvent: false)
    }

    private static func findChannel(_ grammar: inout JSONGrammar, inEvent: Bool) -> Bool {
        var isFirst = true
        while case .name(let name) = grammar.nextName(&isFirst) {
            if name.elementsEqual("channel".utf8) { return true }
            if !inEvent, name.elementsEqual("batch".utf8), grammar.take(0x5b) {
                grammar.skipSpace()
                return grammar.take(0x7b) && findChannel(&grammar, inEvent: true)
            }
            guard grammar.skipValue() else { return false }
        }
        return false
    }

    /// Events of a batch; one for anything else. Costs one pass over the bytes.
    package static func eventCount(of body: UnsafeRawBufferPointer) -> Int {
        guard let start = body.baseAddress?.assumingMemoryBound(to: UInt8.self), let batch = scan(body)?.batchOffset
        else { return 1 }
        var grammar = JSONGrammar(start + batch, end: start + body.count)
        guard grammar.take(0x5b) else { return 1 }
        var count = 0
        var isFirst = true
        while case .element = grammar.nextElement(&isFirst), grammar.skipValue() { count += 1 }
        return max(1, count)
    }

    struct Scan {
        /// Where the value of `batch` starts; nil without one.
        var batchOffset: Int?
        /// Microseconds since 1970.
        var sentAt: Int64?
        var writeKey: String?
    }

    /// Walks the members of the top level; nil when the body is no JSON object.
    static func scan(_ body: UnsafeRawBufferPointer) -> Scan? {
        var offset = 0
        return scan(body, failedAt: &offset)
    }

    /// - Parameter failedAt: the byte that broke the grammar.
    static func scan(_ body: UnsafeRawBufferPointer, failedAt: inout Int) -> Scan? {
        guard let start = body.baseAddress?.assumingMemoryBound(to: UInt8.self) else { return nil }
        var grammar = JSONGrammar(start, end: start + body.count)
        var scan = Scan()
        defer { failedAt = grammar.cursor - start }
        grammar.skipSpace()
        guard grammar.take(0x7b) else { return nil }
        grammar.skipSpace()
        if !grammar.take(0x7d) {
            while true {
                guard member(&grammar, start, &scan) else { return nil }
                grammar.skipSpace()
                if grammar.take(0x7d) { break }
                guard grammar.take(0x2c) else { return nil }
                grammar.skipSpace()
            }
        }
        grammar.skipSpace()
        return grammar.isAtEnd ? scan : nil
    }

    private static func member(
        _ grammar: inout JSONGrammar, _ start: UnsafePointer<UInt8>, _ scan: inout Scan
    ) -> Bool {
        let nameStart = grammar.cursor
        guard grammar.string() else { return false }
        let name = text(nameStart, grammar.cursor)
        grammar.skipSpace()
        guard grammar.take(0x3a) else { return false }
        grammar.skipSpace()
        let valueStart = grammar.cursor
        guard grammar.skipValue() else { return false }
        switch name {
        case "batch": scan.batchOffset = valueStart - start
        case "writeKey": scan.writeKey = valueStart.pointee == 0x22 ? text(valueStart, grammar.cursor) : nil
        case "sentAt" where valueStart.pointee == 0x22:
            scan.sentAt = Timestamp(rfc3339: text(valueStart, grammar.cursor))?.microseconds
        default: break
        }
        return true
    }

    /// The text between two quotes, escapes decoded.
    private static func text(_ start: UnsafePointer<UInt8>, _ end: UnsafePointer<UInt8>) -> String {
        let count = end - start - 2
        let bytes = [UInt8](unsafeUninitializedCapacity: max(0, count)) { buffer, filled in
            guard let out = buffer.baseAddress else { return }
            filled = JSONEscape.decode(start + 1, count, into: out)
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}
