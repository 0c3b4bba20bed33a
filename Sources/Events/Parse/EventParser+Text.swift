/// What opening or continuing an object found.
enum ObjectState { case member, end, broken }

enum KeyScan {
    /// The name broke a rule; the parser holds the reason.
    static let failed = -2
}

/// The grammar of JSON: white space, names, strings, skipping.
extension EventParser {
    @inline(__always)
    mutating func skipSpace() {
        while cursor.pointee <= 0x20 {
            switch cursor.pointee {
            case 0x20, 0x09, 0x0d: cursor += 1
            case 0x0a where newlineIsSpace: cursor += 1
            default: return
            }
        }
    }

    /// At a value: steps behind the first name's opening quote.
    @inline(__always)
    mutating func openObject() -> ObjectState {
        if ByteScan.pair(cursor) == 0x227b {
            cursor += 2
            return .member
        }
        guard cursor.pointee == 0x7b else { return .broken }
        cursor += 1
        skipSpace()
        if cursor.pointee == 0x7d {
            cursor += 1
            return .end
        }
        guard cursor.pointee == 0x22 else { return .broken }
        cursor += 1
        return .member
    }

    /// Behind a value: steps behind the next name's opening quote, or behind the closing brace.
    @inline(__always)
    mutating func nextMember() -> ObjectState {
        if ByteScan.pair(cursor) == 0x222c {
            cursor += 2
            return .member
        }
        skipSpace()
        if cursor.pointee == 0x7d {
            cursor += 1
            return .end
        }
        guard cursor.pointee == 0x2c else { return .broken }
        cursor += 1
        skipSpace()
        guard cursor.pointee == 0x22 else { return .broken }
        cursor += 1
        return .member
    }

    /// Behind a name: steps to its value.
    @inline(__always)
    mutating func colon() -> Bool {
        skipSpace()
        guard cursor.pointee == 0x3a else { return fail(.notJSON, .event) }
        cursor += 1
        skipSpace()
        return true
    }

    /// Behind the opening quote of a name: its code, with the cursor behind the closing quote; the guess is tried first
    /// and set right when it was wrong.
    @inline(__always)
    mutating func key(_ table: KeyTable, _ guess: UnsafeMutablePointer<KeyGuess>) -> Int {
        if guess.pointee.matches(cursor) {
            cursor += guess.pointee.count &+ 1
            return guess.pointee.code
        }
        let second = guess + 1
        if second.pointee.matches(cursor) {
            cursor += second.pointee.count &+ 1
            return second.pointee.code
        }
        return guessedKey(table, guess)
    }

    @inline(never)
    private mutating func guessedKey(_ table: KeyTable, _ guess: UnsafeMutablePointer<KeyGuess>) -> Int {
        let start = cursor
        let code = key(table)
        let count = cursor - start - 1
        // Names with escapes or of 16 bytes and more stay on the long way.
        guard code != KeyScan.failed, count < 16, start[count] == 0x22,
            !UnsafeBufferPointer(start: start, count: count).contains(0x5c)
        else { return code }
        let lowMask = ByteScan.mask(count)
        let highMask = count > 8 ? ByteScan.mask(count - 8) : 0
        guess[1] = guess[0]
        guess[0] = KeyGuess(
            low: ByteScan.word(start) & lowMask, high: ByteScan.word(start + 8) & highMask, lowMask: lowMask,
            highMask: highMask, count: count, code: code)
        return code
    }

    /// The same without a guess.
    @inline(__always)
    mutating func key(_ table: KeyTable) -> Int {
        let found = ByteScan.stops(ByteScan.vector(cursor))
        let count: Int
        if found[0] != 0 {
            count = found[0].trailingZeroBitCount &>> 3
        } else if found[1] != 0 {
            count = 8 &+ (found[1].trailingZeroBitCount &>> 3)
        } else {
            return longKey(table)
        }
        guard cursor[count] == 0x22 else { return longKey(table) }
        let low = ByteScan.word(cursor) & ByteScan.mask(count)
        let high = count > 8 ? ByteScan.word(cursor + 8) & ByteScan.mask(count &- 8) : 0
        cursor += count &+ 1
        return table.code(low, high)
    }

    /// A name of 16 bytes or more, or one with escapes.
    @inline(never)
    mutating func longKey(_ table: KeyTable) -> Int {
        var text = ByteSlice.empty
        guard string(&text, Int(EventField.event.rawValue)) else { return KeyScan.failed }
        guard fits(text, ContractLimits.keyBytesMax) else {
            _ = fail(.tooLong, .event)
            return KeyScan.failed
        }
        let (bytes, count) = decoded(text)
        return table.code(bytes, count)
    }

    /// Behind an opening quote: the string, with the cursor behind the closing quote.
    @inline(__always)
    mutating func string(_ text: inout ByteSlice, _ code: Int) -> Bool {
        let start = cursor
        let stop = ByteScan.stringStop(start)
        if stop.pointee == 0x22 {
            text = ByteSlice(
                offset: UInt32(truncatingIfNeeded: start - base), packedLength: UInt32(truncatingIfNeeded: stop - start)
            )
            cursor = stop + 1
            return true
        }
        return escapedString(&text, code, start, stop)
    }

    /// A string with escapes: checks their shape and that surrogates come in pairs.
    @inline(never)
    mutating func escapedString(
        _ text: inout ByteSlice, _ code: Int, _ start: UnsafePointer<UInt8>, _ first: UnsafePointer<UInt8>
    ) -> Bool {
        var stop = first
        while stop.pointee != 0x22 {
            guard stop.pointee == 0x5c else { return fail(.notJSON, .event) }
            switch stop[1] {
            case 0x22, 0x5c, 0x2f, 0x62, 0x66, 0x6e, 0x72, 0x74: stop += 2
            case 0x75:
                guard let unit = JSONEscape.unit(stop + 2) else { return fail(.notJSON, .event) }
                stop += 6
                guard unit & 0xf800 == 0xd800 else { break }
                guard unit < 0xdc00, stop[0] == 0x5c, stop[1] == 0x75, let low = JSONEscape.unit(stop + 2),
                    low & 0xfc00 == 0xdc00
                else { return fail(.badUnicode, code: code) }
                stop += 6
            default: return fail(.notJSON, .event)
            }
            stop = ByteScan.stringStop(stop)
        }
        text = ByteSlice(
            offset: UInt32(truncatingIfNeeded: start - base),
            packedLength: UInt32(truncatingIfNeeded: stop - start) | ByteSlice.escapeBit)
        cursor = stop + 1
        return true
    }

    /// Whether a string decodes to at most `limit` bytes.
    @inline(__always)
    func fits(_ text: ByteSlice, _ limit: Int) -> Bool {
        if text.count <= limit { return true }
        return text.hasEscapes && JSONEscape.decodedCount(base + text.start, text.count) <= limit
    }

    /// The bytes that a string means. Valid until the next call; strings of 32 KB and more stay as they are.
    @inline(__always)
    func decoded(_ text: ByteSlice) -> (UnsafePointer<UInt8>, Int) {
        if !text.hasEscapes { return (base + text.start, text.count) }
        guard text.count <= EventParser.scratchBytes - ByteScan.padding else { return (base + text.start, text.count) }
        return (UnsafePointer(scratch), JSONEscape.decode(base + text.start, text.count, into: scratch))
    }

    @inline(__always)
    mutating func isNull() -> Bool {
        guard ByteScan.half(cursor) == 0x6c6c_756e else { return false }
        cursor += 4
        return true
    }

    /// Steps over any value, holding it to the contract's bounds. `level` is the depth of a container found here.
    @inline(__always)
    mutating func skipValue(level: Int, _ owner: EventField) -> Bool {
        if cursor.pointee == 0x22 {
            cursor += 1
            return skipString(owner)
        }
        return skipOther(level, owner)
    }

    @inline(__always)
    mutating func skipString(_ owner: EventField) -> Bool {
        var text = ByteSlice.empty
        guard string(&text, Int(owner.rawValue)) else { return false }
        if text.count > ContractLimits.stringBytesMax, !fits(text, ContractLimits.stringBytesMax) {
            return fail(.tooLong, owner)
        }
        return true
    }

    @inline(never)
    private mutating func skipOther(_ level: Int, _ owner: EventField) -> Bool {
        switch cursor.pointee {
        case 0x7b:
            var keys = 0
            return skipObject(level, owner, &keys)
        case 0x5b: return skipArray(level, owner)
        case 0x74: return literal(0x6575_7274, 4, at: cursor)
        case 0x66: return literal(0x6573_6c61, 5, at: cursor + 1)
        case 0x6e: return literal(0x6c6c_756e, 4, at: cursor)
        default:
            guard skipNumber() else { return fail(.notJSON, .event) }
            return true
        }
    }

    private mutating func literal(_ word: UInt32, _ count: Int, at place: UnsafePointer<UInt8>) -> Bool {
        guard ByteScan.half(place) == word else { return fail(.notJSON, .event) }
        cursor += count
        return true
    }

    /// Steps over an object and counts its names.
    mutating func skipObject(_ level: Int, _ owner: EventField, _ names: inout Int) -> Bool {
        guard level <= ContractLimits.depthMax else { return fail(.tooDeep, owner) }
        var state = openObject()
        while state == .member {
            names &+= 1
            guard skipName(owner), colon(), skipValue(level: level &+ 1, owner) else { return false }
            state = nextMember()
        }
        return state == .end || fail(.notJSON, .event)
    }

    @inline(__always)
    mutating func skipName(_ owner: EventField) -> Bool {
        var text = ByteSlice.empty
        guard string(&text, Int(owner.rawValue)) else { return false }
        if text.count > ContractLimits.keyBytesMax, !fits(text, ContractLimits.keyBytesMax) {
            return fail(.tooLong, owner)
        }
        return true
    }

    private mutating func skipArray(_ level: Int, _ owner: EventField) -> Bool {
        guard level <= ContractLimits.depthMax else { return fail(.tooDeep, owner) }
        cursor += 1
        skipSpace()
        if cursor.pointee == 0x5d {
            cursor += 1
            return true
        }
        while true {
            guard skipValue(level: level &+ 1, owner) else { return false }
            skipSpace()
            if cursor.pointee == 0x5d {
                cursor += 1
                return true
            }
            guard cursor.pointee == 0x2c else { return fail(.notJSON, .event) }
            cursor += 1
            skipSpace()
        }
    }

    /// Steps over a number; false when it is none.
    @inline(__always)
    mutating func skipNumber() -> Bool {
        if cursor.pointee == 0x2d { cursor += 1 }
        let first = cursor
        skipDigits()
        guard cursor != first, first.pointee != 0x30 || cursor - first == 1 else { return false }
        if cursor.pointee == 0x2e {
            cursor += 1
            guard skipDigits() > 0 else { return false }
        }
        if cursor.pointee | 0x20 == 0x65 {
            cursor += 1
            if cursor.pointee == 0x2b || cursor.pointee == 0x2d { cursor += 1 }
            guard skipDigits() > 0 else { return false }
        }
        return true
    }

    @discardableResult @inline(__always)
    mutating func skipDigits() -> Int {
        let first = cursor
        while cursor.pointee &- 0x30 < 10 { cursor += 1 }
        return cursor - first
    }
}
