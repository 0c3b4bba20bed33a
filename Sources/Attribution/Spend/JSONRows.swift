/// Finds the rows of a JSON document one after another, so that a large one is never a tree in memory. It knows where
/// values begin and end; whether a row is JSON is its decoder's to say.
struct JSONRows {
    private let bytes: [UInt8]
    private var at = 0
    private var isFirst = true

    init(_ bytes: [UInt8]) { self.bytes = bytes }

    /// Moves into the array, or into the array under `rows` of an object; false when there is none.
    mutating func open() throws(SpendError) -> Bool {
        skipSpace()
        if take(UInt8(ascii: "[")) { return true }
        guard take(UInt8(ascii: "{")) else { throw at < bytes.count ? .notRows : .malformedJSON }
        while true {
            skipSpace()
            if take(UInt8(ascii: "}")) { return false }
            let name = try value()
            skipSpace()
            guard take(UInt8(ascii: ":")) else { throw .malformedJSON }
            skipSpace()
            if bytes[name].elementsEqual("\"rows\"".utf8) { return take(UInt8(ascii: "[")) }
            _ = try value()
            skipSpace()
            _ = take(UInt8(ascii: ","))
        }
    }

    /// The bytes of the next row; nil at the end of the array.
    mutating func next() throws(SpendError) -> Range<Int>? {
        skipSpace()
        if take(UInt8(ascii: "]")) { return nil }
        if !isFirst {
            guard take(UInt8(ascii: ",")) else { throw .malformedJSON }
            skipSpace()
        }
        isFirst = false
        return try value()
    }

    private mutating func value() throws(SpendError) -> Range<Int> {
        let start = at
        var depth = 0
        while at < bytes.count {
            switch bytes[at] {
            case UInt8(ascii: "\""): try string()
            case UInt8(ascii: "{"), UInt8(ascii: "["):
                depth += 1
                at += 1
            case UInt8(ascii: "}"), UInt8(ascii: "]"):
                // The end of what holds this value.
                if depth == 0 { return try end(start) }
                depth -= 1
                at += 1
            case UInt8(ascii: ","), UInt8(ascii: ":"):
                if depth == 0 { return try end(start) }
                at += 1
                continue
            case 0x20, 0x09, 0x0A, 0x0D:
                if depth == 0 { return try end(start) }
                at += 1
                continue
            default:
                at += 1
                continue
            }
            if depth == 0 { return try end(start) }
        }
        throw .malformedJSON
    }

    private func end(_ start: Int) throws(SpendError) -> Range<Int> {
        guard at > start else { throw .malformedJSON }
        return start..<at
    }

    private mutating func string() throws(SpendError) {
        at += 1
        while at < bytes.count {
            if bytes[at] == UInt8(ascii: "\\") {
                at += 2
            } else if bytes[at] == UInt8(ascii: "\"") {
                at += 1
                return
            } else {
                at += 1
            }
        }
        throw .malformedJSON
    }

    private mutating func skipSpace() {
        while at < bytes.count, [0x20, 0x09, 0x0A, 0x0D].contains(bytes[at]) { at += 1 }
    }

    private mutating func take(_ byte: UInt8) -> Bool {
        guard at < bytes.count, bytes[at] == byte else { return false }
        at += 1
        return true
    }
}
