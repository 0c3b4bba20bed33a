/// Loads and scans over raw bytes. Everything here may read up to 32 bytes past the byte it stops at: callers give it
/// memory that ends in `ByteScan.padding` readable bytes, and a control byte behind the last byte of interest.
enum ByteScan {
    /// Readable bytes that must follow the text.
    static let padding = 64

    @inline(__always)
    static func word(_ bytes: UnsafePointer<UInt8>) -> UInt64 {
        UnsafeRawPointer(bytes).loadUnaligned(as: UInt64.self)
    }

    @inline(__always)
    static func half(_ bytes: UnsafePointer<UInt8>) -> UInt32 {
        UnsafeRawPointer(bytes).loadUnaligned(as: UInt32.self)
    }

    @inline(__always)
    static func pair(_ bytes: UnsafePointer<UInt8>) -> UInt16 {
        UnsafeRawPointer(bytes).loadUnaligned(as: UInt16.self)
    }

    @inline(__always)
    static func vector(_ bytes: UnsafePointer<UInt8>) -> SIMD16<UInt8> {
        UnsafeRawPointer(bytes).loadUnaligned(as: SIMD16<UInt8>.self)
    }

    /// The low `count` bytes of a word set, the rest clear; `count` ≤ 8.
    @inline(__always)
    static func mask(_ count: Int) -> UInt64 {
        count >= 8 ? ~0 : (1 &<< UInt64(truncatingIfNeeded: count &* 8)) &- 1
    }

    /// 0xff for every quote, backslash or control byte. Vector against vector: a scalar operand would be per lane.
    @inline(__always)
    static func stops(_ vector: SIMD16<UInt8>) -> SIMD2<UInt64> {
        let stops =
            (vector .== SIMD16<UInt8>(repeating: 0x22)) .| (vector .== SIMD16<UInt8>(repeating: 0x5c))
            .| (vector .< SIMD16<UInt8>(repeating: 0x20))
        return unsafeBitCast(stops, to: SIMD2<UInt64>.self)
    }

    /// The first quote, backslash or control byte at or after `start`.
    @inline(__always)
    static func stringStop(_ start: UnsafePointer<UInt8>) -> UnsafePointer<UInt8> {
        var bytes = start
        while true {
            let found = stops(vector(bytes))
            if found[0] != 0 { return bytes + (found[0].trailingZeroBitCount &>> 3) }
            if found[1] != 0 { return bytes + (8 &+ (found[1].trailingZeroBitCount &>> 3)) }
            bytes += 16
        }
    }

    /// Whether no byte has its high bit set. Reads exactly `count` bytes.
    @inline(never)
    static func isASCII(_ bytes: UnsafePointer<UInt8>, _ count: Int) -> Bool {
        var seen = SIMD16<UInt8>(repeating: 0)
        var index = 0
        while index &+ 64 <= count {
            seen |= vector(bytes + index) | vector(bytes + (index &+ 16))
            seen |= vector(bytes + (index &+ 32)) | vector(bytes + (index &+ 48))
            index &+= 64
        }
        var tail: UInt8 = 0
        while index < count {
            tail |= bytes[index]
            index &+= 1
        }
        let words = unsafeBitCast(seen, to: SIMD2<UInt64>.self)
        return ((words[0] | words[1]) & 0x8080_8080_8080_8080) == 0 && tail < 0x80
    }

    /// Whether the bytes are UTF-8: no overlong forms, no surrogates, nothing past U+10FFFF. Reads exactly `count`.
    /// Source: Unicode 15, table 3-7.
    static func isUTF8(_ bytes: UnsafePointer<UInt8>, _ count: Int) -> Bool {
        var index = 0
        while index < count {
            while index + 16 <= count {
                let words = unsafeBitCast(vector(bytes + index), to: SIMD2<UInt64>.self)
                guard (words[0] | words[1]) & 0x8080_8080_8080_8080 == 0 else { break }
                index += 16
            }
            guard index < count else { break }
            let first = bytes[index]
            if first < 0x80 {
                index += 1
                continue
            }
            let length: Int
            var low: UInt8 = 0x80
            var high: UInt8 = 0xbf
            switch first {
            case 0xc2...0xdf: length = 2
            case 0xe0: (length, low) = (3, 0xa0)
            case 0xed: (length, high) = (3, 0x9f)
            case 0xe1...0xef: length = 3
            case 0xf0: (length, low) = (4, 0x90)
            case 0xf4: (length, high) = (4, 0x8f)
            case 0xf1...0xf3: length = 4
            default: return false
            }
            guard index + length <= count, bytes[index + 1] >= low, bytes[index + 1] <= high else { return false }
            for follower in 2..<max(2, length) where bytes[index + follower] & 0xc0 != 0x80 { return false }
            index += length
        }
        return true
    }
}

/// A run of bytes inside the text being parsed. For strings: what stands between the quotes, escapes and all.
struct ByteSlice {
    var offset: UInt32
    /// Length in the low 31 bits; the top bit says that the string holds escapes.
    var packedLength: UInt32

    static let escapeBit: UInt32 = 0x8000_0000
    static let empty = ByteSlice(offset: 0, packedLength: 0)

    @inline(__always) var start: Int { Int(offset) }
    @inline(__always) var count: Int { Int(packedLength & ~ByteSlice.escapeBit) }
    @inline(__always) var hasEscapes: Bool { packedLength & ByteSlice.escapeBit != 0 }
}
