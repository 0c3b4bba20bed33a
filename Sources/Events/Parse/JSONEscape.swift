/// The escapes of JSON strings. Source: RFC 8259, section 7. Every string given here has been checked by the parser.
enum JSONEscape {
    /// The UTF-16 unit of four hex digits; nil when one is none.
    @inline(__always)
    static func unit(_ digits: UnsafePointer<UInt8>) -> UInt32? {
        var unit: UInt32 = 0
        for index in 0..<4 {
            guard let digit = HexText.digit(digits[index]) else { return nil }
            unit = unit << 4 | UInt32(digit)
        }
        return unit
    }

    /// Bytes of the string once decoded.
    static func decodedCount(_ bytes: UnsafePointer<UInt8>, _ count: Int) -> Int {
        var decoded = 0
        each(bytes, count) { _ in decoded += 1 }
        return decoded
    }

    /// Writes the decoded bytes and answers their number; never more than `count`.
    static func decode(_ bytes: UnsafePointer<UInt8>, _ count: Int, into out: UnsafeMutablePointer<UInt8>) -> Int {
        var decoded = 0
        each(bytes, count) { byte in
            out[decoded] = byte
            decoded += 1
        }
        return decoded
    }

    @inline(__always)
    private static func each(_ bytes: UnsafePointer<UInt8>, _ count: Int, _ emit: (UInt8) -> Void) {
        var index = 0
        while index < count {
            guard bytes[index] == 0x5c, index + 1 < count else {
                emit(bytes[index])
                index += 1
                continue
            }
            guard bytes[index + 1] == 0x75, index + 6 <= count, var scalar = unit(bytes + index + 2) else {
                emit(simple(bytes[index + 1]))
                index += 2
                continue
            }
            index += 6
            if scalar & 0xfc00 == 0xd800, index + 6 <= count, let low = unit(bytes + index + 2) {
                scalar = 0x10000 + ((scalar & 0x3ff) << 10) + (low & 0x3ff)
                index += 6
            }
            utf8(scalar, emit)
        }
    }

    private static func simple(_ letter: UInt8) -> UInt8 {
        switch letter {
        case 0x62: 0x08
        case 0x66: 0x0c
        case 0x6e: 0x0a
        case 0x72: 0x0d
        case 0x74: 0x09
        default: letter
        }
    }

    @inline(__always)
    private static func utf8(_ scalar: UInt32, _ emit: (UInt8) -> Void) {
        switch scalar {
        case ..<0x80: emit(UInt8(scalar))
        case ..<0x800:
            emit(UInt8(0xc0 | scalar >> 6))
            emit(UInt8(0x80 | scalar & 0x3f))
        case ..<0x10000:
            emit(UInt8(0xe0 | scalar >> 12))
            emit(UInt8(0x80 | scalar >> 6 & 0x3f))
            emit(UInt8(0x80 | scalar & 0x3f))
        default:
            emit(UInt8(0xf0 | scalar >> 18 & 0x07))
            emit(UInt8(0x80 | scalar >> 12 & 0x3f))
            emit(UInt8(0x80 | scalar >> 6 & 0x3f))
            emit(UInt8(0x80 | scalar & 0x3f))
        }
    }
}
