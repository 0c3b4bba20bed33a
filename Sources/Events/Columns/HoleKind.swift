internal import AurumCore

/// How the values of a column are kept. Raw values are written to the log and never change.
///
/// An event's text is cut into a shape (the bytes that all events of one form share) and holes (the values that
/// differ). Every kind gives back exactly the bytes that stood in its hole.
enum HoleKind: UInt8 {
    /// What stands between the quotes of a string, escapes and all: numbered texts.
    case text = 1
    /// 36 characters of a lower-case UUID: 16 bytes.
    case uuid
    /// 32 lower-case hex digits: 16 bytes.
    case hex
    /// `2026-11-21T01:29:28`, and the same with 3 or 6 digits of a fraction: microseconds.
    case timeSeconds
    case timeMillis
    case timeMicros
    /// A decimal number without exponent and of at most 18 digits: its digits and how many stand behind the point.
    case number
    /// A whole JSON object of the contract: `context`, `campaign`, `consent`, `traits`; numbered texts.
    case object
    /// Any other JSON value below `props` or beside the contract: numbered texts.
    case json
    /// A whole event.
    case whole

    /// Whether values are numbered texts.
    var isText: Bool { self == .text || self == .object || self == .json || self == .whole }

    var isTime: Bool { self == .timeSeconds || self == .timeMillis || self == .timeMicros }

    /// Characters of a time, or of an identifier of 16 bytes.
    var characterCount: Int {
        switch self {
        case .uuid: 36
        case .hex: 32
        case .timeSeconds: 19
        case .timeMillis: 23
        case .timeMicros: 26
        default: 0
        }
    }
}

/// What must hold of a value besides its grammar, so that an event of a known shape means what the parser would say.
enum HoleCheck: UInt8 {
    case none = 0
    /// Money in decimal text or as a number.
    case money
    case currency
    case traceID
    case quantity
    /// `ts`, `sent_at`, `originalTimestamp`: their moment counts.
    case timestamp
    case sentAt
    case originalTimestamp
}

/// One value of the event that is being read.
struct Hole {
    var offset: UInt32 = 0
    var count: UInt32 = 0
    /// Number, time, or the number of a text that is known already.
    var value: Int64 = 0
    /// Second half of an identifier of 16 bytes; digits behind the point of a number; hash of a text.
    var second: UInt64 = 0
    var column: UInt16 = 0
    var kind: UInt8 = 0
}

/// Fixed-width texts and the numbers that they stand for.
enum HoleText {
    /// Sixteen hex digits as eight bytes in memory order, or nil through `isHex`. Lower case only.
    @inline(__always)
    private static func nibbles(_ text: SIMD16<UInt8>, _ isHex: inout SIMDMask<SIMD16<Int8>>) -> SIMD16<UInt8> {
        let digits = text &- SIMD16<UInt8>(repeating: 0x30)
        let letters = text &- SIMD16<UInt8>(repeating: 0x61)
        let areDigits = digits .< SIMD16<UInt8>(repeating: 10)
        isHex = isHex .& (areDigits .| (letters .< SIMD16<UInt8>(repeating: 6)))
        let mask = unsafeBitCast(areDigits, to: SIMD16<UInt8>.self)
        return (digits & mask) | ((letters &+ SIMD16<UInt8>(repeating: 10)) & ~mask)
    }

    /// Eight nibbles, one a byte, as four bytes.
    @inline(__always)
    private static func packed(_ nibbles: UInt64) -> UInt64 {
        let pairs = ((nibbles &<< 4) | (nibbles &>> 8)) & 0x00ff_00ff_00ff_00ff
        let quads = (pairs | (pairs &>> 8)) & 0x0000_ffff_0000_ffff
        return (quads | (quads &>> 16)) & 0xffff_ffff
    }

    @inline(__always)
    private static func words(
        _ first: SIMD2<UInt64>, _ second: SIMD2<UInt64>
    ) -> (high: UInt64, low: UInt64)? {
        var isHex = SIMDMask<SIMD16<Int8>>(repeating: true)
        let left = unsafeBitCast(
            nibbles(unsafeBitCast(first, to: SIMD16<UInt8>.self), &isHex), to: SIMD2<UInt64>.self)
        let right = unsafeBitCast(
            nibbles(unsafeBitCast(second, to: SIMD16<UInt8>.self), &isHex), to: SIMD2<UInt64>.self)
        let valid = unsafeBitCast(isHex, to: SIMD2<UInt64>.self)
        guard valid[0] & valid[1] == .max else { return nil }
        return (
            packed(left[0]) | packed(left[1]) &<< 32, packed(right[0]) | packed(right[1]) &<< 32
        )
    }

    /// The 16 bytes of a lower-case UUID, as they stand in memory; nil for anything else. Reads 36 bytes.
    @inline(__always)
    static func uuid(_ text: UnsafePointer<UInt8>) -> (high: UInt64, low: UInt64)? {
        guard text[8] == 0x2d, text[13] == 0x2d, text[18] == 0x2d, text[23] == 0x2d else { return nil }
        let second = UInt64(ByteScan.half(text + 9)) | UInt64(ByteScan.half(text + 14)) &<< 32
        let third = UInt64(ByteScan.half(text + 19)) | UInt64(ByteScan.half(text + 24)) &<< 32
        return words(
            SIMD2<UInt64>(ByteScan.word(text), second), SIMD2<UInt64>(third, ByteScan.word(text + 28)))
    }

    /// The 16 bytes of 32 lower-case hex digits, as they stand in memory; nil for anything else. Reads 32 bytes.
    @inline(__always)
    static func hex(_ text: UnsafePointer<UInt8>) -> (high: UInt64, low: UInt64)? {
        words(
            SIMD2<UInt64>(ByteScan.word(text), ByteScan.word(text + 8)),
            SIMD2<UInt64>(ByteScan.word(text + 16), ByteScan.word(text + 24)))
    }

    private static let digits = Array("0123456789abcdef".utf8)

    /// Appends 32 hex digits, or the 36 characters of a UUID.
    static func append(_ high: UInt64, _ low: UInt64, hyphens: Bool, to text: inout [UInt8]) {
        for index in 0..<16 {
            if hyphens, index == 4 || index == 6 || index == 8 || index == 10 { text.append(0x2d) }
            let byte = index < 8 ? high >> UInt64(8 * index) : low >> UInt64(8 * (index - 8))
            text.append(digits[Int(byte >> 4 & 15)])
            text.append(digits[Int(byte & 15)])
        }
    }

    /// The moments that a time of four digits of years can name, in microseconds since 1970.
    static let moments: ClosedRange<Int64> = -62_167_219_200_000_000...253_402_300_799_999_999
    static let fractionDigitsMax = 18

    /// Appends a time of one of the three widths; `moment` in microseconds since 1970, one of `moments`.
    static func append(time moment: Int64, _ kind: HoleKind, to text: inout [UInt8]) {
        func pad(_ number: Int, _ width: Int) {
            var divisor = 1
            for _ in 1..<width { divisor *= 10 }
            while divisor > 0 {
                text.append(0x30 + UInt8(number / divisor % 10))
                divisor /= 10
            }
        }
        let (days, rest) = Int(moment).flooredQuotient(by: 86_400_000_000)
        let date = CivilDate(daysSince1970: days)
        pad(date.year, 4)
        text.append(0x2d)
        pad(date.month, 2)
        text.append(0x2d)
        pad(date.day, 2)
        text.append(0x54)
        for (index, number) in [rest / 3_600_000_000, rest / 60_000_000 % 60, rest / 1_000_000 % 60].enumerated() {
            if index > 0 { text.append(0x3a) }
            pad(number, 2)
        }
        guard kind != .timeSeconds else { return }
        text.append(0x2e)
        if kind == .timeMillis { pad(rest / 1000 % 1000, 3) } else { pad(rest % 1_000_000, 6) }
    }

    /// Appends a decimal number.
    static func append(number: Int64, fraction: Int, to text: inout [UInt8]) {
        if number < 0 { text.append(0x2d) }
        var digits = Array(String(number.magnitude).utf8)
        if digits.count <= fraction {
            digits.insert(contentsOf: repeatElement(0x30, count: fraction + 1 - digits.count), at: 0)
        }
        text.append(contentsOf: digits.dropLast(fraction))
        if fraction > 0 {
            text.append(0x2e)
            text.append(contentsOf: digits.suffix(fraction))
        }
    }
}

extension Int {
    /// Quotient and remainder with a remainder of at least zero.
    fileprivate func flooredQuotient(by divisor: Int) -> (Int, Int) {
        let (quotient, remainder) = quotientAndRemainder(dividingBy: divisor)
        return remainder < 0 ? (quotient - 1, remainder + divisor) : (quotient, remainder)
    }
}
