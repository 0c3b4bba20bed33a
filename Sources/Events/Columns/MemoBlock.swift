/// A block that keeps the columns it was asked for. One thread.
package final class MemoBlock: ColumnBlock, @unchecked Sendable {  // made, used and dropped by one thread
    private let block: any ColumnBlock
    /// What it keeps the columns of.
    var inner: any ColumnBlock { block }
    private var timeColumn: [Int64]?
    private var outcomeColumn: [UInt8]?
    private var typeColumn: [UInt8]?
    private var texts: [ColumnName: TextColumn?] = [:]
    private var numberColumns: [ColumnName: [Double]?] = [:]
    private var valueColumn: [Int64]??
    /// One byte a row, 1 where a filter may select it; nil shows all.
    private let shown: [UInt8]?

    package init(_ block: any ColumnBlock) { (self.block, shown) = (block, nil) }

    /// A block of which no filter selects other rows than these: they count as gone.
    package init(_ block: any ColumnBlock, showing rows: [UInt32]) {
        var shown = [UInt8](repeating: 0, count: block.rowCount)
        for row in rows where Int(row) < shown.count { shown[Int(row)] = 1 }
        (self.block, self.shown) = (block, shown)
    }

    package var rowCount: Int { block.rowCount }
    package var earliest: Int64 { block.earliest }
    package var latest: Int64 { block.latest }
    package var requests: [RequestSpan] { block.requests }
    package func position(_ row: Int) -> LogPosition { block.position(row) }
    package func persons(org: String) throws -> PersonColumn { try block.persons(org: org) }
    package func event(_ row: Int) throws -> StoredEvent? { try block.event(row) }

    package func times() throws -> [Int64] {
        if let timeColumn { return timeColumn }
        let column = try block.times()
        timeColumn = column
        return column
    }

    package func outcomes() throws -> [UInt8] {
        if let outcomeColumn { return outcomeColumn }
        var column = try block.outcomes()
        if let shown {
            for row in 0..<min(column.count, shown.count) where shown[row] == 0 {
                column[row] = DecodedBlock.goneOutcome
            }
        }
        outcomeColumn = column
        return column
    }

    package func types() throws -> [UInt8] {
        if let typeColumn { return typeColumn }
        let column = try block.types()
        typeColumn = column
        return column
    }

    package func text(_ name: ColumnName) throws -> TextColumn? {
        if let known = texts[name] { return known }
        let column = try block.text(name)
        texts.updateValue(column, forKey: name)
        return column
    }

    package func numbers(_ name: ColumnName) throws -> [Double]? {
        if let known = numberColumns[name] { return known }
        let column = try block.numbers(name)
        numberColumns.updateValue(column, forKey: name)
        return column
    }

    package func values() throws -> [Int64]? {
        if let valueColumn { return valueColumn }
        let column = try block.values()
        valueColumn = .some(column)
        return column
    }
}
