import AurumCore
import Events
import Testing

struct ChecksumTests {
    /// Vectors of RFC 3720, appendix B.4, and the check value of the CRC catalogue for "123456789".
    @Test func `CRC-32C is that of its standard, by the instruction and by tables`() {
        let vectors: [([UInt8], UInt32)] = [
            ([], 0), (Array("123456789".utf8), 0xe306_9283), ([UInt8](repeating: 0, count: 32), 0x8a91_36aa),
            ([UInt8](repeating: 0xff, count: 32), 0x62a8_ab43), (Array(0..<32), 0x46dd_794e),
            (Array((0..<32).reversed()), 0x113f_db5c),
        ]
        for (bytes, expected) in vectors {
            #expect(CRC32C.of(bytes) == expected)
            #expect(bytes.withUnsafeBytes { CRC32C.byTables($0) } == expected)
        }
    }

    @Test func `both ways agree at any length and place, and in parts`() {
        var random = SeededRandom(seed: 3)
        let bytes = (0..<4096).map { _ in UInt8.random(in: 0...255, using: &random) }
        bytes.withUnsafeBytes { raw in
            for _ in 0..<2000 {
                let start = Int.random(in: 0..<raw.count, using: &random)
                let end = Int.random(in: start...raw.count, using: &random)
                let middle = Int.random(in: start...end, using: &random)
                let part = UnsafeRawBufferPointer(rebasing: raw[start..<end])
                let (left, right) = (raw[start..<middle], raw[middle..<end])
                let begun = CRC32C.of(UnsafeRawBufferPointer(rebasing: left))
                #expect(CRC32C.of(part) == CRC32C.byTables(part))
                #expect(CRC32C.of(part) == CRC32C.of(UnsafeRawBufferPointer(rebasing: right), continuing: begun))
            }
        }
    }
}
