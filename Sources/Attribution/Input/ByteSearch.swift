/// Looks for bytes, eight at a time.
/// Source: H. S. Warren, "Hacker's Delight", 2nd edition, section 6-1 (the first zero byte of a word).
enum ByteSearch {
    private static let ones: UInt64 = 0x0101_0101_0101_0101
    private static let tops: UInt64 = 0x8080_8080_8080_8080

    /// Where the first of two bytes stands at or after `start`; `end` where there is none.
    @inline(__always)
    static func first(
        _ one: UInt8, or other: UInt8, in bytes: UnsafePointer<UInt8>, from start: Int, to end: Int
    ) -> Int {
        let (left, right) = (UInt64(one) &* ones, UInt64(other) &* ones)
        var at = start
        while at &+ 8 <= end {
            let word = UInt64(
                littleEndian: UnsafeRawPointer(bytes).loadUnaligned(fromByteOffset: at, as: UInt64.self))
            let (x, y) = (word ^ left, word ^ right)
            // The lowest marked byte is right: a borrow only spreads upwards.
            let found = ((x &- ones) & ~x | (y &- ones) & ~y) & tops
            if found != 0 { return at &+ found.trailingZeroBitCount / 8 }
            at &+= 8
        }
        while at < end, bytes[at] != one, bytes[at] != other { at &+= 1 }
        return at
    }
}
