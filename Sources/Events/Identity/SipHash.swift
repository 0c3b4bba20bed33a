/// SipHash-1-3 with 128 bits of result, keyed per installation: the identity of event ids and of persons.
///
/// Source: Aumasson and Bernstein, "SipHash: a fast short-input PRF", 2012, and the authors' 128-bit variant. One
/// round a word as in the standard libraries of Rust and Ruby: the key is secret and the result never leaves us
/// except as identifiers that are random without the key.
struct SipHash {
    private var v0: UInt64
    private var v1: UInt64
    private var v2: UInt64
    private var v3: UInt64

    @inline(__always)
    init(key: (UInt64, UInt64), tweak: UInt64 = 0) {
        v0 = key.0 ^ 0x736f_6d65_7073_6575
        v1 = key.1 ^ 0x646f_7261_6e64_6f6d ^ 0xee
        v2 = key.0 ^ 0x6c79_6765_6e65_7261
        v3 = key.1 ^ 0x7465_6462_7974_6573
        // A tweak is a word of its own before the text: namespaces cannot collide with text.
        add(tweak)
    }

    @inline(__always)
    private mutating func round() {
        v0 = v0 &+ v1
        v1 = v1 &<< 13 | v1 &>> 51
        v1 ^= v0
        v0 = v0 &<< 32 | v0 &>> 32
        v2 = v2 &+ v3
        v3 = v3 &<< 16 | v3 &>> 48
        v3 ^= v2
        v0 = v0 &+ v3
        v3 = v3 &<< 21 | v3 &>> 43
        v3 ^= v0
        v2 = v2 &+ v1
        v1 = v1 &<< 17 | v1 &>> 47
        v1 ^= v2
        v2 = v2 &<< 32 | v2 &>> 32
    }

    @inline(__always)
    private mutating func add(_ word: UInt64) {
        v3 ^= word
        round()
        v0 ^= word
    }

    /// Hash of `count` bytes; may read 7 bytes past them.
    @inline(__always)
    func hash(_ bytes: UnsafePointer<UInt8>, _ count: Int) -> (high: UInt64, low: UInt64) {
        var state = self
        var index = 0
        while index &+ 8 <= count {
            state.add(ByteScan.word(bytes + index))
            index &+= 8
        }
        let tail = ByteScan.word(bytes + index) & ByteScan.mask(count &- index)
        state.add(tail | UInt64(truncatingIfNeeded: count) &<< 56)
        return state.finish()
    }

    /// Hash of 16 bytes.
    @inline(__always)
    func hash(_ first: UInt64, _ second: UInt64) -> (high: UInt64, low: UInt64) {
        var state = self
        state.add(first)
        state.add(second)
        state.add(16 &<< 56)
        return state.finish()
    }

    @inline(__always)
    private mutating func finish() -> (high: UInt64, low: UInt64) {
        v2 ^= 0xee
        round()
        round()
        round()
        let high = v0 ^ v1 ^ v2 ^ v3
        v1 ^= 0xdd
        round()
        round()
        round()
        return (high, v0 ^ v1 ^ v2 ^ v3)
    }

    /// Hash of a text, for callers outside the hot path.
    func hash(_ text: some StringProtocol) -> (high: UInt64, low: UInt64) {
        var bytes = Array(text.utf8)
        let count = bytes.count
        bytes.append(contentsOf: repeatElement(0, count: 8))
        return bytes.withUnsafeBufferPointer { buffer in
            guard let start = buffer.baseAddress else { return (0, 0) }
            return hash(start, count)
        }
    }
}
