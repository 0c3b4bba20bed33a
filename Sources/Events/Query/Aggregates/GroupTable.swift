/// Pairs of numbers, numbered in the order in which they came.
struct PairTable: Sendable {
    private(set) var firsts: [UInt32] = []
    private(set) var seconds: [UInt32] = []
    /// Number + 1 of the pair, 0 where free; a power of two, at most half full.
    private var slots = [UInt32](repeating: 0, count: 16)

    var count: Int { firsts.count }
    var byteCount: Int { slots.count * 4 + firsts.count * 8 }

    mutating func number(_ first: UInt32, _ second: UInt32) -> UInt32 {
        var index = Self.place(first, second) & (slots.count - 1)
        while slots[index] != 0 {
            let known = Int(slots[index] - 1)
            if firsts[known] == first, seconds[known] == second { return UInt32(known) }
            index = (index + 1) & (slots.count - 1)
        }
        firsts.append(first)
        seconds.append(second)
        slots[index] = UInt32(firsts.count)
        if firsts.count * 2 > slots.count { grow() }
        return UInt32(firsts.count - 1)
    }

    private mutating func grow() {
        slots = [UInt32](repeating: 0, count: slots.count * 2)
        for number in firsts.indices {
            var index = Self.place(firsts[number], seconds[number]) & (slots.count - 1)
            while slots[index] != 0 { index = (index + 1) & (slots.count - 1) }
            slots[index] = UInt32(number + 1)
        }
    }

    @inline(__always)
    private static func place(_ first: UInt32, _ second: UInt32) -> Int {
        let key = UInt64(first) << 32 | UInt64(second)
        return Int(truncatingIfNeeded: (key &* 0x9E37_79B9_7F4A_7C15) &>> 33)
    }
}

/// The distinct values of one thing that rows are grouped by. Texts have the numbers 1…; 0 is no text. Buckets have the
/// numbers 0….
struct GroupValues: Sendable {
    private(set) var texts: [String] = []
    private var textNumbers: [String: UInt32] = [:]
    private(set) var buckets: [Int64] = []
    private var bucketNumbers: [Int64: UInt32] = [:]
    private(set) var byteCount = 64
    let isBucket: Bool

    init(isBucket: Bool) { self.isBucket = isBucket }

    /// Numbers that were given out, the one for no text among them.
    var count: Int { isBucket ? buckets.count : texts.count + 1 }

    mutating func number(_ text: String) -> UInt32 {
        if let known = textNumbers[text] { return known }
        texts.append(text)
        byteCount += text.utf8.count * 2 + 80
        textNumbers[text] = UInt32(texts.count)
        return UInt32(texts.count)
    }

    mutating func number(bucket: Int64) -> UInt32 {
        if let known = bucketNumbers[bucket] { return known }
        bucketNumbers[bucket] = UInt32(buckets.count)
        buckets.append(bucket)
        byteCount += 48
        return UInt32(buckets.count - 1)
    }

    func text(_ number: UInt32) -> String? { number == 0 ? nil : texts[Int(number) - 1] }
}

/// The groups of a query: a number for each combination of values that was met.
struct GroupTable: Sendable {
    /// The bucket first, where there is one.
    var values: [GroupValues]
    /// Combines the values one after the other: the first two, the result with the third, and so on.
    var pairs: [PairTable]

    init(hasBucket: Bool, columnCount: Int) {
        values = (hasBucket ? [GroupValues(isBucket: true)] : [])
        for _ in 0..<columnCount { values.append(GroupValues(isBucket: false)) }
        pairs = Array(repeating: PairTable(), count: max(0, values.count - 1))
    }

    /// Group numbers are below this.
    var count: Int { values.isEmpty ? 1 : pairs.last?.count ?? values[0].count }

    var byteCount: Int {
        values.reduce(0) { $0 + $1.byteCount } + pairs.reduce(0) { $0 + $1.byteCount }
    }

    /// The number of each value of a group.
    func members(_ group: UInt32) -> [UInt32] {
        guard !values.isEmpty else { return [] }
        var members = [UInt32](repeating: 0, count: values.count)
        var rest = group
        for level in stride(from: pairs.count - 1, through: 0, by: -1) {
            members[level + 1] = pairs[level].seconds[Int(rest)]
            rest = pairs[level].firsts[Int(rest)]
        }
        members[0] = rest
        return members
    }

    /// Takes in another table. Answers this table's number for each of its groups.
    mutating func merge(_ other: GroupTable) -> [UInt32] {
        guard !values.isEmpty else { return [0] }
        var maps: [[UInt32]] = []
        for (index, theirs) in other.values.enumerated() {
            if theirs.isBucket {
                maps.append(theirs.buckets.map { values[index].number(bucket: $0) })
            } else {
                maps.append([0] + theirs.texts.map { values[index].number($0) })
            }
        }
        var groups = maps[0]
        for (level, table) in other.pairs.enumerated() {
            groups = (0..<table.count).map { number in
                pairs[level].number(groups[Int(table.firsts[number])], maps[level + 1][Int(table.seconds[number])])
            }
        }
        return groups
    }
}
