/// Makes a damaged segment pass its checksums again, so that the damage gets past them to whoever reads it.
///
/// Knows the format from `docs/segment-format.md` and shares no code with the log.
struct SegmentMender {
    private static let table: [UInt32] = (0..<256).map { index in
        (0..<8).reduce(UInt32(index)) { value, _ in value >> 1 ^ (value & 1 == 1 ? 0x82F6_3B78 : 0) }
    }

    private var bytes: [UInt8]

    static func mended(_ bytes: [UInt8]) -> [UInt8] {
        guard bytes.count >= 64 else { return bytes }
        var mender = SegmentMender(bytes: bytes)
        mender.bytes.replaceSubrange(0..<12, with: Array("AURUMLOG".utf8) + [2, 0, 64, 0])
        mender.put(mender.crc(0, 60), at: 60)
        var place = 64
        while let next = mender.mendBlock(at: place) { place = next }
        return mender.bytes
    }

    private func crc(_ from: Int, _ count: Int) -> UInt32 {
        var value = UInt32.max
        for byte in bytes[from..<from + count] { value = value >> 8 ^ Self.table[Int((value ^ UInt32(byte)) & 0xff)] }
        return ~value
    }

    private func word(_ place: Int) -> Int {
        (0..<4).reduce(0) { $0 | Int(bytes[place + $1]) << (8 * $1) }
    }

    private mutating func put(_ word: UInt32, at place: Int) {
        for index in 0..<4 { bytes[place + index] = UInt8(truncatingIfNeeded: word >> UInt32(8 * index)) }
    }

    /// Where the next block begins; nil at the end.
    private mutating func mendBlock(at start: Int) -> Int? {
        let left = bytes.count - start
        guard left >= 128, bytes[start..<start + 128].contains(where: { $0 != 0 }) else { return nil }
        bytes.replaceSubrange(start..<start + 8, with: [0x41, 0x42, 0x4b, 0x32, 2, 0, bytes[start + 6] & 1, 0])
        let tables = min(word(start + 60), left - 128)
        let payload = min(word(start + 64), left - 128 - tables)
        let total = (128 + tables + payload + 7) / 8 * 8
        guard total <= left else { return nil }
        let parts = min(word(start + 24), tables / 16)
        let directory = start + 128 + tables - 16 * parts
        for part in 0..<parts {
            let (offset, count) = (word(directory + 16 * part + 4), word(directory + 16 * part + 8))
            guard offset + count <= payload else { continue }
            put(crc(start + 128 + tables + offset, count), at: directory + 16 * part + 12)
        }
        for (place, value) in [
            (24, parts), (56, tables - 16 * parts), (60, tables), (64, payload), (68, total),
        ] {
            put(UInt32(value), at: start + place)
        }
        put(crc(start + 128, tables), at: start + 76)
        put(crc(start, 124), at: start + 124)
        return start + total
    }
}
