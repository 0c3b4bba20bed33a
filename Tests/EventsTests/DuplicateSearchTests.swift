import AurumCore
import Events
import TestSupport
import Testing

/// The search for second copies against a set that holds everything, with room for little.
struct DuplicateSearchTests {
    private struct Key: Hashable {
        var high: UInt64
        var low: UInt64
    }

    private struct Block: KeyedRows {
        var keys: [Key]
        var rowCount: Int { keys.count }

        func eachKeyedRow(_ body: (_ high: UInt64, _ low: UInt64, _ row: Int) throws -> Void) throws {
            for (row, key) in keys.enumerated() { try body(key.high, key.low, row) }
        }
    }

    private static func key(_ random: inout SeededRandom) -> Key { Key(high: random.next(), low: random.next()) }

    private static func blocks(_ keys: [Key], _ rows: Int) -> [Block] {
        stride(from: 0, to: keys.count, by: rows).map { Block(keys: Array(keys[$0..<min(keys.count, $0 + rows)])) }
    }

    private struct Found {
        var rows: Set<[Int]> = []
        /// How often the files were read, and how many rows of earlier ones.
        var reads = 0
        var earlierRows = 0
    }

    private static func run(
        _ search: DuplicateSearch, _ files: [[Block]], earlier: [Block]?
    ) throws -> Found {
        var found = Found()
        let before: DuplicateSearch.Earlier<Block> = { body in
            for block in earlier ?? [] {
                guard try body(block) else { return }
                found.earlierRows += block.rowCount
            }
        }
        let rows = files.joined().reduce(0) { $0 + $1.rowCount }
        let copies = try search.run(rows: rows, earlier: earlier == nil ? nil : before) { body in
            found.reads += 1
            for (file, blocks) in files.enumerated() {
                for (number, block) in blocks.enumerated() { try body(file, number, block) }
            }
        }
        for (file, blocks) in copies {
            for (number, bits) in blocks {
                for row in 0..<files[file][number].rowCount where bits.contains(row) {
                    found.rows.insert([file, number, row])
                }
                #expect(bits.count == (0..<files[file][number].rowCount).count { bits.contains($0) })
            }
        }
        return found
    }

    @Test(arguments: [8, 60, 100_000], [1 << 10, 1 << 20])
    func `exactly the second copies are found, whatever fits`(suspectsMax: Int, bitCount: Int) throws {
        var random = SeededRandom(seed: 61)
        for round in 0..<20 {
            let many = (0..<200).map { _ in Self.key(&random) }
            let old = Self.blocks((0..<300).compactMap { _ in many.randomElement(using: &random) }, 32)
            let files = (0..<3).map { _ in
                Self.blocks(
                    (0..<150).map { _ in
                        Bool.random(using: &random) ? many[Int.random(in: 0..<200, using: &random)] : Self.key(&random)
                    }, 20)
            }
            for earlier in [nil, old] {
                var seen = Set((earlier ?? []).flatMap(\.keys))
                var copies: Set<[Int]> = []
                for (file, blocks) in files.enumerated() {
                    for (number, block) in blocks.enumerated() {
                        for (row, key) in block.keys.enumerated() where !seen.insert(key).inserted {
                            copies.insert([file, number, row])
                        }
                    }
                }
                let search = DuplicateSearch(earlierRowsMax: 1 << 40, bitCount: bitCount, suspectsMax: suspectsMax)
                let found = try Self.run(search, files, earlier: earlier)
                #expect(found.rows == copies, "seed 61, round \(round)")
                if suspectsMax > 1000, bitCount > 1 << 16 { #expect(found.reads == 2) }
            }
        }
    }

    @Test func `what repeats as a whole is read as often as it must, and earlier files within their bound`() throws {
        var random = SeededRandom(seed: 62)
        let keys = (0..<10_000).map { _ in Self.key(&random) }
        // The newest first.
        let earlier = Self.blocks(keys.shuffled(using: &random), 50)
        let files = [Self.blocks(keys, 100)]
        let wide = DuplicateSearch(earlierRowsMax: 1 << 40, bitCount: 1 << 20, suspectsMax: 500)
        let all = try Self.run(wide, files, earlier: earlier)
        #expect(all.rows.count == 10_000)
        // Twenty ranges at the least, each of two reads.
        #expect((40...80).contains(all.reads), "\(all.reads) reads")
        let tight = DuplicateSearch(earlierRowsMax: 20_000, bitCount: 1 << 20, suspectsMax: 500)
        let some = try Self.run(tight, files, earlier: earlier)
        #expect(some.earlierRows <= 40_000 + 50 * some.reads, "\(some.earlierRows) rows")
        #expect(some.rows.count > 0 && some.rows.count < 10_000)
        #expect((2...80).contains(some.reads), "\(some.reads) reads")
    }
}
