/// Checks JSON text byte by byte, without recursion and without reading past the end: for text that the single-pass
/// parser refused, and for finding where a value ends.
///
/// Knows the grammar of RFC 8259 only: not UTF-8, not surrogates, not the contract.
struct JSONGrammar {
    /// The next byte to read; after a failure the byte that broke the rule.
    private(set) var cursor: UnsafePointer<UInt8>
    private let end: UnsafePointer<UInt8>
    /// One bit a level: set for objects.
    private var levels: [UInt64] = []
    private var depth = 0

    init(_ start: UnsafePointer<UInt8>, end: UnsafePointer<UInt8>) {
        cursor = start
        self.end = end
    }

    /// Whether exactly one object, and white space, stands between the two.
    static func isObject(_ start: UnsafePointer<UInt8>, end: UnsafePointer<UInt8>) -> Bool {
        var grammar = JSONGrammar(start, end: end)
        grammar.skipSpace()
        guard grammar.peek == 0x7b, grammar.skipValue() else { return false }
        grammar.skipSpace()
        return grammar.isAtEnd
    }

    var isAtEnd: Bool { cursor >= end }

    /// The next byte, or zero at the end.
    var peek: UInt8 { cursor < end ? cursor.pointee : 0 }

    mutating func advance() { cursor += 1 }

    mutating func skipSpace() {
        while cursor < end, [0x20, 0x09, 0x0a, 0x0d].contains(cursor.pointee) { cursor += 1 }
    }

    /// Takes one byte; false when another stands there.
    mutating func take(_ byte: UInt8) -> Bool {
        guard peek == byte, cursor < end else { return false }
        cursor += 1
        return true
    }

    /// Steps over one value and the white space before it.
    mutating func skipValue() -> Bool {
        depth = 0
        while true {
            skipSpace()
            switch peek {
            case 0x7b:
                cursor += 1
                push(isObject: true)
                skipSpace()
                if take(0x7d) { depth -= 1 } else if name() { continue } else { return false }
            case 0x5b:
                cursor += 1
                push(isObject: false)
                skipSpace()
                if take(0x5d) { depth -= 1 } else { continue }
            default:
                guard scalar() else { return false }
            }
            guard let goesOn = afterValue() else { return false }
            if !goesOn { return true }
        }
    }

    /// Behind a value: true when another follows inside the container, false when all is closed, nil when broken.
    private mutating func afterValue() -> Bool? {
        while depth > 0 {
            skipSpace()
            let isObject = levels[(depth - 1) >> 6] & (1 << UInt64((depth - 1) & 63)) != 0
            if take(0x2c) {
                skipSpace()
                return isObject && !name() ? nil : true
            }
            guard take(isObject ? 0x7d : 0x5d) else { return nil }
            depth -= 1
        }
        return false
    }

    private mutating func push(isObject: Bool) {
        if depth >> 6 == levels.count { levels.append(0) }
        let bit: UInt64 = 1 << UInt64(depth & 63)
        if isObject { levels[depth >> 6] |= bit } else { levels[depth >> 6] &= ~bit }
        depth += 1
    }

    /// A name and its colon.
    private mutating func name() -> Bool {
        guard string() else { return false }
        skipSpace()
        return take(0x3a)
    }

    private mutating func scalar() -> Bool {
        switch peek {
        case 0x22: string()
        case 0x74: literal("true")
        case 0x66: literal("false")
        case 0x6e: literal("null")
        default: number()
        }
    }

    private mutating func literal(_ word: StaticString) -> Bool {
        for index in 0..<word.utf8CodeUnitCount {
            guard take(word.utf8Start[index]) else { return false }
        }
        return true
    }

    mutating func string() -> Bool {
        guard take(0x22) else { return false }
        while cursor < end {
            let byte = cursor.pointee
            if byte < 0x20 { return false }
            cursor += 1
            if byte == 0x22 { return true }
            guard byte == 0x5c else { continue }
            switch peek {
            case 0x22, 0x5c, 0x2f, 0x62, 0x66, 0x6e, 0x72, 0x74: cursor += 1
            case 0x75:
                cursor += 1
                for _ in 0..<4 {
                    guard HexText.digit(peek) != nil else { return false }
                    cursor += 1
                }
            default: return false
            }
        }
        return false
    }

    private mutating func number() -> Bool {
        _ = take(0x2d)
        if !take(0x30) { guard digits() else { return false } }
        if take(0x2e) { guard digits() else { return false } }
        if peek | 0x20 == 0x65, cursor < end {
            cursor += 1
            if !take(0x2b) { _ = take(0x2d) }
            guard digits() else { return false }
        }
        return true
    }

    private mutating func digits() -> Bool {
        let first = cursor
        while cursor < end, cursor.pointee &- 0x30 < 10 { cursor += 1 }
        return cursor > first
    }
}
