internal import AurumCore
import Testing
internal import Validation

@Suite struct MemoryTrendTests {
    /// A level with noise that neighbours share, and a saw of what fills and is given back.
    private func series(_ count: Int, slope: Double, seed: UInt64) -> [Double] {
        var random = SeededRandom(seed: seed)
        var noise = 0.0
        return (0..<count).map { index in
            noise = 0.8 * noise + Double.random(in: -2...2, using: &random)
            return 300 + slope * Double(index) + noise + Double(index % 20) * 0.5
        }
    }

    @Test func `a flat memory is called flat in nine of ten runs`() throws {
        let flat = try (0..<40).map { try #require(MemoryTrend(series(720, slope: 0, seed: $0), seed: $0)) }
        let including = flat.count { $0.lower <= 0 && $0.upper >= 0 }
        #expect(including >= 36, "\(including) of 40 intervals include 0")
        #expect(flat.allSatisfy { $0.lower <= $0.slope && $0.slope <= $0.upper })
    }

    @Test func `a leak of a tenth of a megabyte a second is seen`() throws {
        for seed in UInt64(0)..<20 {
            let trend = try #require(MemoryTrend(series(720, slope: 0.1, seed: seed), seed: seed))
            #expect(!trend.isFlatOrFalling, "seed \(seed): \(trend)")
            #expect(abs(trend.slope - 0.1) < 0.02)
        }
    }

    @Test func `falling memory passes and a handful of samples says nothing`() throws {
        let trend = try #require(MemoryTrend(series(300, slope: -0.2, seed: 3)))
        #expect(trend.isFlatOrFalling)
        #expect(MemoryTrend([1, 2, 3]) == nil)
    }
}
