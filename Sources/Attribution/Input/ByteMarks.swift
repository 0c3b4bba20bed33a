internal import CProcessor

/// The places of a few bytes, found sixty-four at a time: what a field, a line or a touch ends with.
/// Source: G. Langdale, D. Lemire, "Parsing gigabytes of JSON per second", VLDB Journal 28, 2019, section 3.1.
struct ByteMarks {
    private let base: UnsafeRawPointer
    private let (one, other): (UInt8, UInt8)
    private var word: Int
    private var bits: UInt64 = 0

    /// So many bytes behind the last mark are looked at.
    static let padding = 64

    /// Of `one`, `other`, quotes and line ends at and after `start`; `padding` bytes behind the last mark must be
    /// readable.
    init(_ bytes: UnsafePointer<UInt8>, from start: Int, _ one: UInt8, _ other: UInt8) {
        base = UnsafeRawPointer(bytes)
        (self.one, self.other) = (one, other)
        word = start &- 64
    }

    /// The place of the next mark; there must be one.
    @inline(__always)
    mutating func next() -> Int {
        while bits == 0 {
            word &+= 64
            bits = aurum_byte_marks(base + word, one, other)
        }
        let place = word &+ bits.trailingZeroBitCount
        bits &= bits &- 1
        return place
    }
}
