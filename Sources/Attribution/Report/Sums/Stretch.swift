internal import AurumCore
internal import Database

/// A stretch of time whose sums are kept: as long as one of the widths, and begun at a multiple of it since 1970, so
/// that any two lie within each other or apart.
struct Stretch: Hashable, Sendable {
    private static let day: Int64 = 86_400
    /// Seconds; each is a multiple of the one before.
    static let widths: [Int64] = [
        1, 10, 60, 900, 10_800, day, 16 * day, 256 * day, 4096 * day, 65_536 * day,
    ]

    let level: Int
    /// Seconds since 1970.
    let start: Int64

    init(level: Int, start: Int64) { (self.level, self.start) = (level, start) }

    var width: Int64 { Self.widths[level] }
    var end: Int64 { start + width }

    /// Its first moment and the one behind it.
    var from: Int64 { Self.microseconds(start) }
    var to: Int64 { Self.microseconds(end) }

    /// Nothing for the shortest.
    var children: [Stretch] {
        guard level > 0 else { return [] }
        return stride(from: start, to: end, by: Int(Self.widths[level - 1])).map {
            Stretch(level: level - 1, start: $0)
        }
    }

    /// The longest ones that cover a range of microseconds.
    static func roots(from lower: Int64, to upper: Int64) -> [Stretch] {
        guard lower < upper, let width = widths.last else { return [] }
        let first = second(lower).quotientRoundingDown(width) * width
        return stride(from: first, through: second(upper - 1), by: Int(width)).map {
            Stretch(level: widths.count - 1, start: $0)
        }
    }

    static func second(_ microseconds: Int64) -> Int64 { microseconds.quotientRoundingDown(1_000_000) }

    private static func microseconds(_ second: Int64) -> Int64 {
        let (product, isTooLarge) = second.multipliedReportingOverflow(by: 1_000_000)
        return isTooLarge ? (second < 0 ? .min : .max) : product
    }
}

/// The marks of changed credit over a range, as one snapshot has them.
struct ChangeMarks: Sendable {
    private var slots: [Int64] = []
    /// Sums of all marks before each slot, one more than there are slots.
    private var sums: [Int64] = [0]
    /// Marks of slots that are longer than a second, by their first one.
    private var wide: [Int64: [Int64: Int64]] = [60: [:], 900: [:], 86_400: [:]]
    private static let widest: Int64 = 86_400

    /// - Parameter lower: microseconds, like `upper`.
    init(org: String, from lower: Int64, to upper: Int64, in transaction: Transaction) throws {
        // A slot that began before may reach into the range.
        let first = Stretch.second(lower).quotientRoundingDown(Self.widest) * Self.widest
        let rows = try transaction.all(
            MarkRow.self,
            """
            SELECT slot, width, SUM(mark) FROM attribution_changes
            WHERE org = \(org) AND slot >= \(first) AND slot <= \(Stretch.second(upper))
            GROUP BY slot, width ORDER BY slot, width
            """)
        slots.reserveCapacity(rows.count)
        sums.reserveCapacity(rows.count + 1)
        var sum: Int64 = 0
        for row in rows {
            sum &+= row.mark
            slots.append(row.slot)
            sums.append(sum)
            if row.width > 1 { wide[row.width, default: [:]][row.slot, default: 0] &+= row.mark }
        }
    }

    /// The sum of the marks of every slot that has a moment in common with a stretch. It never falls, whatever is
    /// made fewer, and grows with every change within the stretch: what was read at the same sum is right.
    func version(_ stretch: Stretch) -> Int64 {
        var version = sums[place(stretch.end)] &- sums[place(stretch.start)]
        for (width, marks) in wide where width > stretch.width {
            let slot = stretch.start.quotientRoundingDown(width) * width
            // One that begins with the stretch is among the others.
            if slot < stretch.start { version &+= marks[slot] ?? 0 }
        }
        return version
    }

    /// How many slots begin before a second.
    private func place(_ second: Int64) -> Int {
        var (low, high) = (0, slots.count)
        while low < high {
            let middle = (low + high) / 2
            if slots[middle] < second { low = middle + 1 } else { high = middle }
        }
        return low
    }
}

private struct MarkRow: RowDecodable {
    let slot: Int64
    let width: Int64
    let mark: Int64

    init(row: Row) throws {
        (slot, width, mark) = (try row.number(at: 0), try row.number(at: 1), try row.number(at: 2))
    }
}

extension Row {
    /// The whole number in the column at `index`.
    func number(at index: Int) throws(RowError) -> Int64 {
        guard case .integer(let number) = try value(at: index) else {
            throw .wrongType(column: "\(index)", expected: "integer", found: "other")
        }
        return number
    }
}
