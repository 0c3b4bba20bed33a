/// Rows that say which event each of them is.
package protocol KeyedRows {
    var rowCount: Int { get }
    /// Calls its argument with the two words of the identity of each accepted row that has one.
    func eachKeyedRow(_ body: (_ high: UInt64, _ low: UInt64, _ row: Int) throws -> Void) throws
}

extension DecodedBlock: KeyedRows {}

/// Rows of a block, one bit each.
package struct RowBits: Sendable, Equatable {
    private var words: [UInt64] = []

    package init() {}

    init(rowCount: Int) { words = [UInt64](repeating: 0, count: (rowCount + 63) / 64) }

    package var isEmpty: Bool { words.allSatisfy { $0 == 0 } }
    package var count: Int { words.reduce(0) { $0 + $1.nonzeroBitCount } }

    package func contains(_ row: Int) -> Bool {
        let word = row >> 6
        return word < words.count && words[word] & 1 << UInt64(row & 63) != 0
    }

    mutating func insert(_ row: Int) { words[row >> 6] |= 1 << UInt64(row & 63) }
}

/// Finds second copies of accepted events among all blocks that are read, exactly and in bounded memory: a first look
/// marks hashes of identities in a table of bits, a second compares those whose bits were met before. What does not
/// fit is done one range of hashes after the other: a range that holds too much is cut while it is read, and the next
/// is as wide as what was met says. What is found takes one bit a row.
///
/// Every range reads everything again: files that repeat as a whole twice for about every half `suspectsMax` of their
/// rows, earlier files as far as the range's share of `earlierRowsMax` goes, in all twice that at most.
package struct DuplicateSearch {
    /// Of the table of bits: 8 MB.
    package static let bitsMax = 1 << 26
    /// Identities that are compared at a time: what a dictionary of 2^20 places holds, 18 MB of them.
    package static let suspectsMax = 780_000
    /// Ranges are of the upper half of an identity's first word.
    private static let hashes: UInt64 = 1 << 32

    /// Rows by file and block that repeat an event before them.
    package typealias Found = [Int: [Int: RowBits]]
    /// Calls its argument with blocks of files that stand before those that are searched, those of the newest file
    /// first, until it answers false.
    package typealias Earlier<Block> = ((Block) throws -> Bool) throws -> Void
    /// Calls its argument with every block, in the order of the log within each app.
    package typealias Each<Block> = ((_ file: Int, _ block: Int, Block) throws -> Void) throws -> Void

    let bitCount: Int
    let suspectsMax: Int
    let earlierRowsMax: Int

    /// - Parameter earlierRowsMax: rows of earlier files that all ranges read together, where none has to be cut.
    package init(
        earlierRowsMax: Int, bitCount: Int = DuplicateSearch.bitsMax, suspectsMax: Int = DuplicateSearch.suspectsMax
    ) {
        (self.bitCount, self.suspectsMax, self.earlierRowsMax) = (bitCount, suspectsMax, earlierRowsMax)
    }

    /// - Parameters:
    ///   - rows: of all files.
    ///   - earlier: what was accepted there is the first copy; nil where nothing is.
    package func run<Block: KeyedRows>(
        rows: Int, earlier: Earlier<Block>? = nil, _ each: Each<Block>
    ) throws -> Found {
        // Six bits an identity: one in six is met by chance and compared for nothing. Earlier files may hold many times
        // as many rows, so that they are held against twice the bits, four for each: one in 150 is met by chance.
        let bits = rows * (earlier == nil ? 6 : 12)
        let ranges = UInt64(max(1, (bits + bitCount - 1) / bitCount))
        let widthMax = (Self.hashes + ranges - 1) / ranges
        var found: Found = [:]
        var (first, width) = (UInt64(0), widthMax)
        while first < Self.hashes {
            var suspects = Suspects(hashes: first..<min(Self.hashes, first + width), countMax: suspectsMax)
            try search(&suspects, earlier, each, &found)
            first = suspects.hashes.upperBound
            // Three quarters of what fits, so that the next need not be cut.
            let met = UInt64(max(1, suspects.keys.count))
            let fitting = UInt64(suspects.hashes.count) * UInt64(suspectsMax) * 3 / 4 / met
            width = min(widthMax, max(1, fitting))
        }
        return found
    }

    private func search<Block: KeyedRows>(
        _ suspects: inout Suspects, _ earlier: Earlier<Block>?, _ each: Each<Block>, _ found: inout Found
    ) throws {
        var table = BitTable(bitCount: bitCount, probes: earlier == nil ? 1 : 4)
        try each { _, _, block in
            try block.eachKeyedRow { high, low, _ in
                guard suspects.isMeant(high), !table.insert(high, low) else { return }
                suspects.note(high, low, wasMet: false)
            }
        }
        var rows = 0
        try earlier? { block in
            // The range may have been cut meanwhile, and its share with it.
            let share = Double(suspects.hashes.count) / Double(Self.hashes)
            guard Double(rows) < Double(earlierRowsMax) * share else { return false }
            rows += block.rowCount
            try block.eachKeyedRow { high, low, _ in
                guard suspects.isMeant(high), table.holds(high, low) else { return }
                // It stands before all that are searched.
                suspects.note(high, low, wasMet: true)
            }
            return true
        }
        guard !suspects.keys.isEmpty else { return }
        table = BitTable(bitCount: 64, probes: 1)
        try each { file, number, block in
            var copies: RowBits?
            try block.eachKeyedRow { high, low, row in
                guard let isCopy = suspects.meet(high, low), isCopy else { return }
                if copies == nil { copies = found[file]?[number] ?? RowBits(rowCount: block.rowCount) }
                copies?.insert(row)
            }
            if let copies { found[file, default: [:]][number] = copies }
        }
    }
}

/// Identities of a range of hashes that may have come twice.
private struct Suspects {
    struct Key: Hashable {
        var high: UInt64
        var low: UInt64
    }

    /// Shorter than at first where it held too much.
    private(set) var hashes: Range<UInt64>
    /// Whether each was met in what was read so far.
    private(set) var keys: [Key: Bool] = [:]
    private let countMax: Int

    init(hashes: Range<UInt64>, countMax: Int) { (self.hashes, self.countMax) = (hashes, countMax) }

    func isMeant(_ high: UInt64) -> Bool { hashes.contains(high >> 32) }

    mutating func note(_ high: UInt64, _ low: UInt64, wasMet: Bool) {
        keys[Key(high: high, low: low)] = wasMet
        while keys.count > countMax, hashes.count > 1 {
            hashes = hashes.lowerBound..<hashes.lowerBound + UInt64(hashes.count / 2)
            keys = keys.filter { hashes.contains($0.key.high >> 32) }
        }
    }

    /// Whether an identity was met before, and that it is now; nil for one that came once.
    mutating func meet(_ high: UInt64, _ low: UInt64) -> Bool? {
        guard let place = keys.index(forKey: Key(high: high, low: low)) else { return nil }
        defer { keys.values[place] = true }
        return keys.values[place]
    }
}

/// Some bits for each identity that was inserted.
private struct BitTable {
    private var bits: [UInt64]
    private let bitCount: UInt64
    private let probes: UInt64

    init(bitCount: Int, probes: UInt64) {
        bits = [UInt64](repeating: 0, count: bitCount / 64)
        (self.bitCount, self.probes) = (UInt64(bitCount), probes)
    }

    /// False when all bits of it were set before.
    mutating func insert(_ high: UInt64, _ low: UInt64) -> Bool {
        var isNew = false
        for probe in 0..<probes {
            let bit = bit(high, low, probe)
            isNew = isNew || bits[bit >> 6] & 1 << UInt64(bit & 63) == 0
            bits[bit >> 6] |= 1 << UInt64(bit & 63)
        }
        return isNew
    }

    func holds(_ high: UInt64, _ low: UInt64) -> Bool {
        (0..<probes).allSatisfy { probe in
            let bit = bit(high, low, probe)
            return bits[bit >> 6] & 1 << UInt64(bit & 63) != 0
        }
    }

    private func bit(_ high: UInt64, _ low: UInt64, _ probe: UInt64) -> Int {
        Int((low &+ probe &* (high | 1)) % bitCount)
    }
}
