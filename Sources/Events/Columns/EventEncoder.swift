/// Turns parsed events into rows of the open block: knows the shapes and columns of one shard in the open segment.
///
/// A value with shared storage, freed by its owner; not thread-safe.
struct EventEncoder {
    var tree = ShapeTree()
    let tables = ColumnTables()
    private var shapeCount = 0
    private let dictionaryBytesMax: Int
    private let isLearning: Bool

    /// - Parameter isLearning: without it every event is read by the parser and kept whole.
    init(limits: EventLimits, isLearning: Bool = true) {
        dictionaryBytesMax = limits.dictionaryBytesMax
        self.isLearning = isLearning
    }

    func deallocate() {
        tree.deallocate()
        tables.deallocate()
    }

    /// Whether the dictionaries of the segment are full.
    var isFull: Bool { tables.byteCount > dictionaryBytesMax }

    /// Starts another segment: it knows nothing yet.
    mutating func startSegment() {
        tables.reset()
        shapeCount = 0
        if tree.isFull { tree.reset() }
        for index in tree.endings.indices { tree.endings[index].number = 0 }
    }

    /// Parses the event at `start`: by its form when that is known, else by the parser, whose answer enters the tree.
    ///
    /// - Returns: the byte behind the event and its ending, `whole` when it has none; nil when it breaks the contract.
    @inline(__always)
    mutating func parse(
        _ start: UnsafePointer<UInt8>, base: UnsafePointer<UInt8>, _ parser: inout EventParser
    ) -> (end: UnsafePointer<UInt8>, ending: Int)? {
        if let known = tree.read(start, base: base, &parser, tables) { return known }
        return parseUnknown(start, base: base, &parser)
    }

    static let whole = -1

    @inline(never)
    private mutating func parseUnknown(
        _ start: UnsafePointer<UInt8>, base: UnsafePointer<UInt8>, _ parser: inout EventParser
    ) -> (end: UnsafePointer<UInt8>, ending: Int)? {
        guard let end = parser.parse(start, base: base) else { return nil }
        let ending = isLearning ? ShapeLearner.learn(start, end: end, &parser, &tree, tables) : nil
        return (end, ending ?? Self.whole)
    }

    /// Adds the event just parsed, values and row.
    @inline(__always)
    mutating func append(
        _ row: BlockContent.Row, ending: Int, event: UnsafePointer<UInt8>, count: Int, id: UInt32,
        _ parser: borrowing EventParser, to block: inout BlockContent
    ) {
        guard ending != Self.whole else { return appendWhole(row, event: event, count: count, id: id, to: &block) }
        if tree.endings[ending].number == 0 { declare(ending, in: &block) }
        var place = id
        prefetchTexts()
        let idOffset = parser.slots[Int(EventField.id.rawValue)].offset
        for index in 0..<tree.holeCount {
            let hole = tree.holes[index]
            append(hole, row.time, parser, to: block)
            if hole.offset == idOffset, place == BlockContent.IDPlace.none,
                hole.kind == HoleKind.uuid.rawValue || hole.kind == HoleKind.hex.rawValue
            {
                place = block.placeID(Int(hole.column), isUUID: hole.kind == HoleKind.uuid.rawValue)
            }
        }
        block.append(row, shape: tree.endings[ending].number, byteCount: count, id: place)
    }

    /// Asks for the known texts that the values are about to be compared with: their slots are near by now.
    @inline(__always)
    private func prefetchTexts() {
        for index in 0..<tree.holeCount where tree.holes[index].kind == HoleKind.text.rawValue {
            tables.columns[Int(tree.holes[index].column)].table.prefetchText(hash: tree.holes[index].second)
        }
    }

    /// Adds an event as it stands: one of no form, or one that the contract refuses.
    @inline(never)
    mutating func appendWhole(
        _ row: BlockContent.Row, event: UnsafePointer<UInt8>, count: Int, id: UInt32, to block: inout BlockContent
    ) {
        block.reserveColumns(tables.count)
        if !tables.columns[0].isDeclared { declareColumn(0, in: &block) }
        let column = block.column(0)
        column.pointee.main.pushVarint(count)
        column.pointee.main.append(event, count)
        column.pointee.count &+= 1
        block.append(row, shape: 0, byteCount: count, id: id)
    }

    @inline(__always)
    private func append(_ hole: Hole, _ time: Int64, _ parser: borrowing EventParser, to block: borrowing BlockContent)
    {
        let index = Int(hole.column)
        let column = tables.columns + index
        let values = block.column(index)
        let text = parser.base + Int(hole.offset)
        let count = Int(hole.count)
        values.pointee.count &+= 1
        switch hole.kind {
        case HoleKind.text.rawValue, HoleKind.object.rawValue, HoleKind.json.rawValue:
            if column.pointee.isPlain {
                values.pointee.main.pushVarint(count)
                values.pointee.main.append(text, count)
                return
            }
            column.pointee.lookups &+= 1
            var number = UInt32(truncatingIfNeeded: hole.value)
            if number == 0 {
                let known = column.pointee.table.count
                let hash =
                    hole.kind == HoleKind.text.rawValue ? hole.second : column.pointee.table.hash(text, count)
                number = tables.number(index, text, count, hash: hash)
                if column.pointee.isContext, column.pointee.table.count > known {
                    tables.remember(index, contextAt: Int(hole.offset), parser)
                }
            }
            values.pointee.main.push(number)
        case HoleKind.uuid.rawValue, HoleKind.hex.rawValue:
            values.pointee.main.push(UInt64(bitPattern: hole.value), hole.second)
        case HoleKind.number.rawValue:
            values.pointee.main.push(hole.value)
            values.pointee.fractions.push(UInt8(truncatingIfNeeded: hole.second))
        default: values.pointee.main.push(hole.value &- time)
        }
    }

    // MARK: what a segment has to be told

    @inline(never)
    private mutating func declare(_ ending: Int, in block: inout BlockContent) {
        if block.newShapes.count == 0 { block.firstShape = shapeCount + 1 }
        shapeCount += 1
        tree.endings[ending].number = UInt16(shapeCount)
        block.reserveColumns(tables.count)
        let path = tree.endings[ending].path
        block.newShapes.append(UInt8(truncatingIfNeeded: tree.endings[ending].type))
        block.newShapes.pushVarint(path.count - 1)
        for index in path {
            let node = tree.nodes[Int(index)]
            let literal = tree.literal(index)
            block.newShapes.pushVarint(literal.count)
            if let start = literal.baseAddress { block.newShapes.append(start, literal.count) }
            guard node.kind != 0 else { continue }
            block.newShapes.append(node.column)
            block.newShapes.append(node.field)
            if !tables.columns[Int(node.column)].isDeclared { declareColumn(Int(node.column), in: &block) }
        }
    }

    private func declareColumn(_ index: Int, in block: inout BlockContent) {
        tables.columns[index].isDeclared = true
        block.newColumns.append(UInt16(index))
        block.newColumns.append(tables.columns[index].kind.rawValue)
        let path = Array(tables.path(index).utf8)
        block.newColumns.pushVarint(path.count)
        block.newColumns.append(path)
    }

    /// Hands the block what the segment has to know to read it, and decides how the next block keeps each column.
    mutating func close(_ block: inout BlockContent) {
        block.reserveColumns(tables.count)
        for index in 0..<tables.count {
            let column = tables.columns + index
            let values = block.column(index)
            values.pointee.isPlain = column.pointee.isPlain
            values.pointee.firstEntry = column.pointee.written + 1
            values.pointee.entryCount = column.pointee.table.count - column.pointee.written
            guard values.pointee.entryCount > 0 else { continue }
            for number in values.pointee.firstEntry..<values.pointee.firstEntry + values.pointee.entryCount {
                Self.append(column.pointee.table.text(UInt32(number)), to: &values.pointee)
            }
        }
        tables.settleModes()
        for index in 0..<tables.count { tables.columns[index].written = tables.columns[index].table.count }
    }

    /// One new text: its length plus one and its bytes, or a zero and 16 bytes elsewhere for a UUID.
    static func append(_ text: UnsafeBufferPointer<UInt8>, to values: inout ColumnValues) {
        guard let start = text.baseAddress else { return }
        if text.count == 36, let words = HoleText.uuid(start) {
            values.entries.pushVarint(0)
            values.uuids.push(words.high, words.low)
        } else {
            values.entries.pushVarint(text.count + 1)
            values.entries.append(start, text.count)
        }
    }
}
