/// Finds second copies of accepted events among all blocks that are read, exactly and in bounded memory: a first look
/// marks hashes of identities in a table of bits, a second compares those whose bits were met before. What does not
/// fit is done one range of hashes after the other.
struct DuplicateSearch {
    /// Of the table of bits.
    static let bitsMax = 1 << 26
    /// Identities that are compared at a time.
    static let suspectsMax = 400_000

    /// Rows by file and block that repeat an event before them.
    typealias Found = [Int: [Int: Set<Int>]]
    /// Calls its argument with every block of files that stand before those that are searched.
    typealias Earlier = ((DecodedBlock) throws -> Void) throws -> Void

    private struct Key: Hashable {
        var high: UInt64
        var low: UInt64
    }

    private struct TooMany: Error {}

    let bitCount: Int
    let suspectsMax: Int

    init(bitCount: Int = DuplicateSearch.bitsMax, suspectsMax: Int = DuplicateSearch.suspectsMax) {
        (self.bitCount, self.suspectsMax) = (bitCount, suspectsMax)
    }

    /// - Parameters:
    ///   - rows: of all files.
    ///   - earlier: what was accepted there is the first copy; nil where nothing is.
    ///   - each: calls its argument with every block, in the order of the log within each app.
    func run(
        rows: Int, earlier: Earlier? = nil,
        _ each: ((_ file: Int, _ block: Int, DecodedBlock) throws -> Void) throws -> Void
    ) throws -> Found {
        // Six bits an identity: one in six is met by chance and compared for nothing. Earlier files may hold many times
        // as many rows, so that they are held against twice the bits, four for each: one in 150 is met by chance.
        var ranges = max(1, rows * (earlier == nil ? 6 : 12) / bitCount)
        while true {
            do {
                var found: Found = [:]
                for range in 0..<ranges { try search(range, of: ranges, earlier, each, &found) }
                return found
            } catch is TooMany where ranges < 1 << 16 {
                ranges *= 2
            }
        }
    }

    private func search(
        _ range: Int, of ranges: Int, _ earlier: Earlier?,
        _ each: ((Int, Int, DecodedBlock) throws -> Void) throws -> Void, _ found: inout Found
    ) throws {
        var table = BitTable(bitCount: bitCount, probes: earlier == nil ? 1 : 4)
        var suspects: [Key: Bool] = [:]
        let limit = UInt64(ranges)
        func isMeant(_ high: UInt64) -> Bool { ranges == 1 || (high >> 32) % limit == UInt64(range) }
        try each { _, _, block in
            try block.eachKeyedRow { high, low, _ in
                guard isMeant(high), !table.insert(high, low) else { return }
                suspects[Key(high: high, low: low)] = false
                guard suspects.count <= suspectsMax else { throw TooMany() }
            }
        }
        try earlier? { block in
            try block.eachKeyedRow { high, low, _ in
                guard isMeant(high), table.holds(high, low) else { return }
                // It stands before all that are searched.
                suspects[Key(high: high, low: low)] = true
                guard suspects.count <= suspectsMax else { throw TooMany() }
            }
        }
        guard !suspects.isEmpty else { return }
        table = BitTable(bitCount: 64, probes: 1)
        try each { file, number, block in
            try block.eachKeyedRow { high, low, row in
                let key = Key(high: high, low: low)
                guard let wasMet = suspects[key] else { return }
                if wasMet {
                    found[file, default: [:]][number, default: []].insert(row)
                } else {
                    suspects[key] = true
                }
            }
        }
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
