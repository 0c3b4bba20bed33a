/// What is known of one group's numbers.
struct NumberCell: Sendable {
    var count: Int64 = 0
    var sum = ExactSum()
    var least = Double.infinity
    var greatest = -Double.infinity

    @inline(__always)
    mutating func add(_ value: Double) {
        count &+= 1
        sum.add(value)
        least = min(least, value)
        greatest = max(greatest, value)
    }

    mutating func add(_ other: NumberCell) {
        count += other.count
        sum.add(other.sum)
        least = min(least, other.least)
        greatest = max(greatest, other.greatest)
    }
}

/// What is known of one group's money in one currency, in millionths.
struct MoneyCell: Sendable {
    var count: Int64 = 0
    var sum: Int128 = 0
    var least = Int64.max
    var greatest = Int64.min

    @inline(__always)
    mutating func add(_ value: Int64) {
        count &+= 1
        sum &+= Int128(value)
        least = min(least, value)
        greatest = max(greatest, value)
    }

    mutating func add(_ other: MoneyCell) {
        count += other.count
        sum += other.sum
        least = min(least, other.least)
        greatest = max(greatest, other.greatest)
    }
}

struct DistinctCells: Sendable {
    private(set) var cells: [DistinctKeys] = []
    private(set) var byteCount = 0

    mutating func grow(to count: Int) {
        while cells.count < count { cells.append(DistinctKeys()) }
    }

    @inline(__always)
    mutating func insert(_ key: UInt64, _ group: Int) {
        let before = cells[group].byteCount
        cells[group].insert(key)
        byteCount &+= cells[group].byteCount &- before
    }

    mutating func merge(_ other: DistinctCells, _ map: [UInt32], resolved: (UInt64) -> UInt64) {
        for (number, theirs) in other.cells.enumerated() {
            let group = Int(map[number])
            let before = cells[group].byteCount
            cells[group].formUnion(theirs, resolved: resolved)
            byteCount += cells[group].byteCount - before
        }
    }

    /// Gives up lists that are longer than an estimate is, and all that stand beside one.
    mutating func estimate(resolved: (UInt64) -> UInt64) {
        for group in cells.indices
        where cells[group].keys.count > (cells[group].estimated == nil ? DistinctKeys.exactMax : 0) {
            let before = cells[group].byteCount
            cells[group].estimate(resolved: resolved)
            byteCount += cells[group].byteCount - before
        }
    }
}

struct NumberCells: Sendable {
    var cells: [NumberCell] = []
    /// Empty where nobody asks for quantiles.
    var sketches: [QuantileSketch] = []
    let hasSketch: Bool

    init(hasSketch: Bool) { self.hasSketch = hasSketch }

    mutating func grow(to count: Int) {
        while cells.count < count { cells.append(NumberCell()) }
        while hasSketch, sketches.count < count { sketches.append(QuantileSketch()) }
    }

    mutating func merge(_ other: NumberCells, _ map: [UInt32]) {
        for (number, theirs) in other.cells.enumerated() { cells[Int(map[number])].add(theirs) }
        for (number, theirs) in other.sketches.enumerated() { sketches[Int(map[number])].formUnion(theirs) }
    }
}

/// Money has a cell for each currency of a group.
struct MoneyCells: Sendable {
    var currencies = GroupValues(isBucket: false)
    var pairs = PairTable()
    var cells: [MoneyCell] = []
    var sketches: [QuantileSketch] = []
    let hasSketch: Bool

    init(hasSketch: Bool) { self.hasSketch = hasSketch }

    mutating func grow() {
        while cells.count < pairs.count { cells.append(MoneyCell()) }
        while hasSketch, sketches.count < pairs.count { sketches.append(QuantileSketch()) }
    }

    mutating func merge(_ other: MoneyCells, _ map: [UInt32]) {
        let names = [0] + other.currencies.texts.map { currencies.number($0) }
        for (number, theirs) in other.cells.enumerated() {
            let cell = Int(pairs.number(map[Int(other.pairs.firsts[number])], names[Int(other.pairs.seconds[number])]))
            grow()
            cells[cell].add(theirs)
            if hasSketch { sketches[cell].formUnion(other.sketches[number]) }
        }
    }
}

/// What a scan of some blocks came to. Two of them merge into what one scan of all their blocks would have come to.
struct PartialAnswer: Sendable {
    var groups: GroupTable
    var rowCounts: [Int64] = []
    var distinct: [DistinctCells]
    var numbers: [NumberCells]
    var money: MoneyCells
    /// Rows of the blocks that were read, selected or not.
    var rowsRead = 0
    /// Blocks that could not be read because they are damaged.
    var damagedBlocks = 0

    init(_ plan: QueryPlan) {
        groups = GroupTable(hasBucket: plan.query.bucket != nil, columnCount: plan.query.groupBy.count)
        distinct = plan.uniques.map { _ in DistinctCells() }
        numbers = plan.numbers.map { NumberCells(hasSketch: $0.hasSketch) }
        money = MoneyCells(hasSketch: plan.hasMoneySketch)
    }

    /// Makes room for the groups there are.
    mutating func grow() {
        let count = groups.count
        if rowCounts.count < count {
            rowCounts.append(contentsOf: repeatElement(0, count: count - rowCounts.count))
        }
        for index in distinct.indices { distinct[index].grow(to: count) }
        for index in numbers.indices { numbers[index].grow(to: count) }
    }

    var isEstimated: Bool { distinct.contains { $0.cells.contains { $0.estimated != nil } } }

    /// About how much memory it takes.
    var byteCount: Int {
        groups.byteCount + rowCounts.count * 8
            + distinct.reduce(0) { $0 + $1.byteCount + $1.cells.count * 40 }
            + numbers.reduce(0) { $0 + $1.cells.count * 40 + $1.sketches.count * 700 }
            + money.pairs.byteCount + money.cells.count * 48 + money.sketches.count * 700
    }

    mutating func merge(_ other: PartialAnswer, _ resolver: any PersonResolver, _ plan: QueryPlan) {
        rowsRead += other.rowsRead
        damagedBlocks += other.damagedBlocks
        let map = groups.merge(other.groups)
        grow()
        for (number, count) in other.rowCounts.enumerated() { rowCounts[Int(map[number])] += count }
        for (index, theirs) in other.distinct.enumerated() {
            distinct[index].merge(theirs, map, resolved: plan.uniques[index].resolved(resolver))
        }
        for (index, theirs) in other.numbers.enumerated() { numbers[index].merge(theirs, map) }
        money.merge(other.money, map)
    }

    /// Gives up exact lists of keys where estimates are smaller.
    mutating func estimate(_ resolver: any PersonResolver, _ plan: QueryPlan) {
        for index in distinct.indices { distinct[index].estimate(resolved: plan.uniques[index].resolved(resolver)) }
    }
}

extension QueryMeasure.UniqueThing {
    /// What becomes of a key that goes into an estimate: only persons merge.
    func resolved(_ resolver: any PersonResolver) -> (UInt64) -> UInt64 {
        self == .person && resolver.version != 0 ? { resolver.person($0) } : { $0 }
    }
}
