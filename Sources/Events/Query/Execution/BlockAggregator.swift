/// Adds blocks to a partial answer. One thread at a time; one a thread.
///
/// Works column by column: texts are looked at once for each dictionary, rows only as codes and numbers.
final class BlockAggregator {
    private let plan: QueryPlan
    private let rows: RowScanner
    private let columns = BlockColumns()
    private var slots: BucketSlots?
    /// For each grouped column, and last for currencies: the answer's number of each code, by dictionary.
    private var codeNumbers: [CodeNumbers]
    private var memos: [PairMemo]
    private var seen: [SeenKeys]
    private var sessionKeys: [Int: [UInt64]] = [:]

    init(_ plan: QueryPlan) {
        self.plan = plan
        rows = RowScanner(plan.filter)
        if let zone = plan.zone, let bucket = plan.query.bucket { slots = BucketSlots(zone, bucket) }
        let columnCount = plan.query.groupBy.count + 1
        codeNumbers = Array(repeating: CodeNumbers(), count: columnCount)
        memos = Array(repeating: PairMemo(), count: columnCount + 1)
        seen = plan.uniques.map { _ in SeenKeys() }
    }

    /// From now on blocks go to another answer, which numbers its groups anew.
    func beginAnswer() {
        slots?.forgetNumbers()
        for index in codeNumbers.indices { codeNumbers[index] = CodeNumbers() }
        for index in memos.indices { memos[index].forget() }
        for index in seen.indices { seen[index].forget() }
    }

    func add(_ block: any ColumnBlock, to answer: inout PartialAnswer) throws {
        let selection = try rows.select(block)
        let columns = selection == .none ? nil : try read(block)
        answer.rowsRead += block.rowCount
        guard let columns else { return }
        let rows = BlockRows(
            selection: selection, rowCount: block.rowCount, groups: groups(block, columns, selection, &answer.groups))
        answer.grow()
        count(rows, &answer.rowCounts)
        for (index, thing) in plan.uniques.enumerated() {
            addKeys(thing, index, columns, rows, &answer.distinct[index])
        }
        for (index, values) in columns.numbers.enumerated() {
            if let values { Self.add(values, rows, &answer.numbers[index]) }
        }
        if let values = columns.money { addMoney(values, columns.currencies, rows, &answer.money) }
    }

    // MARK: reading

    /// What a query needs of a block.
    private struct Columns {
        var times: [Int64] = []
        /// One a grouped column.
        var texts: [TextColumn?] = []
        /// One a measured column.
        var numbers: [[Double]?] = []
        var money: [Int64]?
        var currencies: TextColumn?
        var persons: PersonColumn?
        var sessions: TextColumn?
    }

    /// Everything is read before anything is counted: a block that is damaged is left out whole.
    private func read(_ block: any ColumnBlock) throws -> Columns {
        var read = Columns()
        if slots != nil, slots?.only(from: block.earliest, to: block.latest) == nil { read.times = try block.times() }
        read.texts = try plan.query.groupBy.map { try columns.text($0, of: block) }
        read.numbers = try plan.numbers.map { try block.numbers($0.column) }
        if plan.hasMoney {
            read.money = try block.values()
            if read.money != nil { read.currencies = try columns.text(.currency, of: block) }
        }
        for thing in plan.uniques {
            switch thing {
            case .person, .identifier: read.persons = try block.persons(org: plan.filter.org)
            case .session: read.sessions = try columns.text(ColumnName("session_id"), of: block)
            }
        }
        return read
    }

    // MARK: groups

    private func groups(
        _ block: any ColumnBlock, _ columns: Columns, _ selection: RowSelection, _ table: inout GroupTable
    ) -> BlockGroups {
        let count = selection.count(of: block.rowCount)
        var groups: BlockGroups?
        if slots != nil { groups = buckets(block, columns, selection, &table) }
        for (index, texts) in columns.texts.enumerated() {
            let level = index + (slots == nil ? 0 : 1)
            let numbers = numbers(texts, index, block, selection, &table.values[level])
            if let before = groups {
                groups = memos[level - 1].combine(before, numbers, count: count, &table.pairs[level - 1])
            } else {
                groups = numbers
            }
        }
        return groups ?? .one(0)
    }

    private func buckets(
        _ block: any ColumnBlock, _ columns: Columns, _ selection: RowSelection, _ table: inout GroupTable
    ) -> BlockGroups {
        if let key = slots?.only(from: block.earliest, to: block.latest) {
            return .one(table.values[0].number(bucket: key))
        }
        return .many(
            slots?.numbers(columns.times, selection, rowCount: block.rowCount) {
                table.values[0].number(bucket: $0)
            } ?? [])
    }

    private func numbers(
        _ texts: TextColumn?, _ index: Int, _ block: any ColumnBlock, _ selection: RowSelection,
        _ values: inout GroupValues
    ) -> BlockGroups {
        guard let texts else { return .one(0) }
        return .many(codeNumbers[index].numbers(texts, selection, rowCount: block.rowCount) { values.number($0) })
    }

    private func count(_ rows: BlockRows, _ counts: inout [Int64]) {
        if case .one(let group) = rows.groups {
            counts[Int(group)] += Int64(rows.count)
            return
        }
        counts.withUnsafeMutableBufferPointer { counts in
            rows.forEach { _, group in counts[group] &+= 1 }
        }
    }

    // MARK: distinct keys

    private func addKeys(
        _ thing: QueryMeasure.UniqueThing, _ index: Int, _ columns: Columns, _ rows: BlockRows,
        _ cells: inout DistinctCells
    ) {
        switch thing {
        case .person, .identifier:
            guard let persons = columns.persons else { return }
            seen[index].add(persons.codes, keys: persons.keys, list: persons.id, rows, &cells)
        case .session:
            guard let texts = columns.sessions else { return }
            let dictionary = texts.dictionary
            if sessionKeys.count > 16 { sessionKeys = [:] }
            var keys = sessionKeys.removeValue(forKey: dictionary.id) ?? [0]
            let highest = Int(RowMask.highest(texts.codes))
            while keys.count <= highest { keys.append(TextHash.of(dictionary.text(UInt32(keys.count)))) }
            seen[index].add(texts.codes, keys: keys, list: dictionary.id, rows, &cells)
            sessionKeys[dictionary.id] = keys
        }
    }

    // MARK: numbers

    private static func add(_ values: [Double], _ rows: BlockRows, _ numbers: inout NumberCells) {
        precondition(values.count >= rows.rowCount, "a column is shorter than its block")
        values.withUnsafeBufferPointer { values in
            numbers.cells.withUnsafeMutableBufferPointer { cells in
                rows.forEach { row, group in
                    let value = values[row]
                    if value == value { cells[group].add(value) }
                }
            }
            guard numbers.hasSketch else { return }
            numbers.sketches.withUnsafeMutableBufferPointer { sketches in
                rows.forEach { row, group in
                    let value = values[row]
                    if value == value { sketches[group].add(value) }
                }
            }
        }
    }

    private func addMoney(
        _ values: [Int64], _ texts: TextColumn?, _ rows: BlockRows, _ money: inout MoneyCells
    ) {
        precondition(values.count >= rows.rowCount, "a column is shorter than its block")
        var currencies = BlockGroups.one(0)
        if let texts {
            let last = codeNumbers.count - 1
            currencies = .many(
                codeNumbers[last].numbers(texts, .all, rowCount: rows.rowCount) { money.currencies.number($0) })
        }
        // Taken out, so that the loop below owns it.
        let last = memos.count - 1
        var memo = memos[last]
        memos[last] = .idle
        defer { memos[last] = memo }
        values.withUnsafeBufferPointer { values in
            rows.forEach { row, group in
                let value = values[row]
                guard value != .min else { return }
                let currency =
                    switch currencies {
                    case .one(let number): number
                    case .many(let numbers): numbers[row]
                    }
                let cell = Int(memo.number(UInt32(truncatingIfNeeded: group), currency, &money.pairs))
                if cell >= money.cells.count { money.grow() }
                money.cells[cell].add(value)
                if money.hasSketch { money.sketches[cell].add(Double(value) / 1_000_000) }
            }
        }
    }
}

/// What number an answer gave to the text of each code, by dictionary.
private struct CodeNumbers {
    private static let unknown = UInt32.max
    private static let dictionariesMax = 32
    private var known: [Int: [UInt32]] = [:]

    /// The number of each selected row's text; 0 for rows without one.
    mutating func numbers(
        _ column: TextColumn, _ selection: RowSelection, rowCount: Int, number: (String) -> UInt32
    ) -> [UInt32] {
        precondition(column.codes.count >= rowCount, "a column is shorter than its block")
        if known.count > Self.dictionariesMax { known = [:] }
        let dictionary = column.dictionary
        var map = known.removeValue(forKey: dictionary.id) ?? [0]
        let top = Int(RowMask.highest(column.codes))
        if map.count <= top {
            let more = max(top, dictionary.count) + 1 - map.count
            map.append(contentsOf: repeatElement(Self.unknown, count: more))
        }
        let rows = BlockRows(selection: selection, rowCount: rowCount, groups: .one(0))
        let count = rows.count
        let numbers = [UInt32](unsafeUninitializedCapacity: count) { out, filled in
            column.codes.withUnsafeBufferPointer { codes in
                map.withUnsafeMutableBufferPointer { map in
                    var place = 0
                    rows.forEach { row, _ in
                        let code = Int(codes[row])
                        var found = map[code]
                        if found == Self.unknown {
                            found = number(dictionary.text(UInt32(code)))
                            map[code] = found
                        }
                        out[place] = found
                        place &+= 1
                    }
                }
            }
            filled = count
        }
        known[dictionary.id] = map
        return numbers
    }
}

/// One bit for each key and group that was seen, so that few rows reach the sets of keys.
private struct SeenKeys {
    /// 8 MB; lists of keys times groups beyond it go without.
    private static let bitsMax = 1 << 26
    private var list = -1
    private var stride = 0
    private var bits: [UInt64] = []

    mutating func forget() {
        list = -1
        stride = 0
    }

    /// - Parameter keys: by code; code 0 is no key.
    mutating func add(
        _ codes: [UInt32], keys: [UInt64], list: Int, _ rows: BlockRows, _ cells: inout DistinctCells
    ) {
        precondition(codes.count >= rows.rowCount, "a column is shorter than its block")
        precondition(Int(RowMask.highest(codes)) < keys.count, "a code without a key")
        let isFiltered = prepare(list: list, codeCount: keys.count, groupCount: cells.cells.count)
        let stride = stride
        codes.withUnsafeBufferPointer { codes in
            keys.withUnsafeBufferPointer { keys in
                bits.withUnsafeMutableBufferPointer { bits in
                    rows.forEach { row, group in
                        let code = Int(codes[row])
                        guard code != 0 else { return }
                        if isFiltered {
                            let bit = code &* stride &+ group
                            let (word, mask) = (bit &>> 6, UInt64(1) &<< UInt64(truncatingIfNeeded: bit & 63))
                            if bits[word] & mask != 0 { return }
                            bits[word] |= mask
                        }
                        cells.insert(keys[code], group)
                    }
                }
            }
        }
    }

    /// Makes room for the keys and groups. False when there are too many.
    private mutating func prepare(list: Int, codeCount: Int, groupCount: Int) -> Bool {
        let needed = groupCount <= 1 ? 1 : 1 << (Int.bitWidth - (groupCount - 1).leadingZeroBitCount)
        guard needed <= Self.bitsMax, codeCount <= Self.bitsMax / needed else {
            forget()
            return false
        }
        let words = (codeCount * needed + 63) / 64
        if list != self.list || needed != stride {
            (self.list, stride) = (list, needed)
            // A little room, because lists and groups grow with each block.
            bits = [UInt64](repeating: 0, count: words)
        } else if bits.count < words {
            bits.append(contentsOf: repeatElement(0, count: words - bits.count))
        }
        return true
    }
}

/// 64 bits of a text, the same in every process.
enum TextHash {
    static func of(_ text: String) -> UInt64 {
        let hash = SipHash(key: (0x6175_7275_6d71, 0x7365_7373_696f)).hash(text).high
        return hash == 0 ? 1 : hash
    }
}
