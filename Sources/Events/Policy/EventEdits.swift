/// A member of a JSON object, by its places in a text.
struct JSONMember {
    /// Escapes resolved.
    var name: String
    /// From the name's opening quote to its closing one.
    var key: Range<Int>
    var value: Range<Int>
}

/// Objects and arrays of a text that the parser has accepted, one level at a time.
enum JSONPlaces {
    /// The members of the object that fills `range`; empty when there is no object.
    static func members(_ text: UnsafeBufferPointer<UInt8>, _ range: Range<Int>) -> [JSONMember] {
        guard let start = text.baseAddress, range.upperBound <= text.count else { return [] }
        var grammar = JSONGrammar(start + range.lowerBound, end: start + range.upperBound)
        var found: [JSONMember] = []
        grammar.skipSpace()
        guard grammar.take(0x7b) else { return [] }
        grammar.skipSpace()
        while grammar.peek == 0x22 {
            let keyStart = grammar.cursor - start
            guard grammar.string() else { return found }
            let key = keyStart..<grammar.cursor - start
            grammar.skipSpace()
            guard grammar.take(0x3a) else { return found }
            grammar.skipSpace()
            let valueStart = grammar.cursor - start
            guard grammar.skipValue() else { return found }
            found.append(
                JSONMember(name: string(text, key), key: key, value: valueStart..<grammar.cursor - start))
            grammar.skipSpace()
            guard grammar.take(0x2c) else { return found }
            grammar.skipSpace()
        }
        return found
    }

    /// The elements of the array that fills `range`.
    static func elements(_ text: UnsafeBufferPointer<UInt8>, _ range: Range<Int>) -> [Range<Int>] {
        guard let start = text.baseAddress, range.upperBound <= text.count else { return [] }
        var grammar = JSONGrammar(start + range.lowerBound, end: start + range.upperBound)
        var found: [Range<Int>] = []
        grammar.skipSpace()
        guard grammar.take(0x5b) else { return [] }
        grammar.skipSpace()
        while !grammar.isAtEnd, grammar.peek != 0x5d {
            let from = grammar.cursor - start
            guard grammar.skipValue() else { return found }
            found.append(from..<grammar.cursor - start)
            grammar.skipSpace()
            guard grammar.take(0x2c) else { return found }
            grammar.skipSpace()
        }
        return found
    }

    /// The text of the string that fills `range`, quotes included in the range.
    static func string(_ text: UnsafeBufferPointer<UInt8>, _ range: Range<Int>) -> String {
        guard let start = text.baseAddress, range.count >= 2 else { return "" }
        let bytes = [UInt8](unsafeUninitializedCapacity: range.count) { buffer, filled in
            guard let out = buffer.baseAddress else { return }
            filled = JSONEscape.decode(start + range.lowerBound + 1, range.count - 2, into: out)
        }
        return String(decoding: bytes, as: UTF8.self)
    }
}

/// Replacements in a text, collected first and made in one pass. Everything else stays byte for byte.
struct EventEdits {
    private var edits: [(range: Range<Int>, text: [UInt8])] = []
    /// Members added to the event itself.
    private var added: [UInt8] = []

    var isEmpty: Bool { edits.isEmpty && added.isEmpty }

    mutating func replace(_ range: Range<Int>, _ text: String) { edits.append((range, Array(text.utf8))) }

    /// Says that nothing is there: `null` means the same as a member that is absent.
    mutating func remove(_ range: Range<Int>) { replace(range, "null") }

    /// Adds a member behind the last one of the event.
    ///
    /// - Parameter value: JSON text.
    mutating func add(_ name: String, _ value: String) { added.append(contentsOf: ",\"\(name)\":\(value)".utf8) }

    /// The text with every edit made. `raw` is an object with at least one member.
    func applied(to raw: UnsafeBufferPointer<UInt8>) -> [UInt8] {
        var out: [UInt8] = []
        out.reserveCapacity(raw.count + added.count + edits.reduce(0) { $0 + $1.text.count } + ByteScan.padding)
        var place = 0
        for edit in edits.sorted(by: { $0.range.lowerBound < $1.range.lowerBound }) {
            guard edit.range.lowerBound >= place else { continue }
            out.append(contentsOf: raw[place..<edit.range.lowerBound])
            out.append(contentsOf: edit.text)
            place = edit.range.upperBound
        }
        guard !added.isEmpty, let brace = raw.lastIndex(of: 0x7d), brace >= place else {
            out.append(contentsOf: raw[place...])
            return out
        }
        out.append(contentsOf: raw[place..<brace])
        out.append(contentsOf: added)
        out.append(0x7d)
        return out
    }
}
