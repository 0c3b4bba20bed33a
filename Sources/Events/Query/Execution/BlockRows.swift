/// The group of each selected row of a block.
enum BlockGroups {
    /// All rows are of one group.
    case one(UInt32)
    /// One number a selected row.
    case many([UInt32])
}

/// The selected rows of a block with their groups.
struct BlockRows {
    let selection: RowSelection
    let rowCount: Int
    var groups: BlockGroups

    var count: Int { selection.count(of: rowCount) }

    /// Calls `body` with each selected row and its group, in order. Inlined, so that each caller gets plain loops.
    @inline(__always)
    func forEach(_ body: (_ row: Int, _ group: Int) -> Void) {
        switch (selection, groups) {
        case (.none, _): return
        case (.all, .one(let group)):
            for row in 0..<rowCount { body(row, Int(group)) }
        case (.all, .many(let groups)):
            groups.withUnsafeBufferPointer { groups in
                for row in 0..<min(rowCount, groups.count) { body(row, Int(groups[row])) }
            }
        case (.some(let rows), .one(let group)):
            rows.withUnsafeBufferPointer { rows in
                for place in 0..<rows.count { body(Int(rows[place]), Int(group)) }
            }
        case (.some(let rows), .many(let groups)):
            rows.withUnsafeBufferPointer { rows in
                groups.withUnsafeBufferPointer { groups in
                    for place in 0..<min(rows.count, groups.count) { body(Int(rows[place]), Int(groups[place])) }
                }
            }
        }
    }
}

/// The last look-ups of pairs of numbers, so that most rows need no table.
struct PairMemo {
    /// Stands where one was taken out.
    static let idle = PairMemo()
    private static let size = 4096
    private var keys = [UInt64](repeating: .max, count: PairMemo.size)
    private var numbers = [UInt32](repeating: 0, count: PairMemo.size)

    mutating func forget() {
        for index in keys.indices { keys[index] = .max }
    }

    /// The number of each pair of one of `firsts` with one of `seconds`.
    mutating func combine(
        _ firsts: BlockGroups, _ seconds: BlockGroups, count: Int, _ table: inout PairTable
    ) -> BlockGroups {
        switch (firsts, seconds) {
        case (.one(let first), .one(let second)): return .one(table.number(first, second))
        case (.one(let first), .many(let seconds)):
            return .many(numbers(count, &table, { _ in first }, { seconds[$0] }))
        case (.many(let firsts), .one(let second)):
            return .many(numbers(count, &table, { firsts[$0] }, { _ in second }))
        case (.many(let firsts), .many(let seconds)):
            return .many(numbers(count, &table, { firsts[$0] }, { seconds[$0] }))
        }
    }

    @inline(__always)
    private mutating func numbers(
        _ count: Int, _ table: inout PairTable, _ first: (Int) -> UInt32, _ second: (Int) -> UInt32
    ) -> [UInt32] {
        [UInt32](unsafeUninitializedCapacity: count) { out, filled in
            for place in 0..<count { out[place] = number(first(place), second(place), &table) }
            filled = count
        }
    }

    @inline(__always)
    mutating func number(_ first: UInt32, _ second: UInt32, _ table: inout PairTable) -> UInt32 {
        let key = UInt64(first) << 32 | UInt64(second)
        let slot = Int(truncatingIfNeeded: (key &* 0x9E37_79B9_7F4A_7C15) &>> 52)
        if keys[slot] == key { return numbers[slot] }
        let number = table.number(first, second)
        keys[slot] = key
        numbers[slot] = number
        return number
    }
}
