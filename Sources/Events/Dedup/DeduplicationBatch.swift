/// What the index says of the rows of one block. Memory is kept from block to block. Freed by its owner.
struct DeduplicationBatch {
    private var keys = IdentifierList(capacity: 1024)
    private var rows = RawBytes()
    /// Of the keys in their order, and of all rows.
    private var answers = RawBytes()
    private var verdicts = RawBytes()

    func deallocate() {
        keys.deallocate()
        for part in [rows, answers, verdicts] { part.deallocate() }
    }

    /// Asks for every row whose id counts; the others are as good as new.
    mutating func settle(
        _ block: BlockContent, _ index: DeduplicationIndex, receivedAt: Int64, at point: LogPoint
    ) throws(DeduplicationError) {
        let isNew = Self.room(block.rowCount, &verdicts)
        if block.haveAllSettledIDs {
            let all = UnsafePointer(block.keys.base.assumingMemoryBound(to: IdentifierTable.Key.self))
            return try index.settle(
                keys: all, count: block.rowCount, receivedAt: receivedAt, at: point, isNew: isNew)
        }
        removeAll()
        for row in 0..<block.rowCount {
            isNew[row] = true
            if block.hasSettledID(row) { append(block.key(row).high, block.key(row).low, row: row) }
        }
        let answer = Self.room(keys.count, &answers)
        try index.settle(keys: keys.base, count: keys.count, receivedAt: receivedAt, at: point, isNew: answer)
        for place in 0..<keys.count where !answer[place] {
            isNew[Int(rows.base.load(fromByteOffset: place * 4, as: UInt32.self))] = false
        }
    }

    private static func room(_ count: Int, _ bytes: inout RawBytes) -> UnsafeMutablePointer<Bool> {
        bytes.truncate(to: 0)
        bytes.reserve(max(1, count))
        return bytes.base.bindMemory(to: Bool.self, capacity: max(1, count))
    }

    @inline(__always)
    func isNew(_ row: Int) -> Bool { verdicts.base.load(fromByteOffset: row, as: Bool.self) }

    // MARK: at start

    mutating func removeAll() {
        keys.removeAll()
        rows.truncate(to: 0)
    }

    @inline(__always)
    mutating func append(_ high: UInt64, _ low: UInt64, row: Int) {
        keys.append((high, low))
        rows.push(UInt32(truncatingIfNeeded: row))
    }

    /// What the log holds is remembered, whatever the index knows.
    func remember(_ index: DeduplicationIndex, receivedAt: Int64, at point: LogPoint) throws(DeduplicationError) {
        try index.remember(keys: keys.base, count: keys.count, receivedAt: receivedAt, at: point)
    }
}
