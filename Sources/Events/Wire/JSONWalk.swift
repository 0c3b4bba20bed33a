/// The text of one JSON value that the grammar has accepted. Valid as long as the body it stands in.
struct JSONText {
    let start: UnsafePointer<UInt8>
    let count: Int

    var bytes: UnsafeBufferPointer<UInt8> { UnsafeBufferPointer(start: start, count: count) }
    var isString: Bool { start.pointee == 0x22 }
    var isObject: Bool { start.pointee == 0x7b }
    var isNull: Bool { start.pointee == 0x6e }
    var isTrue: Bool { start.pointee == 0x74 }
    var isNumber: Bool { start.pointee == 0x2d || start.pointee &- 0x30 < 10 }

    /// Bytes of the string once decoded; zero for anything else.
    var decodedCount: Int {
        guard isString else { return 0 }
        let content = self.content
        guard content.contains(0x5c), let first = content.baseAddress else { return content.count }
        return JSONEscape.decodedCount(first, content.count)
    }

    /// The string between the quotes, escapes and all; the whole text of anything else.
    var content: UnsafeBufferPointer<UInt8> {
        isString ? UnsafeBufferPointer(start: start + 1, count: count - 2) : bytes
    }

    /// The string, escapes decoded, or the text of a number; nil for anything else.
    var string: String? {
        if isNumber { return String(decoding: bytes, as: UTF8.self) }
        return isString ? Self.decoded(content) : nil
    }

    static func decoded(_ content: UnsafeBufferPointer<UInt8>) -> String {
        guard content.contains(0x5c), let first = content.baseAddress else {
            return String(decoding: content, as: UTF8.self)
        }
        let bytes = [UInt8](unsafeUninitializedCapacity: content.count) { buffer, filled in
            filled = buffer.baseAddress.map { JSONEscape.decode(first, content.count, into: $0) } ?? 0
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    /// Calls `body` with the name (between its quotes) and the value of every member; nothing for other values.
    func members(_ body: (UnsafeBufferPointer<UInt8>, JSONText) -> Void) {
        guard isObject else { return }
        var grammar = JSONGrammar(start, end: start + count)
        var isFirst = true
        grammar.advance()
        while case .name(let name) = grammar.nextName(&isFirst) {
            guard let value = grammar.text() else { return }
            body(name, value)
        }
    }
}

/// Going through objects and arrays member by member, without building anything.
extension JSONGrammar {
    enum NameStep {
        /// Between the quotes; the cursor stands at the value.
        case name(UnsafeBufferPointer<UInt8>)
        case end, broken
    }

    enum ElementStep { case element, end, broken }

    /// Behind the opening brace or behind a value: steps to the next value, or behind the closing brace.
    mutating func nextName(_ isFirst: inout Bool) -> NameStep {
        skipSpace()
        if take(0x7d) { return .end }
        if !isFirst {
            guard take(0x2c) else { return .broken }
            skipSpace()
        }
        isFirst = false
        let start = cursor
        guard string() else { return .broken }
        let name = UnsafeBufferPointer(start: start + 1, count: cursor - start - 2)
        skipSpace()
        guard take(0x3a) else { return .broken }
        skipSpace()
        return .name(name)
    }

    /// Behind the opening bracket or behind a value: steps to the next value, or behind the closing bracket.
    mutating func nextElement(_ isFirst: inout Bool) -> ElementStep {
        skipSpace()
        if take(0x5d) { return .end }
        if !isFirst {
            guard take(0x2c) else { return .broken }
            skipSpace()
        }
        isFirst = false
        return .element
    }

    /// At a value: steps over it and answers its text; nil when it is none.
    mutating func text() -> JSONText? {
        let start = cursor
        return skipValue() ? JSONText(start: start, count: cursor - start) : nil
    }
}

extension KeyTable {
    /// The code of a name as it stands between its quotes.
    func code(_ name: UnsafeBufferPointer<UInt8>) -> Int {
        guard let first = name.baseAddress else { return KeyTable.unknown }
        guard name.contains(0x5c) else { return code(first, name.count) }
        var decoded = Array(JSONText.decoded(name).utf8)
        decoded.append(0)
        return decoded.withUnsafeBufferPointer { bytes in
            bytes.baseAddress.map { code($0, bytes.count - 1) } ?? KeyTable.unknown
        }
    }
}
