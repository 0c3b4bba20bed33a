import AurumCore
import Runtime
import Testing

/// A value of the cache as its bytes lie on the server.
struct SharedEntryTests {
    private func entry(_ value: [UInt8]?) -> SharedEntry {
        SharedEntry(value: value, staleFor: .seconds(300), cost: .milliseconds(40), generations: ["7", "0"])
    }

    private var text: [UInt8] { Array(String(repeating: "lead of solar, ", count: 2000).utf8) }

    private func noise(_ count: Int) -> [UInt8] {
        var random = SeededRandom(seed: 71)
        return (0..<count).map { _ in UInt8.random(in: 0...255, using: &random) }
    }

    @Test func `values come back, and are compressed where that saves a tenth`() {
        let small = Array(text.prefix(4095))
        for (value, isCompressed) in [
            (nil, false), ([], false), (small, false), (Array(text.prefix(4096)), true), (text, true),
            (noise(30_000), false), (noise(27_500) + Array(repeating: 0, count: 2500), false),
            (noise(26_500) + Array(repeating: 0, count: 3500), true),
        ] as [([UInt8]?, Bool)] {
            let bytes = entry(value).bytes
            #expect(SharedEntry(bytes) == entry(value))
            #expect(bytes.first == (isCompressed ? 2 : 1), "a release that cannot decompress must take it for a miss")
            if isCompressed { #expect(bytes.count < (value?.count ?? 0) * 9 / 10 + 64) }
        }
    }

    @Test func `what cannot be decompressed is a miss, and a frame that claims too much is not unpacked`() throws {
        let whole = entry(text).bytes
        let frame = try #require(whole.indices.first { whole[$0...].starts(with: [0x28, 0xB5, 0x2F, 0xFD]) })
        for end in frame..<whole.count { #expect(SharedEntry(Array(whole[..<end])) == nil) }
        #expect(SharedEntry(Array(whole[..<frame]) + noise(500)) == nil)
        // A frame of zstd whose header says 9 MiB, in four bytes: descriptor 0xA0, single segment.
        let claim = (9 << 20) as UInt32
        let size = (0..<4).map { UInt8(truncatingIfNeeded: claim >> ($0 * 8)) }
        let header: [UInt8] = [0x28, 0xB5, 0x2F, 0xFD, 0xA0] + size
        #expect(SharedEntry(Array(whole[..<frame]) + header + [1, 0, 0]) == nil)
        // One that does not say how much it holds: a window descriptor, one empty raw block.
        #expect(SharedEntry(Array(whole[..<frame]) + [0x28, 0xB5, 0x2F, 0xFD, 0, 0x58, 1, 0, 0]) == nil)
        #expect(SharedEntry([3] + whole.dropFirst()) == nil)
        var random = SeededRandom(seed: 72)
        for _ in 0..<2000 {
            var torn = whole
            torn[Int.random(in: 0..<torn.count, using: &random)] ^= 1 << UInt8.random(in: 0..<8, using: &random)
            guard let read = SharedEntry(torn) else { continue }
            #expect((read.value?.count ?? 0) <= CacheLimits.valueBytesMax)
        }
    }
}
