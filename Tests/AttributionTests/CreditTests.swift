import Attribution
import AurumCore
import Database
import Events
import TestSupport
import Testing

struct CreditTests {
    @Test(arguments: [1, 2, 3, 7])
    func `first and last give everything to one touchpoint`(count: Int) {
        let first = CreditModel.first.shares(count: count)
        let last = CreditModel.last.shares(count: count)
        #expect(first.reduce(0, +) == 1_000_000 && first.first == 1_000_000)
        #expect(last.reduce(0, +) == 1_000_000 && last.last == 1_000_000)
    }

    @Test func `parts of money add up exactly, ties to the later touchpoint`() {
        #expect(Credit.apportion(100, shares: [333_333, 333_333, 333_334]) == [33, 33, 34])
        #expect(Credit.apportion(1, shares: [500_000, 500_000]) == [0, 1])
        #expect(Credit.apportion(-1, shares: [500_000, 500_000]) == [0, -1])
        #expect(Credit.apportion(.max, shares: [1_000_000]) == [.max])
        var random = SeededRandom(seed: 11)
        for _ in 0..<2000 {
            let count = Int.random(in: 1...9, using: &random)
            var cuts = (0..<(count - 1)).map { _ in Int64.random(in: 0...1_000_000, using: &random) }.sorted()
            cuts = [0] + cuts + [1_000_000]
            let shares = zip(cuts.dropFirst(), cuts).map { $0 - $1 }
            let total = Int64.random(in: -1_000_000_000...1_000_000_000, using: &random)
            #expect(Credit.apportion(total, shares: shares).reduce(0, +) == total)
        }
    }
}
