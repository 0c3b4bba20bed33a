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
    ///   - each: calls its argument with every block, in the order of the log within each app.
    func run(
        rows: Int, _ each: ((_ file: Int, _ block: Int, DecodedBlock) throws -> Void) throws -> Void
    ) throws -> Found {
        // Six bits an identity: one in six is met by chance and compared for nothing.
        var ranges = max(1, rows * 6 / bitCount)
        while true {
            do {
                var found: Found = [:]
                for range in 0..<ranges { try search(range, of: ranges, each, &found) }
                return found
            } catch is TooMany where ranges < 1 << 16 {
                ranges *= 2
            }
        }
    }

    private func search(
        _ range: Int, of ranges: Int, _ each: ((Int, Int, DecodedBlock) throws -> Void) throws -> Void,
        _ found: inout Found
    ) throws {
        var bits = [UInt64](repeating: 0, count: bitCount / 64)
        var suspects: [Key: Bool] = [:]
        let limit = UInt64(ranges)
        try each { _, _, block in
            try block.eachKeyedRow { high, low, _ in
                guard ranges == 1 || (high >> 32) % limit == UInt64(range) else { return }
                let bit = Int(low % UInt64(bitCount))
                if bits[bit >> 6] & 1 << UInt64(bit & 63) != 0 {
                    suspects[Key(high: high, low: low)] = false
                    guard suspects.count <= suspectsMax else { throw TooMany() }
                } else {
                    bits[bit >> 6] |= 1 << UInt64(bit & 63)
                }
            }
        }
        guard !suspects.isEmpty else { return }
        bits = []
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
